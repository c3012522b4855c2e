"""Quantized matrices that a container cannot say as they are: the format that each gets, and its bytes.

In: a tensor, and what was asked for. Out: a format, then pieces of bytes in it. Without a wish it is the
smallest type of the container that holds the same numbers; where none does, somebody has to choose what may
be lost.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from lumen_core.errors import LumenError, ModelError, UnsupportedFormatError
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import Formats, analyse
from lumen_core.quant.encode import encode
from lumen_core.quant.normal_form import NormalForm
from lumen_core.quant.transcode import in_order, transcoded
from lumen_core.weights.model_file import FileTensor

_PIECE = 1 << 20  # weights at a time
_MOST_BITS = 16  # of a type that is taken without asking
_PROBE = 16  # rows that show nearly always that a type will not do


@dataclass
class Rewriting:
    """How the tensors of one file are written into a container.

    held    formats that the container has numbers for
    wanted  what such matrices become
    """

    registry: Registry
    forms: Formats
    held: Sequence[str]
    wanted: str | None = None

    def __post_init__(self) -> None:
        if self.wanted is not None and self.wanted not in self.forms:
            self.forms[self.wanted] = analyse(self.registry.format(self.wanted))
        known = [name for name in self.held if name in self.registry.formats]
        forms = {name: self.forms.get(name) or analyse(self.registry.format(name)) for name in known}
        small = [item for item in forms.items() if item[1].bits_per_weight <= _MOST_BITS]
        self.candidates = dict(sorted(small, key=lambda item: item[1].bits_per_weight))

    def format(self, tensor: FileTensor) -> str:
        """The format that a tensor gets; raises ModelError where nobody has chosen one."""
        if tensor.format in self.held:
            return tensor.format
        if self.wanted is not None:
            return self.wanted
        for name, form in self.candidates.items():
            if self._exactly(tensor, form, _PROBE) and self._exactly(tensor, form):
                self.forms[name] = form
                return name
        raise ModelError(
            f"tensor {tensor.name} ({tensor.origin}): no type holds the numbers of {tensor.format} exactly; "
            "say with `element` what it becomes: q8_0 (small, rounded once more) or f32 (exact, large)"
        )

    def pieces(self, tensor: FileTensor, format: str) -> Iterator[np.ndarray]:
        """The tensor's bytes in a format, piece by piece."""
        if format == tensor.format:
            yield tensor.data
            return
        source, target = self.forms[tensor.format], self.forms[format]
        for rows in self._rows(tensor, source):
            made = transcoded(rows, source, target, tensor.order)
            if made is None:
                made = self._rounded(tensor, in_order(source.decode(rows), tensor.order), target)
            yield made

    def _rows(self, tensor: FileTensor, form: NormalForm) -> Iterator[np.ndarray]:
        columns = tensor.shape[-1] if tensor.shape else 1
        matrix = tensor.data.reshape(-1, form.row_bytes(columns))
        step = max(1, _PIECE // columns)
        for first in range(0, len(matrix), step):
            yield matrix[first : first + step]

    def _exactly(self, tensor: FileTensor, target: NormalForm, most: int | None = None) -> bool:
        """Tell whether a format holds the same numbers; `most`: as many of the first rows."""
        source = self.forms[tensor.format]
        pieces = self._rows(tensor, source)
        parts = pieces if most is None else (rows[:most] for rows in islice(pieces, 1))
        return all(transcoded(rows, source, target, tensor.order) is not None for rows in parts)

    def _rounded(self, tensor: FileTensor, values: np.ndarray, target: NormalForm) -> np.ndarray:
        try:
            return encode(target, values)
        except UnsupportedFormatError as error:
            raise LumenError(f"tensor {tensor.name}: {error}; choose another `element`") from None
