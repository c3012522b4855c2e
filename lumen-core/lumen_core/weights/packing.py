"""Weights into memory: matrices in the packed layout, vectors as f32, tables left in the file.

Packing runs on several threads, tensor by tensor, and gives the file's pages back as it goes, so that the
peak stays near one copy. What a file holds packed already is only mapped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from math import prod

import numpy as np

from lumen_core.dsl import ast
from lumen_core.errors import ModelFormatError
from lumen_core.quant.identity import fingerprint
from lumen_core.quant.layout import WeightLayout
from lumen_core.quant.normal_form import NormalForm
from lumen_core.runtime.link import Function
from lumen_core.runtime.memory import address, allocate
from lumen_core.schedule.pack import build_pack
from lumen_core.target import Target
from lumen_core.weights.model_file import FileTensor, ModelFile
from lumen_core.weights.packed_file import PackedTensor

_GROUPS = 64  # row groups that a thread packs at a time
_PARTS = 8  # such parts between two releases of the file's pages


def packing_digest(declaration: ast.Format, form: NormalForm, target: Target) -> str:
    """What decides a format's packed bytes and their meaning: its declaration, and the program that packs."""
    program = str(build_pack(form, target))
    return hashlib.sha256(f"{fingerprint(declaration)}\n{program}".encode()).hexdigest()[:32]


class Packer:
    """Packs the tensors of one file; every tensor once, however many names it has."""

    def __init__(
        self,
        file: ModelFile,
        forms: Mapping[str, NormalForm],
        lanes: int,
        functions: Mapping[str, Function],
        threads: int,
    ):
        self.file = file
        self.forms = forms
        self.lanes = lanes
        self.functions = functions
        self.packed: dict[int, np.ndarray] = {}
        self.pool = ThreadPoolExecutor(threads, thread_name_prefix="lumen-pack")

    def pack_all(self, tensors: Iterable[FileTensor], progress: Callable[[str, int, int], None]) -> None:
        """Pack matrices one behind the other, in the order given, reporting the file's bytes done.

        They share one piece of memory: large pages then hold all of it, and a step reads it front to back.
        """
        wanted = list({id(tensor): tensor for tensor in tensors}.values())
        for tensor in wanted:
            if isinstance(tensor, PackedTensor):
                self.packed[id(tensor)] = self._mapped(tensor)
        wanted = [tensor for tensor in wanted if not isinstance(tensor, PackedTensor)]
        sizes = [self.size(tensor) for tensor in wanted]
        memory = allocate(sum(sizes), "the packed weights")
        total, done, start = sum(tensor.nbytes for tensor in wanted), 0, 0
        for tensor, size in zip(wanted, sizes, strict=True):
            progress("packing weights", done, total)
            self.packed[id(tensor)] = memory[start : start + size]
            self.pack(tensor, self.packed[id(tensor)])
            done, start = done + tensor.nbytes, start + size
        progress("packing weights", total, total)

    def size(self, tensor: FileTensor) -> int:
        """Bytes of a matrix, or of a stack of matrices, in the packed layout."""
        return prod(tensor.shape[:-2]) * self._layout(tensor).matrix_bytes(*tensor.shape[-2:])

    def _mapped(self, tensor: PackedTensor) -> np.ndarray:
        if tensor.packed.nbytes != self.size(tensor):
            raise ModelFormatError(
                f"{self.file.path}: the packed weights of {tensor.name} have {tensor.packed.nbytes} bytes, "
                f"expected {self.size(tensor)}; the file is corrupt: pack the model again"
            )
        return tensor.packed

    def _layout(self, tensor: FileTensor) -> WeightLayout:
        return WeightLayout(self.forms[tensor.format], self.lanes)

    def pack(self, tensor: FileTensor, to: np.ndarray) -> None:
        """Write a matrix, or a stack of them, in the packed layout; `to` has its `size` and holds zeros."""
        data = tensor.data  # once: some tensors are put together when they are asked for
        count = prod(tensor.shape[:-2])
        for matrix, packed in zip(data.reshape(count, -1), to.reshape(count, -1), strict=True):
            self._pack_matrix(tensor, matrix, packed)
        self.file.release(tensor)  # what a tensor was put together from

    def _pack_matrix(self, tensor: FileTensor, data: np.ndarray, to: np.ndarray) -> None:
        rows, length = tensor.shape[-2:]
        groups = self._layout(tensor).groups(rows)
        function = self.functions[tensor.format]

        def part(first: int) -> None:
            function(address(data), address(to), length, rows, first, min(first + _GROUPS, groups))

        row_bytes = data.nbytes // rows
        for first in range(0, groups, _GROUPS * _PARTS):
            last = min(first + _GROUPS * _PARTS, groups)
            list(self.pool.map(part, range(first, last, _GROUPS)))
            # Give the file's pages back at once; a table that is also gathered from returns page by page.
            done = data[first * self.lanes * row_bytes : last * self.lanes * row_bytes]
            self.file.release(FileTensor(tensor.name, tensor.format, tensor.shape, done))

    def plain(self, tensor: FileTensor) -> np.ndarray:
        """Return a vector as contiguous f32."""
        return np.ascontiguousarray(self.forms[tensor.format].decode(tensor.data), np.float32)

    def close(self) -> None:
        self.pool.shutdown()
