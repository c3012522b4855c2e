"""Checkpoint directories by hand: safetensors files right or wrong, tiny models, tokenizers."""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from lumen_core.text.vocabulary import CHARACTER_OF_BYTE

WIDTH, INNER, LAYERS, HEADS, GROUPS, HEAD, ROWS = 64, 96, 2, 4, 2, 16, 264
LLAMA3 = {
    "rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": 32,
}  # fmt: skip
KINDS: Mapping[str, dict[str, Any]] = {  # what makes each kind of tiny model differ from the plain one
    "qwen2": {"model_type": "qwen2"},
    "qwen3": {"model_type": "qwen3", "tie_word_embeddings": True},
    "llama": {"model_type": "llama", "rope_parameters": LLAMA3},
}
PATTERN = r"\p{L}+|\p{N}|\s+(?!\S)|\s+"


def safetensors(arrays: Mapping[str, np.ndarray], kinds: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a valid file; `kinds` overrides the type that the header says."""
    names = {"float32": "F32", "float16": "F16", "uint16": "BF16", "int64": "I64"}
    table, data = {}, b""
    for name, array in arrays.items():
        span = [len(data), len(data) + array.nbytes]
        kind = (kinds or {}).get(name) or names[str(array.dtype)]
        table[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": span}
        data += array.tobytes()
    return with_header(json.dumps({"__metadata__": {"format": "pt"}, **table}).encode(), data)


def with_header(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def config(kind: str, **changes: Any) -> dict[str, Any]:
    return {
        "hidden_size": WIDTH, "intermediate_size": INNER, "num_hidden_layers": LAYERS,
        "num_attention_heads": HEADS, "num_key_value_heads": GROUPS, "head_dim": HEAD, "vocab_size": ROWS,
        "max_position_embeddings": 256, "rms_norm_eps": 1e-6, "rope_theta": 10000.0, "hidden_act": "silu",
        "tie_word_embeddings": False, "eos_token_id": 258, **KINDS[kind], **changes,
    }  # fmt: skip


def weights(kind: str, seed: int = 5) -> dict[str, np.ndarray]:
    """Random weights under the names of the published checkpoints."""
    random = np.random.default_rng(seed)
    shapes: dict[str, tuple[int, ...]] = {
        "model.embed_tokens.weight": (ROWS, WIDTH),
        "model.norm.weight": (WIDTH,),
    }
    if not KINDS[kind].get("tie_word_embeddings"):
        shapes["lm_head.weight"] = (ROWS, WIDTH)
    queries, keys = HEADS * HEAD, GROUPS * HEAD
    for layer in range(LAYERS):
        own: dict[str, tuple[int, ...]] = {
            "input_layernorm.weight": (WIDTH,), "post_attention_layernorm.weight": (WIDTH,),
            "self_attn.q_proj.weight": (queries, WIDTH), "self_attn.k_proj.weight": (keys, WIDTH),
            "self_attn.v_proj.weight": (keys, WIDTH), "self_attn.o_proj.weight": (WIDTH, queries),
            "mlp.gate_proj.weight": (INNER, WIDTH), "mlp.up_proj.weight": (INNER, WIDTH),
            "mlp.down_proj.weight": (WIDTH, INNER),
        }  # fmt: skip
        if kind == "qwen2":
            own |= {f"self_attn.{c}_proj.bias": (queries if c == "q" else keys,) for c in "qkv"}
        if kind == "qwen3":
            own |= {f"self_attn.{c}_norm.weight": (HEAD,) for c in "qk"}
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in own.items()}
    return {
        name: (random.standard_normal(shape) * 0.15 + (len(shape) == 1)).astype(np.float32)
        for name, shape in shapes.items()
    }


def tokenizer_json(normalizer: str | None = "NFC", pattern: str = PATTERN) -> dict[str, Any]:
    """A byte-level vocabulary of 256 bytes, one merge, and five added tokens."""
    vocabulary = {CHARACTER_OF_BYTE[byte]: byte for byte in range(256)}
    cut = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated", "invert": False}
    letters = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    names = ("<|begin|>", "<|im_end|>", "<|im_start|>", "<think>", "</think>")
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False}
    added = [{"id": 257 + i, "content": name, "special": i < 3, **flags} for i, name in enumerate(names)]
    return {
        "version": "1.0", "added_tokens": added, "normalizer": {"type": normalizer} if normalizer else None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [cut, letters]}, "post_processor": None,
        "decoder": {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False},
        "model": {"type": "BPE", "vocab": vocabulary | {"ab": 256}, "merges": [["a", "b"]]},
    }  # fmt: skip


TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n"
    "{% elif enable_thinking is defined %}<think>\n{% endif %}{% endif %}"
)


def write(directory: Path, kind: str, shards: int = 1, **changes: Any) -> Path:
    """Write a whole checkpoint directory."""
    directory.mkdir(parents=True, exist_ok=True)
    arrays = weights(kind)
    (directory / "config.json").write_text(json.dumps(config(kind, **changes)))
    (directory / "generation_config.json").write_text(json.dumps({"eos_token_id": [258, 257]}))
    (directory / "tokenizer.json").write_text(json.dumps(tokenizer_json()))
    settings = {"eos_token": {"content": "<|im_end|>"}, "chat_template": TEMPLATE}
    (directory / "tokenizer_config.json").write_text(json.dumps(settings))
    write_weights(directory, arrays, shards)
    return directory


def write_weights(directory: Path, arrays: Mapping[str, np.ndarray], shards: int = 1) -> None:
    if shards == 1:
        (directory / "model.safetensors").write_bytes(safetensors(arrays))
        return
    names, places = list(arrays), {}
    for part in range(shards):
        file = f"model-{part + 1:05}-of-{shards:05}.safetensors"
        chosen = {name: arrays[name] for name in names[part::shards]}
        (directory / file).write_bytes(safetensors(chosen))
        places |= dict.fromkeys(chosen, file)
    index = {"metadata": {"total_size": 0}, "weight_map": places}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
