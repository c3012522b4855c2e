"""Numbers that a quantizer can choose: which values stored bits can stand for, and how to store a value.

In: integers of a normal form, as trees over bits of the block. Out: for a tree over one field of bits, its
value for each content of the bits, the nearest possible value to a wish, and the bits that give it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant.integers import OPERATORS, ZERO, BitField, Combined, Integers, Lookup
from lumen_core.quant.store import store_bits

_WIDEST = 16  # bits of a field whose contents are listed


@dataclass(frozen=True, eq=False)
class Choice:
    """Integers that one field of bits decides, one value for each content of the bits.

    values  int64, ascending, without repetition
    bits    int64: what is stored for each of them
    """

    field: BitField
    values: np.ndarray
    bits: np.ndarray

    @property
    def low(self) -> int:
        return int(self.values[0])

    @property
    def high(self) -> int:
        return int(self.values[-1])

    @cached_property
    def step(self) -> int:
        """The distance of neighbours, where it is always the same; else 0."""
        steps = np.diff(self.values)
        return int(steps[0]) if len(steps) and (steps == steps[0]).all() else 0

    def nearest(self, wanted: np.ndarray) -> np.ndarray:
        """The nearest possible values, f32."""
        if not self.step:
            return self.values.astype(np.float32)[self._places(wanted)]
        return self._whole_places(wanted) * np.float32(self.step) + np.float32(self.low)

    def shifted(self, values: np.ndarray, by: int) -> np.ndarray:
        """The values `by` places further up, where there are such."""
        if self.step:
            return np.clip(values + np.float32(by * self.step), np.float32(self.low), np.float32(self.high))
        places = np.clip(self._places(values) + by, 0, len(self.values) - 1)
        return self.values.astype(np.float32)[places]

    def _whole_places(self, wanted: np.ndarray) -> np.ndarray:
        places = np.rint((wanted - np.float32(self.low)) * np.float32(1 / self.step))
        return np.fmax(np.fmin(places, np.float32(len(self.values) - 1)), np.float32(0))  # NaN: the last

    def _places(self, wanted: np.ndarray) -> np.ndarray:
        if self.step:
            return self._whole_places(wanted).astype(np.int64)
        return np.searchsorted((self.values[1:] + self.values[:-1]) / 2, wanted)

    def store(self, values: np.ndarray, blocks: np.ndarray) -> None:
        """Write values [count, n] that `nearest` gave into blocks that hold zeros there."""
        if len(self.values) == 1:
            return
        store_bits(self.field, self.bits[self._places(values)], blocks)


def choice(node: Integers, name: str) -> Choice:
    """Return what a tree over one field can give; raises UnsupportedFormatError for other trees."""
    field = _leaf(node)
    if field is None or field.width > _WIDEST or field.count != node.count:
        raise UnsupportedFormatError(f"{name} computes a number in a way that no quantizer is derived for")
    bits = [bit for source in field.sources for bit in source if bit != ZERO]
    if len(set(bits)) < len(bits):
        shared = next(bit for bit in bits if bits.count(bit) > 1)
        raise UnsupportedFormatError(
            f"{name}: bit {shared & 7} of byte {shared >> 3} of the block is part of {bits.count(shared)} "
            "numbers, which no quantizer can choose alone; if each shall have its own, enlarge the field"
        )
    used = _used(field)
    contents = np.arange(1 << field.width)
    contents = contents[(contents & ~used) == 0]
    found = evaluated(node, field, contents)
    values, first = np.unique(found, return_index=True)
    return Choice(field, values.astype(np.int64), contents[first])


@cache
def _used(field: BitField) -> int:
    """The bits that every integer of the field really stores."""
    used = (1 << field.width) - 1
    for source in field.sources:
        used &= sum(1 << position for position, bit in enumerate(source) if bit >= 0)
    return used


def _leaf(node: Integers | int) -> BitField | None:
    """The only field of bits that a tree reads."""
    match node:
        case BitField():
            return node
        case Lookup() if node.table.dimension == 1:
            return _leaf(node.index)
        case Combined(right=right) if isinstance(right, int):
            return _leaf(node.left)
    return None


def evaluated(node: Integers | int, field: BitField, contents: np.ndarray) -> np.ndarray:
    """The value of a tree for contents of its only field."""
    match node:
        case BitField():
            half = 1 << (field.width - 1)
            signed = np.where(contents >= half, contents - 2 * half, contents) if field.signed else contents
            return signed + field.add
        case Lookup():
            return node.table.array[evaluated(node.index, field, contents), 0].astype(np.int64)
        case Combined(right=right) if isinstance(right, int):
            left = evaluated(node.left, field, contents)
            return np.asarray(OPERATORS[node.operator](left, np.array(right, np.int64)))
    raise AssertionError("the tree has one field")
