"""Small models of several shapes, whose tensors' types llama.cpp was asked for, mixture by mixture."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import groupby

MIXTURES = (
    "q4_0 q4_1 q5_0 q5_1 q8_0 q2_k q2_k_s q3_k_s q3_k_m q3_k_l q4_k_s q4_k_m q5_k_s q5_k_m q6_k iq1_s iq1_m "
    "iq2_xxs iq2_xs iq2_s iq2_m iq3_xxs iq3_xs iq3_s iq3_m iq4_nl iq4_xs tq1_0 tq2_0 mxfp4_moe f16 bf16 f32"
)


@dataclass(frozen=True)
class Shape:
    """A model that has nothing but tensors."""

    architecture: str
    layers: int
    width: int
    hidden: int
    heads: int
    shared_heads: int
    tied: bool = False
    experts: int = 0

    def tensors(self) -> dict[str, tuple[int, ...]]:
        kv = self.width // self.heads * self.shared_heads
        found: dict[str, tuple[int, ...]] = {"token_embd.weight": (64, self.width)}
        if not self.tied:
            found["output.weight"] = (64, self.width)
        found["output_norm.weight"] = (self.width,)
        stack = (self.experts,) if self.experts else ()
        suffix = "_exps" if self.experts else ""
        for layer in range(self.layers):
            own: dict[str, tuple[int, ...]] = {
                "attn_norm": (self.width,), "ffn_norm": (self.width,),
                "attn_q": (self.width, self.width), "attn_k": (kv, self.width), "attn_v": (kv, self.width),
                "attn_output": (self.width, self.width),
                "ffn_gate" + suffix: (*stack, self.hidden, self.width),
                "ffn_up" + suffix: (*stack, self.hidden, self.width),
                "ffn_down" + suffix: (*stack, self.width, self.hidden),
            }  # fmt: skip
            if self.experts:
                own["ffn_gate_inp"] = (self.experts, self.width)
            found |= {f"blk.{layer}.{name}.weight": shape for name, shape in own.items()}
        return found


SHAPES = {
    "llama": Shape("llama", 17, 256, 512, 4, 4),
    "llama shared": Shape("llama", 16, 512, 768, 8, 2),
    "llama experts": Shape("llama", 16, 256, 256, 8, 2, experts=8),
    "llama eighty": Shape("llama", 80, 256, 256, 8, 1),
    "qwen2 tied": Shape("qwen2", 24, 256, 512, 4, 2, tied=True),
    "qwen2 uneven": Shape("qwen2", 24, 896, 4864, 14, 2, tied=True),
    "qwen2 odd": Shape("qwen2", 8, 288, 816, 4, 4),
}


def shortened(types: Mapping[str, str], shape: Shape) -> str:
    """The types of the matrices in the order of `shape.tensors()`, equal neighbours counted."""
    matrices = [types[name] for name, size in shape.tensors().items() if len(size) > 1]
    return " ".join(f"{kind}*{len(list(group))}" for kind, group in groupby(matrices))
