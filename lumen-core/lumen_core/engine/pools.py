"""Which cache pages a model needs: a pool for the layers that keep all tokens, and one per window.

In: the window of every layer (0: it sees all tokens), the size of a page, the context. Out: `Pool`s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lumen_core.quant.cache_layout import PAGE

CHUNK = 256  # tokens of a prefill step
SLACK = 16  # tokens that may be taken back at any time: guesses that proved wrong


@dataclass(frozen=True)
class Pool:
    """Cache pages of the layers that see `window` tokens (0: all).

    A page has `PAGE` tokens of each of these layers; the `pages` of a sequence are a ring where there is a
    window.
    """

    window: int
    layers: tuple[int, ...]
    pages: int
    layer_bytes: int
    sequences: int = 1

    @property
    def page_bytes(self) -> int:
        return self.layer_bytes * len(self.layers)

    @property
    def bytes(self) -> int:
        return self.sequences * self.pages * self.page_bytes

    @property
    def suffix(self) -> str:
        """Behind the names of the frame's slots."""
        return f".{self.window}" if self.window else ""


def plan_pools(
    windows: Sequence[int], layer_bytes: int, context: int, chunk: int, sequences: int = 1
) -> tuple[Pool, ...]:
    """Return the pools for sequences of at most `context` tokens each.

    A ring has room for what the first of `chunk` new tokens sees, and for them.
    """
    whole = -(-context // PAGE)
    members: dict[int, list[int]] = {}
    for layer, window in enumerate(windows):
        members.setdefault(window, []).append(layer)
    pools = []
    for window, layers in members.items():
        count = min(whole, (window + max(chunk, SLACK) - 2) // PAGE + 2) if window else whole
        pools.append(Pool(window, tuple(layers), count, layer_bytes, sequences))
    return tuple(pools)
