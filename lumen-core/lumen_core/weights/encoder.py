"""The compiled search of the quantizer: `quant.search.Search` by the kernels of `schedule/search.py`.

In: the linked functions of one format. Out: what makes a search of some blocks for `quant.encode`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lumen_core.quant.alphabet import Values, fields_of
from lumen_core.quant.fit import Sums
from lumen_core.quant.integers import BitField
from lumen_core.quant.normal_form import NormalForm
from lumen_core.quant.search import Part
from lumen_core.runtime.link import Function
from lumen_core.runtime.memory import address


@dataclass(frozen=True)
class Functions:
    """The kernels of one format, for weights with or without an importance.

    lanes  blocks of a tile
    sums   what `trial` gives, in order
    """

    lanes: int
    sums: tuple[str, ...]
    weighted: bool
    prepare: Function
    search: Function
    trial: Function
    contents: Function

    def __call__(
        self, form: NormalForm, values: Values, blocks: np.ndarray, importance: np.ndarray | None
    ) -> CompiledSearch:
        return CompiledSearch(self, form, values, blocks, importance)


class CompiledSearch:
    """The weights of some blocks, laid out in tiles; the last tile is filled with zeros."""

    def __init__(self, functions: Functions, form: NormalForm, values: Values, blocks: np.ndarray,
                 importance: np.ndarray | None):  # fmt: skip
        self.functions = functions
        self.form = form
        self.values = values
        lanes = functions.lanes
        self.tiles = -(-len(blocks) // lanes)
        self.count = self.tiles * lanes
        self.unit, self.least = np.empty(self.count, np.float32), np.empty(self.count, np.float32)
        self._x = self._laid_out(blocks, scaled=True)
        assert functions.weighted == (importance is not None)
        self._weight = self._laid_out(importance, scaled=False) if importance is not None else self._x

    def _laid_out(self, blocks: np.ndarray, scaled: bool) -> np.ndarray:
        if len(blocks) < self.count:
            blocks = np.pad(blocks, ((0, self.count - len(blocks)), (0, 0)))
        blocks = np.ascontiguousarray(blocks, np.float32)
        made = np.empty(blocks.shape, np.float32)
        arrays = map(address, (blocks, made, self.unit, self.least))
        self.functions.prepare(*arrays, int(scaled), 0, self.tiles)
        return made

    def _part(self) -> Part:
        return np.empty((self.form.block // self.form.sub, self.count), np.float32)

    def _run(self, function: Function, *arrays: np.ndarray) -> None:
        pointers = map(address, (self._x, self._weight, *arrays))
        function(*pointers, self.count, 0, self.tiles)

    def _given(self, scale: Part, offset: Part | None) -> list[np.ndarray]:
        parts = [scale] if offset is None else [scale, offset]
        return [np.ascontiguousarray(part, np.float32) for part in parts]

    def scales(self, signed: bool, effort: str) -> Part:
        scale = self._part()
        self._run(self.functions.search, scale)
        return scale

    def affine(self, sign: np.ndarray | None, effort: str) -> tuple[Part, Part]:
        scale, offset = self._part(), self._part()
        given = self.unit if sign is None else np.ascontiguousarray(sign, np.float32)
        self._run(self.functions.search, given, scale, offset)
        return scale, offset

    def trial(self, scale: Part, offset: Part | None = None) -> Sums:
        given = self._given(scale, offset)
        found = {name: self._part() for name in self.functions.sums}
        self._run(self.functions.trial, *given, *found.values())
        return Sums(**{name: found.get(name) for name in Sums.__dataclass_fields__})

    def contents(self, scale: Part, offset: Part | None = None) -> dict[BitField, np.ndarray]:
        found = {
            field: np.empty((field.count, self.count), np.uint8 if field.width <= 8 else np.uint16)
            for field in fields_of(self.values)
        }
        self._run(self.functions.contents, *self._given(scale, offset), *found.values())
        return found
