"""Does what the metadata claims make sense?  Checked once on opening, before anything is sized by it.

In: metadata and tensors that are well-formed.  Out: nothing, or a `ModelFormatError` naming the key.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from lumen_core.errors import ModelFormatError
from lumen_core.weights.model_file import FileTensor

_POSITIVE = ("block_count", "embedding_length", "feed_forward_length", "context_length", "vocab_size",
             "attention.head_count", "attention.head_count_kv", "attention.key_length",
             "attention.value_length", "rope.dimension_count")  # fmt: skip
_FINITE = ("attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon", "rope.freq_base")
_MAX_SIZE = 1 << 31
_SPECIAL = ("bos", "eos", "eot", "eom", "unknown", "seperator", "separator", "padding", "mask")


def _fail(path: Path, key: str, problem: str) -> None:
    raise ModelFormatError(f"{path}: {key} {problem}; the file is corrupt or was converted wrongly")


def check_metadata(path: Path, metadata: Mapping[str, object]) -> str:
    """Check the well-known keys; return the architecture."""
    architecture = metadata.get("general.architecture")
    if not isinstance(architecture, str) or not architecture:
        _fail(path, "general.architecture", f"is {architecture!r}, not a name")
    assert isinstance(architecture, str)
    for name in _POSITIVE:
        key = f"{architecture}.{name}"
        if key not in metadata:
            continue
        value = metadata[key]
        if isinstance(value, np.ndarray) and value.dtype.kind in "iu" and value.size:
            sizes = [int(value.min()), int(value.max())]
        elif isinstance(value, int) and not isinstance(value, bool):
            sizes = [value, value]
        else:
            _fail(path, key, f"is {value!r}, not a whole number")
        lowest = 0 if isinstance(value, np.ndarray) else 1  # a layer of a hybrid model may have no heads
        if sizes[0] < lowest or sizes[1] >= _MAX_SIZE or sizes[1] == 0:
            _fail(path, key, f"is {value}, out of range")
    rotated = metadata.get(f"{architecture}.rope.dimension_count")
    if isinstance(rotated, int) and rotated % 2:
        _fail(path, f"{architecture}.rope.dimension_count", f"is {rotated}, an odd number")
    for name in _FINITE:
        key = f"{architecture}.{name}"
        if key in metadata:
            value = metadata[key]
            if not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
                _fail(path, key, f"is {value!r}, not a positive number")
    _check_vocabulary(path, metadata)
    return architecture


def _check_vocabulary(path: Path, metadata: Mapping[str, object]) -> None:
    tokens = metadata.get("tokenizer.ggml.tokens")
    if tokens is None:
        return
    if not hasattr(tokens, "tolist") or isinstance(tokens, np.ndarray) or not len(tokens):  # type: ignore[arg-type]
        _fail(path, "tokenizer.ggml.tokens", "is not a list of strings")
    count = len(tokens)  # type: ignore[arg-type]
    for name, kinds in (("token_type", "iu"), ("scores", "f")):
        key = f"tokenizer.ggml.{name}"
        values = metadata.get(key)
        if values is None:
            continue
        if not isinstance(values, np.ndarray) or values.dtype.kind not in kinds:
            _fail(path, key, "is not an array of numbers")
        elif len(values) != count:
            _fail(path, key, f"has {len(values)} elements for {count} tokens")
    for name in _SPECIAL:
        key = f"tokenizer.ggml.{name}_token_id"
        value = metadata.get(key)
        if value is None:
            continue
        whole = isinstance(value, int) and not isinstance(value, bool)
        if whole and value in (-1, 0xFFFFFFFF):  # both mean "none"
            continue
        if not whole or not 0 <= value < count:  # type: ignore[operator]
            _fail(path, key, f"is {value!r}, but the vocabulary has {count} tokens")


def check_tensors(path: Path, architecture: str, metadata: Mapping[str, object],
                  tensors: Mapping[str, FileTensor]) -> None:  # fmt: skip
    """Check that the embedding agrees with the metadata that sizes everything else."""
    table = tensors.get("token_embd.weight")
    if table is None or len(table.shape) != 2:
        return
    tokens = metadata.get("tokenizer.ggml.tokens")
    if tokens is not None and len(tokens) != table.shape[0]:  # type: ignore[arg-type]
        _fail(path, "tokenizer.ggml.tokens",
              f"has {len(tokens)} tokens, but token_embd.weight has {table.shape[0]} rows")  # type: ignore[arg-type]  # fmt: skip
    width = metadata.get(f"{architecture}.embedding_length")
    if isinstance(width, int) and width != table.shape[1]:
        _fail(path, f"{architecture}.embedding_length",
              f"is {width}, but token_embd.weight has rows of {table.shape[1]}")  # fmt: skip
