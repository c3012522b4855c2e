"""Asks llama.cpp which type it would give every tensor of a model. Needs llama-cpp-python and `gguf`."""

from __future__ import annotations

import ctypes
import re
import tempfile
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from kit.mixture_models import MIXTURES, SHAPES, Shape

FILE_TYPES = {
    item.name.removeprefix("MOSTLY_").removeprefix("ALL_").lower(): int(item) for item in gguf.LlamaFileType
}


def write(shape: Shape, path: Path) -> None:
    writer = gguf.GGUFWriter(path, shape.architecture)
    writer.add_block_count(shape.layers)
    writer.add_context_length(128)
    writer.add_embedding_length(shape.width)
    writer.add_feed_forward_length(shape.hidden)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.shared_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(64)
    if shape.experts:
        writer.add_expert_count(shape.experts)
        writer.add_expert_used_count(2)
    for name, size in shape.tensors().items():
        writer.add_tensor(
            name, np.zeros(size, np.float32 if len(size) == 1 or "_inp" in name else np.float16)
        )
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


class Chooser:
    """Asks llama.cpp, which prints what it would do."""

    def __init__(self) -> None:
        import llama_cpp

        self.library: Any = llama_cpp
        self.lines: list[str] = []
        self._heard = llama_cpp.llama_log_callback(
            lambda _level, text, _data: self.lines.append(text.decode())
        )
        llama_cpp.llama_log_set(self._heard, ctypes.c_void_p(0))

    def types(self, source: Path, shape: Shape, mixture: str, importance: bool) -> dict[str, str]:
        """The type of every tensor; importance: of every matrix, all ones."""
        settings = self.library.llama_model_quantize_default_params()
        settings.ftype = FILE_TYPES[mixture]
        settings.dry_run, settings.nthread = True, 1
        if importance:
            settings.imatrix = self._ones(shape)
        self.lines.clear()
        target = str(source.with_suffix(".out")).encode()
        failed = self.library.llama_model_quantize(str(source).encode(), target, ctypes.byref(settings))
        text = "".join(self.lines)
        assert not failed, text
        found = re.findall(r"^\[ *\d+/ *\d+\] (\S+) .*type = +(\w+),(?:.*\((\w+)\))?", text, re.MULTILINE)
        return {name: (becomes or before).lower() for name, before, becomes in found}

    def _ones(self, shape: Shape) -> Any:
        kind = self.library.llama_cpp.llama_model_imatrix_data
        matrices = [(name, size) for name, size in shape.tensors().items() if len(size) > 1]
        entries = (kind * (len(matrices) + 1))()  # the last one ends the list
        self._kept = []
        for entry, (name, size) in zip(entries, matrices, strict=False):
            values = (ctypes.c_float * (size[-1] * (size[0] if len(size) == 3 else 1)))()
            ctypes.memset(values, 0, ctypes.sizeof(values))
            label = name.encode()
            self._kept += [values, label]
            entry.name, entry.data, entry.size = label, values, len(values)
        return ctypes.cast(entries, ctypes.POINTER(kind))


def choices(name: str) -> dict[str, dict[str, str]]:
    """mixture -> type of every tensor; "mixture+imatrix", where an importance matrix changes anything."""
    chooser, found = Chooser(), {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.gguf"
        write(SHAPES[name], path)
        for mixture in MIXTURES.split():
            found[mixture] = chooser.types(path, SHAPES[name], mixture, False)
            other = chooser.types(path, SHAPES[name], mixture, True)
            if other != found[mixture]:
                found[mixture + "+imatrix"] = other
    return found
