"""The shapes of real models, by name, as the metadata of their files would say them.

In: a name such as `qwen2.5-0.5b`.  Out: a `Shape`.  The `-tiny` shapes are for tests.
`llama-2.4b` is the twin of a Korean 2.4B model: head length 80, scaled RoPE, tied embeddings.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

from lumen_core.errors import ModelError


@dataclass(frozen=True)
class Shape:
    """`vocabulary` 0: as many rows as the vocabulary has tokens.  `rope_factor`: 0 is no scaling."""

    architecture: str
    layers: int
    width: int
    heads: int
    kv_heads: int
    head: int
    hidden: int
    vocabulary: int
    tied: bool = True
    theta: float = 1e6
    epsilon: float = 1e-6
    context: int = 32768
    rope_factor: float = 0.0
    rope_original: int = 8192

    def metadata(self) -> dict[str, object]:
        """Keys below the architecture."""
        return {
            "block_count": self.layers,
            "context_length": self.context,
            "embedding_length": self.width,
            "feed_forward_length": self.hidden,
            "attention.head_count": self.heads,
            "attention.head_count_kv": self.kv_heads,
            "attention.key_length": self.head,
            "attention.value_length": self.head,
            "attention.layer_norm_rms_epsilon": self.epsilon,
            "rope.freq_base": self.theta,
            "rope.dimension_count": self.head,
        }

    def rope_factors(self) -> list[float]:
        """What divides each frequency: 1 for fast ones, `rope_factor` for slow ones, a ramp between."""
        factors = []
        for pair in range(self.head // 2):
            length = 2 * math.pi * self.theta ** (2 * pair / self.head)
            ramp = min(1.0, max(0.0, (self.rope_original / length - 1.0) / 3.0))
            factors.append(1 / ((1 - ramp) / self.rope_factor + ramp))
        return factors


_qwen2 = partial(Shape, "qwen2")
_qwen3 = partial(Shape, "qwen3", context=40960)
_llama = partial(Shape, "llama", theta=5e5, epsilon=1e-5, tied=False)


SHAPES: dict[str, Shape] = {
    # layers, width, heads, kv heads, head length, hidden, vocabulary
    "qwen2-tiny": _qwen2(2, 256, 4, 2, 64, 512, 0),
    "qwen2.5-0.5b": _qwen2(24, 896, 14, 2, 64, 4864, 151936),
    "qwen2.5-1.5b": _qwen2(28, 1536, 12, 2, 128, 8960, 151936),
    "qwen2.5-3b": _qwen2(36, 2048, 16, 2, 128, 11008, 151936),
    "qwen2.5-7b": _qwen2(28, 3584, 28, 4, 128, 18944, 152064, tied=False),
    "qwen3-tiny": _qwen3(2, 256, 4, 2, 32, 512, 0),
    "qwen3-0.6b": _qwen3(28, 1024, 16, 8, 128, 3072, 151936),
    "qwen3-1.7b": _qwen3(28, 2048, 16, 8, 128, 6144, 151936),
    "qwen3-4b": _qwen3(36, 2560, 32, 8, 128, 9728, 151936),
    "qwen3-8b": _qwen3(36, 4096, 32, 8, 128, 12288, 151936, tied=False),
    "llama-tiny": _llama(2, 256, 4, 2, 64, 512, 0),
    "llama-2.4b": _llama(30, 2560, 32, 8, 80, 7168, 102400, theta=1e6, tied=True, rope_factor=8.0),
    "llama-7.8b": _llama(32, 4096, 32, 8, 128, 14336, 102400, theta=1e6, rope_factor=8.0),
    "llama-8b": _llama(32, 4096, 32, 8, 128, 14336, 128256, context=8192),
}


def shape(name: str, overrides: Mapping[str, object] | None = None) -> Shape:
    """Look a shape up and change some of its numbers; raises ModelError."""
    if name not in SHAPES:
        raise ModelError(f"no shape is named {name!r}; known: {', '.join(SHAPES)}")
    try:
        return replace(SHAPES[name], **(overrides or {}))  # type: ignore[arg-type]
    except TypeError:
        fields = ", ".join(Shape.__dataclass_fields__)
        raise ModelError(f"a shape has {fields}; found {', '.join(overrides or {})}") from None
