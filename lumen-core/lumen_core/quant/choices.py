"""Numbers that a quantizer can choose: which values stored bits can stand for, and how to store a value.

In: integers of a normal form, as trees over bits of the block. Out: for a tree in which bits belong to one
integer each, its value for each content of these bits, the nearest possible value to a wish, and the bits
that give it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np

from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant.integers import ZERO, BitField, Integers, evaluated, leaves
from lumen_core.quant.store import store_bits

_WIDEST = 16  # bits of a field whose contents are listed


@dataclass(frozen=True, eq=False)
class Choice:
    """Integers that one field of bits decides (several fields of a tree stand side by side in it).

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
    """Return what each integer of a tree can be, by bits of its own; raises UnsupportedFormatError."""
    fields = list(dict.fromkeys(leaves(node)))
    field, places = _together(fields)
    if field is None or field.count != node.count or field.width > _WIDEST:
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
    parts = {
        part: sum((contents[None] >> place & 1) << bit for bit, place in enumerate(where) if place != ZERO)
        for part, where in zip(fields, places, strict=True)
    }
    values, first = np.unique(evaluated(node, parts), return_index=True)
    return Choice(field, values.astype(np.int64), contents[first])


def _together(fields: Sequence[BitField]) -> tuple[BitField | None, Sequence[Sequence[int]]]:
    """The bits of some fields as one field (None: its integers are not alike), and where in it each is."""
    if len(fields) == 1:
        return fields[0], [range(fields[0].width)]
    if len({field.count for field in fields}) > 1:
        return None, []
    sources, places = [], set()
    for parts in zip(*(field.sources for field in fields), strict=True):
        bits = tuple(dict.fromkeys(bit for part in parts for bit in part if bit != ZERO))
        sources.append(bits)
        places.add(tuple(tuple(bits.index(bit) if bit != ZERO else ZERO for bit in part) for part in parts))
    return (BitField(tuple(sources)), places.pop()) if len(places) == 1 else (None, [])


@cache
def _used(field: BitField) -> int:
    """The bits that every integer of the field really stores."""
    used = (1 << field.width) - 1
    for source in field.sources:
        used &= sum(1 << position for position, bit in enumerate(source) if bit >= 0)
    return used
