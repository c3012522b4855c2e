"""llama.cpp through its package: logits of a file, and its quantizer. Needs llama-cpp-python."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse
from lumen_core.weights.model_file import TensorPlan
from lumen_quant_gguf.writer import create


def library() -> Any:
    """The package, silenced; skips the test where it is not installed."""
    found = pytest.importorskip("llama_cpp", reason="needs llama-cpp-python")
    if not hasattr(library, "silence"):
        library.silence = found.llama_log_callback(lambda *_: None)  # type: ignore[attr-defined]
        found.llama_log_set(library.silence, ctypes.c_void_p(0))  # type: ignore[attr-defined]
        found.llama_backend_init()
    return found


class Llama:
    """One model in llama.cpp."""

    def __init__(self, path: Path, context: int = 1024, threads: int = 2):
        self.library = library()
        self._model = self.library.llama_model_load_from_file(
            str(path).encode(), self.library.llama_model_default_params()
        )
        assert self._model, f"llama.cpp cannot load {path}"
        settings = self.library.llama_context_default_params()
        settings.n_ctx = settings.n_batch = context
        settings.n_threads = settings.n_threads_batch = threads
        self._context = self.library.llama_init_from_model(self._model, settings)
        vocabulary = self.library.llama_model_get_vocab(self._model)
        self.vocabulary = self.library.llama_vocab_n_tokens(vocabulary)
        self._used = 0

    def __enter__(self) -> Llama:
        return self

    def __exit__(self, *_: object) -> None:
        self.library.llama_free(self._context)
        self.library.llama_model_free(self._model)

    def reset(self) -> None:
        self.library.llama_memory_clear(self.library.llama_get_memory(self._context), True)
        self._used = 0

    def feed(self, ids: Sequence[int]) -> np.ndarray:
        """Feed tokens behind those before; return the logits after each, f32 [T, V]."""
        batch = self.library.llama_batch_init(len(ids), 0, 1)
        batch.n_tokens = len(ids)
        for number, token in enumerate(ids):
            batch.token[number], batch.pos[number] = token, self._used + number
            batch.n_seq_id[number], batch.seq_id[number][0], batch.logits[number] = 1, 0, 1
        assert self.library.llama_decode(self._context, batch) == 0
        self.library.llama_batch_free(batch)
        self._used += len(ids)
        logits = self.library.llama_get_logits(self._context)
        return np.ctypeslib.as_array(logits, (len(ids), self.vocabulary)).copy()

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        self.reset()
        return self.feed(ids)

    def greedy(self, ids: Sequence[int], count: int) -> tuple[list[int], np.ndarray]:
        """The tokens that follow, and the logits that each was chosen by, [count, V]."""
        rows, tokens = [self.logits(ids)[-1]], []
        for _ in range(count):
            tokens.append(int(rows[-1].argmax()))
            rows.append(self.feed(tokens[-1:])[0])
        return tokens, np.stack(rows[:count])


FILE_TYPES = {"q4_0": 2, "q8_0": 7, "q4_k_m": 15}


def quantize(source: Path, target: Path, kind: str) -> Path:
    """Quantize a file by llama.cpp itself."""
    settings = library().llama_model_quantize_default_params()
    settings.ftype, settings.nthread = FILE_TYPES[kind], 2
    settings.allow_requantize = True
    result = library().llama_model_quantize(
        str(source).encode(), str(target).encode(), ctypes.byref(settings)
    )
    assert result == 0
    return target


def plain(source: Path, target: Path) -> Path:
    """Write a model file again with every tensor as f32: what its bytes mean, without any quantization."""
    registry = Registry.load()
    with registry.reader(source).open(source) as file:
        metadata = {
            key: value.copy() if isinstance(value, np.ndarray)
            else value.tolist() if hasattr(value, "tolist") else value
            for key, value in file.metadata.items() if key != "general.file_type"
        }  # fmt: skip
        tensors = list(file.tensors.values())
        writer = create(target, metadata, [TensorPlan(t.name, "f32", t.shape) for t in tensors])
        for tensor in tensors:
            decoded = analyse(registry.format(tensor.format)).decode(tensor.data)
            writer.write(np.ascontiguousarray(decoded.reshape(-1)).view(np.uint8))
        writer.close()
    return target


def divergence(reference: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """KL(reference || logits) of every row, in nats."""
    first, second = (_log_softmax(table.astype(np.float64)) for table in (reference, logits))
    return (np.exp(first) * (first - second)).sum(axis=-1)


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
