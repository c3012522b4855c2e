"""The compiled quantizer: a `quant.search.Engine` by the kernels of `schedule/encode.py` and `search.py`.

In: the linked functions of one format. Out: what `quant.encode` runs for every weight: an engine writes
blocks at once, or makes a search of some blocks.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lumen_core.quant.alphabet import Values, fields_of
from lumen_core.quant.fit import Sums
from lumen_core.quant.integers import BitField
from lumen_core.quant.normal_form import NormalForm
from lumen_core.quant.search import Engine, Part
from lumen_core.runtime.link import Function
from lumen_core.runtime.memory import address, allocate

Written = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class FloatEngine(Engine):
    """Plain numbers as floats of `bytes` bytes."""

    lanes: int
    bytes: int
    function: Function

    def blocks(self, blocks: np.ndarray, importance: np.ndarray | None) -> Written:
        count = len(blocks)
        numbers = _padded(blocks, self.lanes)
        stored = np.empty((len(numbers), self.bytes), np.uint8)
        largest = np.empty(self.lanes, np.float32)
        self.function(*map(address, (numbers, stored, largest)), 0, len(numbers) // self.lanes)
        return stored[:count], largest


@dataclass(frozen=True)
class BlockEngine(Engine):
    """Blocks of independent scales, by one kernel; memory: bytes that a call works in."""

    lanes: int
    bytes: int
    memory: int
    weighted: bool
    function: Function

    def blocks(self, blocks: np.ndarray, importance: np.ndarray | None) -> Written:
        assert self.weighted == (importance is not None)
        count = len(blocks)
        blocks = _padded(blocks, self.lanes)
        weight = _padded(importance, self.lanes) if importance is not None else blocks
        stored = np.empty((len(blocks), self.bytes), np.uint8)
        largest = np.empty(len(blocks), np.float32)
        memory = allocate(self.memory, "the quantizer")
        arrays = map(address, (blocks, weight, stored, largest, memory))
        self.function(*arrays, 0, len(blocks) // self.lanes)
        return stored[:count], largest[:count]


@dataclass(frozen=True)
class SearchEngine(Engine):
    """The search of a format whose blocks are put together from it.

    lanes  blocks of a tile
    sums   what `trial` gives, in order
    """

    lanes: int
    sums: tuple[str, ...]
    weighted: bool
    prepare: Function
    best: Function
    trial: Function
    contents: Function

    def search(
        self, form: NormalForm, values: Values, blocks: np.ndarray, importance: np.ndarray | None
    ) -> CompiledSearch:
        return CompiledSearch(self, form, values, blocks, importance)


def _padded(blocks: np.ndarray, lanes: int) -> np.ndarray:
    """Blocks [n, block] and as many of zeros as fill the last tile."""
    missing = -len(blocks) % lanes
    if missing:
        blocks = np.pad(blocks, ((0, missing), (0, 0)))
    return np.ascontiguousarray(blocks, np.float32)


class CompiledSearch:
    """The weights of some blocks, laid out in tiles; the last tile is filled with zeros."""

    def __init__(self, functions: SearchEngine, form: NormalForm, values: Values, blocks: np.ndarray,
                 importance: np.ndarray | None):  # fmt: skip
        self.functions = functions
        self.form = form
        self.values = values
        self.tiles = -(-len(blocks) // functions.lanes)
        self.count = self.tiles * functions.lanes
        self.unit, self.least = np.empty(self.count, np.float32), np.empty(self.count, np.float32)
        self._x = self._laid_out(blocks, scaled=True)
        assert functions.weighted == (importance is not None)
        self._weight = self._laid_out(importance, scaled=False) if importance is not None else self._x

    def _laid_out(self, blocks: np.ndarray, scaled: bool) -> np.ndarray:
        blocks = _padded(blocks, self.functions.lanes)
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
        self._run(self.functions.best, scale)
        return scale

    def affine(self, sign: np.ndarray | None, effort: str) -> tuple[Part, Part]:
        scale, offset = self._part(), self._part()
        given = self.unit if sign is None else np.ascontiguousarray(sign, np.float32)
        self._run(self.functions.best, given, scale, offset)
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
