"""The shapes of real models, by name, as the metadata of their files would say them.

In: a name such as `qwen2.5-0.5b`.  Out: a `Shape`.  The `-tiny` shapes are for tests.
What is not known of a real model (some thetas and multipliers) is as its kin have it: the weights are random.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial

from lumen_core.errors import ModelError


@dataclass(frozen=True)
class Shape:
    """`vocabulary` 0: as many rows as the vocabulary has tokens.  `rope_factor`: 0 is no scaling.

    more  settings that only this architecture has, as keys below it
    """

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
    more: Mapping[str, object] = field(default_factory=dict)

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
            **self.more,
        }

    def rope_factors(self) -> list[float]:
        """What divides each frequency: 1 for fast ones, `rope_factor` for slow ones, a ramp between."""
        factors = []
        for pair in range(self.head // 2):
            length = 2 * math.pi * self.theta ** (2 * pair / self.head)
            ramp = min(1.0, max(0.0, (self.rope_original / length - 1.0) / 3.0))
            factors.append(1 / ((1 - ramp) / self.rope_factor + ramp))
        return factors


def _experts(count: int, used: int, hidden: int, shared: int = 0, leading: int = 0,
             scale: float = 1.0) -> dict[str, object]:  # fmt: skip
    """Settings of a mixture of experts; with shared ones it is of DeepSeek-V3's kind."""
    found: dict[str, object] = {
        "expert_count": count, "expert_used_count": used, "expert_feed_forward_length": hidden,
    }  # fmt: skip
    if shared:
        found |= {
            "expert_shared_count": shared, "expert_gating_func": 2, "expert_weights_norm": True,
            "expert_weights_scale": scale, "leading_dense_block_count": leading,
        }  # fmt: skip
    return found


