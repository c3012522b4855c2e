"""Tiny models of every architecture with random weights that a seed gives again: as files and as arrays.

In: the name of a case. Out: its settings and its tensors by their names in a file, and the file itself.
`tests/models_korean/record_references.py` gives the same weights to other implementations and records what
they say.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from lumen_core.weights.model_file import TensorPlan
from lumen_quant_gguf.writer import create

WIDTH, HEADS, GROUPS, HEAD, INNER, VOCABULARY = 64, 4, 2, 32, 96, 64
EPSILON, THETA = 1e-5, 10000.0
TOKENS = 480  # behind the window, behind the trained range, behind a ring of the pages of a window
WINDOW, TRAINED = 40, 64
EXPERTS, CHOSEN, EXPERT_INNER = 8, 3, 48


@dataclass(frozen=True)
class Tiny:
    """A case.

    metadata     settings below the architecture that differ from those all have
    extra        tensors of a layer beyond Llama's, by name
    without      tensors of a layer that Llama has and this has not
    factors      what divides the frequencies of the pairs (`rope_freqs`)
    interleaved  whether a file has the rows of queries and keys in the order of interleaved pairs
    experts      tensors of a layer that stand in the place of the dense network's
    dense        layers in front that have a dense network all the same
    """

    name: str
    architecture: str
    layers: int = 2
    metadata: Mapping[str, object] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    without: tuple[str, ...] = ()
    factors: tuple[float, ...] = ()
    interleaved: bool = False
    experts: tuple[str, ...] = ()
    dense: int = 0


def llama3_factors(factor: float, low: float, high: float, original: int) -> tuple[float, ...]:
    """What Llama 3's scaling divides frequencies by, as its authors write it."""
    found = []
    for pair in range(HEAD // 2):
        length = 2 * math.pi * THETA ** (2 * pair / HEAD)
        if length < original / high:
            found.append(1.0)
        elif length > original / low:
            found.append(factor)
        else:
            smooth = (original / length - low) / (high - low)
            found.append(1 / ((1 - smooth) / factor + smooth))
    return tuple(found)


_NORMS = ("attn_q_norm", "attn_k_norm")
_DENSE = ("ffn_gate", "ffn_up", "ffn_down")
_POST = ("post_attention_norm", "post_ffw_norm")
_YARN = {
    "rope.scaling.type": "yarn", "rope.scaling.factor": 8.0,
    "rope.scaling.original_context_length": TRAINED,
}  # fmt: skip
_LLAMA3 = llama3_factors(8.0, 1.0, 4.0, TRAINED)
_PATTERN = [True, True, True, False]
_ROUTED = ("ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps")
_SHARED = (*_ROUTED, "exp_probs_b", "ffn_gate_shexp", "ffn_up_shexp", "ffn_down_shexp")
_MIXTURE = {
    "expert_count": EXPERTS, "expert_used_count": CHOSEN, "expert_feed_forward_length": EXPERT_INNER,
}  # fmt: skip
_SIGMOID = {
    **_MIXTURE, "expert_gating_func": 2, "expert_shared_count": 1, "expert_weights_norm": True,
    "expert_weights_scale": 1.5,
}  # fmt: skip

CASES = {
    case.name: case
    for case in (
        Tiny("llama", "llama", interleaved=True),
        Tiny("llama-llama3", "llama", interleaved=True, factors=_LLAMA3),
        Tiny("llama-yarn", "llama", interleaved=True, metadata=_YARN),
        Tiny("llama-linear", "llama", interleaved=True,
             metadata={"rope.scaling.type": "linear", "rope.scaling.factor": 8.0}),
        Tiny("exaone", "exaone", factors=_LLAMA3),
        Tiny("qwen2", "qwen2", extra=("attn_q_bias", "attn_k_bias", "attn_v_bias")),
        Tiny("qwen3", "qwen3", extra=_NORMS),
        Tiny("qwen3-yarn", "qwen3", extra=_NORMS, metadata=_YARN),
        Tiny("exaone4", "exaone4", 4, extra=(*_NORMS, *_POST), without=("attn_norm", "ffn_norm"),
             factors=_LLAMA3, metadata={"attention.sliding_window": WINDOW,
                                        "attention.sliding_window_pattern": _PATTERN}),
        Tiny("exaone4-full", "exaone4", extra=(*_NORMS, *_POST), without=("attn_norm", "ffn_norm"),
             factors=_LLAMA3),
        Tiny("hyperclovax", "hyperclovax", interleaved=True, extra=_POST,
             metadata={"embedding_scale": 3.0, "attention.scale": 0.125, "residual_scale": 0.75,
                       "logit_scale": 0.25}),
        Tiny("qwen3moe", "qwen3moe", extra=_NORMS, experts=_ROUTED, metadata=_MIXTURE),
        Tiny("qwen3moe-plain", "qwen3moe", extra=_NORMS, experts=_ROUTED,
             metadata={**_MIXTURE, "expert_weights_norm": False}),
        Tiny("exaone-moe", "exaone-moe", 4, extra=_NORMS, experts=_SHARED, dense=1,
             metadata={**_SIGMOID, "attention.sliding_window": WINDOW, "leading_dense_block_count": 1,
                       "attention.sliding_window_pattern": _PATTERN}),
        Tiny("solar-open", "glm4moe", extra=("post_attention_norm",), without=("ffn_norm",),
             experts=_SHARED, metadata={**_SIGMOID, **_YARN}),
        Tiny("glm4moe", "glm4moe", extra=("post_attention_norm",), without=("ffn_norm",), experts=_SHARED,
             dense=1, metadata={**_SIGMOID, "rope.dimension_count": HEAD // 2, "expert_group_count": 4,
                                "expert_group_used_count": 2, "leading_dense_block_count": 1}),
        Tiny("kanana2_tiny", "kanana2_tiny", 4, extra=_NORMS,
             metadata={"attention.sliding_window": WINDOW, "attention.sliding_window_pattern": _PATTERN,
                       **_YARN}),
    )
}  # fmt: skip


def metadata(case: Tiny) -> dict[str, object]:
    """The settings below the architecture."""
    return {
        "block_count": case.layers,
        "context_length": 1024,
        "embedding_length": WIDTH,
        "feed_forward_length": INNER,
        "attention.head_count": HEADS,
        "attention.head_count_kv": GROUPS,
        "attention.key_length": HEAD,
        "attention.value_length": HEAD,
        "attention.layer_norm_rms_epsilon": EPSILON,
        "rope.freq_base": THETA,
        "rope.dimension_count": HEAD,
        **case.metadata,
    }


_SHAPES: dict[str, tuple[int, ...]] = {
    "attn_norm": (WIDTH,), "attn_q": (HEADS * HEAD, WIDTH), "attn_k": (GROUPS * HEAD, WIDTH),
    "attn_v": (GROUPS * HEAD, WIDTH), "attn_output": (WIDTH, HEADS * HEAD), "ffn_norm": (WIDTH,),
    "ffn_gate": (INNER, WIDTH), "ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER),
    "attn_q_norm": (HEAD,), "attn_k_norm": (HEAD,), "post_attention_norm": (WIDTH,),
    "post_ffw_norm": (WIDTH,), "attn_q_bias": (HEADS * HEAD,), "attn_k_bias": (GROUPS * HEAD,),
    "attn_v_bias": (GROUPS * HEAD,), "ffn_gate_inp": (EXPERTS, WIDTH), "exp_probs_b": (EXPERTS,),
    "ffn_gate_exps": (EXPERTS, EXPERT_INNER, WIDTH), "ffn_up_exps": (EXPERTS, EXPERT_INNER, WIDTH),
    "ffn_down_exps": (EXPERTS, WIDTH, EXPERT_INNER), "ffn_gate_shexp": (EXPERT_INNER, WIDTH),
    "ffn_up_shexp": (EXPERT_INNER, WIDTH), "ffn_down_shexp": (WIDTH, EXPERT_INNER),
    "token_embd": (VOCABULARY, WIDTH), "output_norm": (WIDTH,),
    "output": (VOCABULARY, WIDTH),
}  # fmt: skip


def _array(case: Tiny, tensor: str, name: str) -> np.ndarray:
    random = np.random.default_rng(zlib.crc32(f"{case.name} {tensor}".encode()))
    shape = _SHAPES[name]
    values = random.standard_normal(shape)
    if len(shape) > 1:
        values *= shape[-1] ** -0.5
    else:
        values = 0.2 * values + (0 if name.endswith(("bias", "_b")) else 1)
    return values.astype(np.float32)


def tensors(case: Tiny) -> dict[str, np.ndarray]:
    """Every tensor by its name in a file; rows of queries and keys in the order of half-split pairs."""
    found = {}
    for name in ("token_embd", "output_norm", "output"):
        found[f"{name}.weight"] = _array(case, name, name)
    plain = [name for name in _SHAPES if name.startswith(("attn", "ffn")) and name not in case.extra]
    optional = {*_NORMS, *_SHARED, "attn_q_bias", "attn_k_bias", "attn_v_bias", *case.without}
    for layer in range(case.layers):
        names = [name for name in plain if name not in optional]
        if case.experts and layer >= case.dense:
            names = [*(name for name in names if name not in _DENSE), *case.experts]
        for name in (*names, *case.extra):
            kind = "attn_" + name[5] + ".bias" if name.endswith("_bias") else f"{name}.weight"
            kind = "exp_probs_b.bias" if name == "exp_probs_b" else kind
            tensor = f"blk.{layer}.{kind}"
            found[tensor] = _array(case, tensor, name)
    return found


def dealt(rows: np.ndarray, heads: int) -> np.ndarray:
    """Rows of a projection with each head's halves dealt in turn: (0, E / 2, 1, E / 2 + 1, ...)."""
    return rows.reshape(heads, 2, -1, *rows.shape[1:]).swapaxes(1, 2).reshape(rows.shape)


def write(case: Tiny, path: Path, more: Mapping[str, np.ndarray] | None = None,
          settings: Mapping[str, object] | None = None) -> Path:  # fmt: skip
    """Write the case as a file, with more tensors and settings if given."""
    arrays = tensors(case)
    if case.interleaved:
        for name, value in arrays.items():
            if ".attn_q.weight" in name or ".attn_k.weight" in name:
                arrays[name] = dealt(value, HEADS if "_q" in name else GROUPS)
    if case.factors:
        arrays["rope_freqs.weight"] = np.array(case.factors, np.float32)
    arrays |= more or {}
    keys: dict[str, object] = {
        "general.architecture": case.architecture,
        "general.name": case.name,
        **{
            f"{case.architecture}.{key}": value
            for key, value in {**metadata(case), **(settings or {})}.items()
        },
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [chr(0x100 + index) for index in range(VOCABULARY)],
        "tokenizer.ggml.token_type": np.ones(VOCABULARY, np.int32),
        "tokenizer.ggml.merges": [],
        "tokenizer.ggml.eos_token_id": 0,
    }
    writer = create(path, keys, [TensorPlan(name, "f32", value.shape) for name, value in arrays.items()])
    for value in arrays.values():
        writer.write(np.ascontiguousarray(value).view(np.uint8).reshape(-1))
    writer.close()
    return path


def token_ids(case: Tiny) -> list[int]:
    """What every implementation reads."""
    return np.random.default_rng(zlib.crc32(case.name.encode())).integers(0, VOCABULARY, TOKENS).tolist()


# Positions whose logits are recorded: the beginning, around the window, the trained range and pages, the end.
RECORDED = (0, 1, 7, 38, 39, 40, 41, 63, 64, 65, 127, 128, 200, 255, 256, 257, 300, 383, 384, 420, 448, 479)
