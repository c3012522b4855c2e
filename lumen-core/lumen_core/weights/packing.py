"""Weights into memory: matrices in the packed layout, vectors as f32, tables left in the file.

Packing runs on several threads, tensor by tensor, and gives the file's pages back as it goes, so that the
peak stays near one copy.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lumen_core.quant.layout import WeightLayout
from lumen_core.quant.normal_form import NormalForm
from lumen_core.runtime.link import Function
from lumen_core.runtime.memory import address, allocate
from lumen_core.weights.model_file import FileTensor, ModelFile

_GROUPS = 64  # row groups that a thread packs at a time


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

    def pack(self, tensor: FileTensor) -> np.ndarray:
        """Return the packed bytes of a matrix."""
        if id(tensor) in self.packed:
            return self.packed[id(tensor)]
        form = self.forms[tensor.format]
        layout = WeightLayout(form, self.lanes)
        rows, length = tensor.shape
        made = allocate(layout.matrix_bytes(rows, length), f"the packed weights of {tensor.name}")
        function = self.functions[tensor.format]
        data = tensor.data  # once: some tensors are put together when they are asked for

        def part(first: int) -> None:
            last = min(first + _GROUPS, layout.groups(rows))
            function(address(data), address(made), length, rows, first, last)

        list(self.pool.map(part, range(0, layout.groups(rows), _GROUPS)))
        self.file.release(tensor)  # a table that is also gathered from comes back page by page
        self.packed[id(tensor)] = made
        return made

    def pack_all(self, tensors: Iterable[FileTensor], progress: Callable[[str, int, int], None]) -> None:
        """Pack every tensor, reporting bytes done."""
        wanted = list({id(tensor): tensor for tensor in tensors}.values())
        total, done = sum(tensor.nbytes for tensor in wanted), 0
        for tensor in wanted:
            progress("packing weights", done, total)
            self.pack(tensor)
            done += tensor.nbytes
        progress("packing weights", total, total)

    def plain(self, tensor: FileTensor) -> np.ndarray:
        """Return a vector as contiguous f32."""
        return np.ascontiguousarray(self.forms[tensor.format].decode(tensor.data), np.float32)

    def close(self) -> None:
        self.pool.shutdown()