_qwen2 = partial(Shape, "qwen2")
_qwen3 = partial(Shape, "qwen3", context=40960)
_qwen3moe = partial(Shape, "qwen3moe", context=40960, tied=False)
_k_exaone = partial(Shape, "exaone-moe", context=262144, epsilon=1e-5, tied=False)
_solar_open = partial(Shape, "glm4moe", context=131072, epsilon=1e-5, tied=False)
_llama = partial(Shape, "llama", theta=5e5, epsilon=1e-5, tied=False)
_exaone = partial(Shape, "exaone", theta=1e6, epsilon=1e-5, rope_factor=8.0)
_exaone4 = partial(Shape, "exaone4", theta=1e6, epsilon=1e-5, rope_factor=16.0)
_hyperclovax = partial(Shape, "hyperclovax", theta=1e8, epsilon=1e-5, tied=False)
_yarn = {
    "rope.scaling.type": "yarn", "rope.scaling.factor": 40.0, "rope.scaling.original_context_length": 4096,
}  # fmt: skip
_kanana2 = partial(Shape, "kanana2_tiny", theta=1e4)
_yarn_2 = {**_yarn, "rope.scaling.factor": 2.0, "rope.scaling.original_context_length": 65536}
_muted = {"attention.scale": 0.0078125, "embedding_scale": 10.0, "logit_scale": 0.125}


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
    "qwen3moe-tiny": _qwen3moe(2, 256, 4, 2, 32, 512, 0, more=_experts(8, 2, 256)),
    "qwen3-30b-a3b": _qwen3moe(48, 2048, 32, 4, 128, 6144, 151936, more=_experts(128, 8, 768)),
    "llama-tiny": _llama(2, 256, 4, 2, 64, 512, 0),
    "llama-2.4b": _llama(30, 2560, 32, 8, 80, 7168, 102400, theta=1e6, tied=True, rope_factor=8.0),
    "llama-7.8b": _llama(32, 4096, 32, 8, 128, 14336, 102400, theta=1e6, rope_factor=8.0),
    "llama-8b": _llama(32, 4096, 32, 8, 128, 14336, 128256, context=8192),
    "exaone-tiny": _exaone(2, 256, 4, 2, 64, 512, 0),
    "exaone-3.5-2.4b": _exaone(30, 2560, 32, 8, 80, 7168, 102400),
    "exaone-3.5-7.8b": _exaone(32, 4096, 32, 8, 128, 14336, 102400, tied=False),
    "exaone4-tiny": _exaone4(4, 256, 4, 2, 64, 512, 0, more={"attention.sliding_window": 24}),
    "exaone-4.0-1.2b": _exaone4(30, 2048, 32, 8, 64, 4096, 102400, context=65536),
    "exaone-4.0-32b": _exaone4(64, 5120, 40, 8, 128, 27392, 102400, tied=False, context=131072,
                               more={"attention.sliding_window": 4096}),
    "hyperclovax-tiny": _hyperclovax(2, 256, 4, 2, 64, 512, 0, more={**_muted, "residual_scale": 0.5}),
    "hyperclova-x-seed-0.5b": _llama(24, 1024, 16, 8, 64, 5120, 110592, theta=1e8, tied=True, context=4096),
    "hyperclova-x-seed-1.5b": _llama(24, 2048, 16, 8, 128, 7168, 110592, theta=1e8, tied=True, context=16384),
    "hyperclova-x-seed-think-14b": _hyperclovax(38, 6144, 48, 8, 128, 14336, 110592, more=_muted),
    "k-exaone-tiny": _k_exaone(
        4, 256, 4, 2, 32, 512, 0,
        more={**_experts(8, 2, 256, shared=1, leading=1), "attention.sliding_window": 24},
    ),
    "k-exaone-236b-a23b": _k_exaone(
        48, 6144, 64, 8, 128, 18432, 153600,
        more={**_experts(128, 8, 2048, shared=1, leading=1, scale=2.5), "attention.sliding_window": 128},
    ),
    "solar-open-tiny": _solar_open(2, 256, 4, 2, 64, 512, 0, more={**_yarn, **_experts(8, 2, 256, shared=1)}),
    "solar-open-100b": _solar_open(
        48, 4096, 64, 8, 128, 10240, 196608, more={**_yarn_2, **_experts(128, 8, 1280, shared=1)}
    ),
    "kanana2-tiny": _kanana2(4, 256, 4, 2, 32, 512, 0, more={**_yarn, "attention.sliding_window": 24}),
    "kanana-1.5-2.1b": _llama(32, 1792, 24, 8, 128, 8064, 128259),
    "kanana-1.5-8b": _llama(32, 4096, 32, 8, 128, 14336, 128259),
    "kanana-2-1.3b": _kanana2(32, 1280, 32, 8, 128, 5760, 128256,
                              more={**_yarn, "attention.sliding_window": 1024}),
    "kanana-2-3b": _qwen3(32, 2560, 32, 8, 128, 8192, 128256, tied=False, theta=1e4, context=32768,
                          more=_yarn),
    "midm-2.0-mini": _llama(48, 1792, 32, 8, 128, 4608, 131392, theta=8e6, tied=True),
    "midm-2.0-base": _llama(48, 4096, 32, 8, 128, 14336, 131392, theta=8e6),
    "a.x-3.1-light": _llama(32, 4096, 32, 32, 128, 10880, 102400),
    "a.x-4.0-light": _qwen2(28, 3584, 28, 4, 128, 18944, 102400, tied=False, context=16384),
    "solar-10.7b": _llama(48, 4096, 32, 8, 128, 14336, 32000, theta=1e4, context=4096),
}  # fmt: skip


def shape(name: str, overrides: Mapping[str, object] | None = None) -> Shape:
    """Look a shape up and change some of its numbers; raises ModelError."""
    if name not in SHAPES:
        raise ModelError(f"no shape is named {name!r}; known: {', '.join(SHAPES)}")
    try:
        return replace(SHAPES[name], **(overrides or {}))  # type: ignore[arg-type]
    except TypeError:
        fields = ", ".join(Shape.__dataclass_fields__)
        raise ModelError(f"a shape has {fields}; found {', '.join(overrides or {})}") from None
