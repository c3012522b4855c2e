"""Tiny random models under the names of `transformers`, and their files as upstream converters write them.

In: a case. Out: weights from a numpy seed (so that nothing but logits needs recording), and a file written
by the `gguf` package: its keys, its tensor names, llama's rows of queries and keys dealt in turn,
scaled frequencies as the tensor `rope_freqs`.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from kit.vocabularies import byte_level

VOCABULARY = byte_level(merges=20)
TOKENS = len(VOCABULARY["tokenizer.ggml.tokens"])  # type: ignore[arg-type]
PROMPT = np.random.default_rng(0).integers(0, TOKENS, 48)
RECORDED = [0, 1, 2, 3, 7, 15, 16, 31, 46, 47]  # positions whose logits are kept
LLAMA3 = {
    "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A model of `transformers`; `settings` are those of its configuration class."""

    name: str
    architecture: str
    reference: str
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def all(self) -> dict[str, Any]:
        common = {
            "hidden_size": 64, "intermediate_size": 112, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "vocab_size": TOKENS, "max_position_embeddings": 128,
            "rms_norm_eps": 1e-6, "tie_word_embeddings": False, "rope_theta": 10000.0,
        }  # fmt: skip
        return common | self.settings

    @property
    def head(self) -> int:
        return self.all.get("head_dim") or self.all["hidden_size"] // self.all["num_attention_heads"]

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Every parameter by the name that transformers gives it."""
        s, head = self.all, self.head
        width, inner, heads = s["hidden_size"], s["intermediate_size"], s["num_attention_heads"]
        groups = s["num_key_value_heads"]
        shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (TOKENS, width)}
        for layer in range(s["num_hidden_layers"]):
            block = f"model.layers.{layer}"
            for name, rows in (("q", heads), ("k", groups), ("v", groups)):
                shapes[f"{block}.self_attn.{name}_proj.weight"] = (rows * head, width)
                if self.architecture == "qwen2":
                    shapes[f"{block}.self_attn.{name}_proj.bias"] = (rows * head,)
            shapes[f"{block}.self_attn.o_proj.weight"] = (width, heads * head)
            if self.architecture == "qwen3":
                shapes |= {f"{block}.self_attn.{name}_norm.weight": (head,) for name in "qk"}
            shapes[f"{block}.mlp.gate_proj.weight"] = shapes[f"{block}.mlp.up_proj.weight"] = (inner, width)
            shapes[f"{block}.mlp.down_proj.weight"] = (width, inner)
            shapes[f"{block}.input_layernorm.weight"] = (width,)
            shapes[f"{block}.post_attention_layernorm.weight"] = (width,)
        shapes["model.norm.weight"] = (width,)
        if not s["tie_word_embeddings"]:
            shapes["lm_head.weight"] = (TOKENS, width)
        return shapes

    def weights(self) -> dict[str, np.ndarray]:
        found = {}
        for name, shape in self.shapes().items():
            values = np.random.default_rng(zlib.crc32(name.encode())).standard_normal(shape)
            if len(shape) == 2:
                values *= 1.0 if "embed" in name else 1.5 * shape[1] ** -0.5
            else:
                values = 0.2 * values + ("norm" in name)
            found[name] = values.astype(np.float32)
        return found


CASES = [
    Case("qwen2", "qwen2", "Qwen2"),
    Case("qwen2-tied", "qwen2", "Qwen2", {"tie_word_embeddings": True, "rope_theta": 1e6}),
    Case("qwen3", "qwen3", "Qwen3", {"head_dim": 32, "tie_word_embeddings": True, "rope_theta": 1e6}),
    Case("qwen3-untied", "qwen3", "Qwen3", {"head_dim": 16, "num_key_value_heads": 4}),
    Case("llama", "llama", "Llama", {"rms_norm_eps": 1e-5}),
    Case("llama-head", "llama", "Llama", {"head_dim": 24, "num_key_value_heads": 1}),
    Case("llama-scaled", "llama", "Llama", {"head_dim": 32, "tie_word_embeddings": True, "rope_theta": 5e5,
                                            "rope_scaling": LLAMA3}),
]  # fmt: skip


def write(case: Case, path: Path) -> Path:
    """Write a case as an upstream converter does."""
    s, writer = case.all, gguf.GGUFWriter(path, case.architecture)
    writer.add_name(case.name)
    writer.add_context_length(s["max_position_embeddings"])
    writer.add_embedding_length(s["hidden_size"])
    writer.add_block_count(s["num_hidden_layers"])
    writer.add_feed_forward_length(s["intermediate_size"])
    writer.add_head_count(s["num_attention_heads"])
    writer.add_head_count_kv(s["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(s["rms_norm_eps"])
    writer.add_rope_freq_base(s["rope_theta"])
    if "head_dim" in s:
        writer.add_key_length(case.head)
        writer.add_value_length(case.head)
    if case.architecture == "llama":
        writer.add_vocab_size(TOKENS)
        writer.add_rope_dimension_count(case.head)
    for key, value in VOCABULARY.items():
        _add(writer, key, value)
    architecture = {v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}[case.architecture]
    names = gguf.get_tensor_name_map(architecture, s["num_hidden_layers"])
    for name, weight in case.weights().items():
        if case.architecture == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            rows = s["num_attention_heads"] if "q_proj" in name else s["num_key_value_heads"]
            weight = dealt(weight, rows)
        writer.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), weight)
    if "rope_scaling" in s:
        writer.add_tensor("rope_freqs.weight", frequency_factors(case))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, str):
        writer.add_string(key, value)
    elif isinstance(value, int):
        writer.add_uint32(key, value)
    else:
        writer.add_array(key, value.tolist() if isinstance(value, np.ndarray) else value)


def dealt(weight: np.ndarray, heads: int) -> np.ndarray:
    """Rows i and i + E/2 of every head side by side."""
    halves = weight.reshape(heads, 2, -1, weight.shape[1])
    return np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(weight.shape)


def frequency_factors(case: Case) -> np.ndarray:
    """What divides the frequencies of Llama 3.1: 1 for short waves, `factor` for long ones."""
    scaling, length = case.all["rope_scaling"], case.head
    original = scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    factors = []
    for pair in range(length // 2):
        wave = 2 * math.pi * case.all["rope_theta"] ** (2 * pair / length)
        if wave < original / high:
            factors.append(1.0)
        elif wave > original / low:
            factors.append(scaling["factor"])
        else:
            ramp = (original / wave - low) / (high - low)
            factors.append(1 / ((1 - ramp) / scaling["factor"] + ramp))
    return np.array(factors, np.float32)
