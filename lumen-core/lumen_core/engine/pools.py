"""Which cache pages a model needs: a pool for the layers that keep all tokens, and one per window.

In: the window of every layer (0: it sees all tokens), the size of a page, the context. Out: `Pool`s.

Layers with a window keep their pages as rings: the window, rounded up to whole pages, and one page. So the
next `DIRECT` tokens of a sequence overwrite none that the first of them sees, and may be taken back again.
What more a step has lies in staging until a layer's attention is done (`schedule/segments.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lumen_core.quant.cache_layout import PAGE
from lumen_core.schedule.segments import DIRECT
from lumen_core.weights.model_file import ModelFile

CHUNK = 256  # tokens of a prefill step
LARGEST_CHUNK = 1024
EXPERT_TOKENS = 32  # that an expert gets of a step on average: panels of fewer are a quarter padding


def chunk_tokens(file: ModelFile) -> int:
    """Return the tokens of a prefill step: more where each goes to a few of many experts."""
    chosen = file.experts_of_a_token or 0
    experts = max((t.shape[0] for t in file.tensors.values() if len(t.shape) == 3), default=0)
    chunk = CHUNK
    while chosen and chunk < LARGEST_CHUNK and chunk * chosen < EXPERT_TOKENS * experts:
        chunk *= 2
    return chunk


@dataclass(frozen=True)
class Pool:
    """Cache pages of the layers that see `window` tokens (0: all), `page_bytes` each in each of these layers.

    The `pages` of a sequence are a ring where there is a window.
    """

    window: int
    layers: tuple[int, ...]
    pages: int
    page_bytes: int
    sequences: int = 1

    @property
    def layer_bytes(self) -> int:
        """Bytes of all pages of a layer, which lie side by side."""
        return self.sequences * self.pages * self.page_bytes

    @property
    def bytes(self) -> int:
        return len(self.layers) * self.layer_bytes

    @property
    def token_bytes(self) -> int:
        """Bytes of a token in all layers."""
        return len(self.layers) * self.page_bytes // PAGE

    @property
    def suffix(self) -> str:
        """Behind the names of the frame's slots."""
        return f".{self.window}" if self.window else ""


def plan_pools(windows: Sequence[int], page_bytes: int, context: int, sequences: int = 1) -> tuple[Pool, ...]:
    """Return the pools for sequences of at most `context` tokens each."""
    whole = -(-context // PAGE)
    members: dict[int, list[int]] = {}
    for layer, window in enumerate(windows):
        members.setdefault(window, []).append(layer)
    pools = []
    for window, layers in members.items():
        count = min(whole, -(-window // PAGE) + 1) if window else whole
        pools.append(Pool(window, tuple(layers), count, page_bytes, sequences))
    return tuple(pools)


def staging_pages(pools: Sequence[Pool], chunk: int) -> int:
    """The most pages that the segments of a step of `chunk` tokens have in staging."""
    if not any(pool.window for pool in pools):
        return 0
    segments = chunk // (DIRECT + 1)  # of n tokens, each has at most (n + PAGE - 2) // PAGE
    return (chunk + segments * (PAGE - 2)) // PAGE


def cache_bytes(pools: Sequence[Pool], page_bytes: int, chunk: int) -> int:
    """Bytes of all keys and values that the context has room for."""
    return sum(pool.bytes for pool in pools) + staging_pages(pools, chunk) * page_bytes
