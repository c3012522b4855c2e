"""The values that a weight's code can stand for, and the nearest of them to given numbers.

In: a normal form. Out: an `Alphabet`: its ends, `nearest` (the inner step of every search) and `store`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant.choices import Choice, choice
from lumen_core.quant.codebook import Codebook, leaves
from lumen_core.quant.integers import BitField
from lumen_core.quant.normal_form import NormalForm
from lumen_core.quant.store import store_integers


@dataclass(frozen=True, eq=False)
class Alphabet:
    """v = multiplier * code - zero for every code from `first` to `last`."""

    field: BitField
    multiplier: int
    zero: int

    @property
    def low(self) -> float:
        return float(self.multiplier * self.field.low - self.zero)

    @property
    def high(self) -> float:
        return float(self.multiplier * self.field.high - self.zero)

    @property
    def size(self) -> int:
        return self.field.high - self.field.low + 1

    @property
    def symmetric(self) -> bool:
        """Whether -v is a value for every value v, so that the sign of a scale does not matter."""
        return self.low == -self.high

    def nearest(self, numbers: np.ndarray) -> np.ndarray:
        """Replace numbers by the nearest values, in place."""
        if self.multiplier == 1:
            np.rint(numbers, out=numbers)
            np.minimum(numbers, np.float32(self.high), out=numbers)
            return np.maximum(numbers, np.float32(self.low), out=numbers)
        numbers += np.float32(self.zero)
        numbers *= np.float32(1 / self.multiplier)
        np.rint(numbers, out=numbers)
        np.clip(numbers, np.float32(self.field.low), np.float32(self.field.high), out=numbers)
        numbers *= np.float32(self.multiplier)
        numbers -= np.float32(self.zero)
        return numbers

    def store(self, values: np.ndarray, blocks: np.ndarray) -> None:
        """Write values [block, n] that `nearest` gave into blocks that hold zeros there."""
        codes = np.rint((values + np.float32(self.zero)) / np.float32(self.multiplier)).astype(np.int16)
        store_integers(self.field, codes, blocks)


class TableAlphabet:
    """Values in any order, each with the code that stands for it."""

    def __init__(self, choice: Choice, values: np.ndarray):
        self.values, first = np.unique(values, return_index=True)
        self.values = self.values.astype(np.float32)
        self.middles = (self.values[1:] + self.values[:-1]) / 2
        self.steps = np.diff(self.values)
        self.choice = choice
        self._codes = choice.values[first]
        self.low, self.high = float(self.values[0]), float(self.values[-1])
        self.size = len(self.values)
        self.symmetric = bool(np.array_equal(self.values, -self.values[::-1]))
        self._above: np.ndarray | None = None

    def nearest(self, numbers: np.ndarray) -> np.ndarray:
        """Replace numbers by the nearest values, in place: one comparison a value beats a binary search."""
        found = np.full_like(numbers, self.low)
        for middle, step in zip(self.middles, self.steps, strict=True):
            above = numbers > middle
            if step == 1:
                found += above
            else:
                found += above * step
        numbers[...] = found
        return numbers

    def store(self, values: np.ndarray, blocks: np.ndarray) -> None:
        """Write values [block, n] that `nearest` gave into blocks that hold zeros there."""
        self.choice.store(self._codes[np.searchsorted(self.middles, values)].astype(np.float32), blocks)


@lru_cache(maxsize=64)
def alphabet(form: NormalForm) -> Alphabet | TableAlphabet | Codebook:
    """Return the alphabet of a form's codes; raises UnsupportedFormatError."""
    assert form.code is not None
    if len(set(leaves(form.code))) > 1:
        return Codebook(form)
    table = form.table
    if isinstance(form.code, BitField) and table is None:
        return Alphabet(form.code, form.multiplier, form.zero)
    codes = choice(form.code, form.name)
    if table is None:
        return TableAlphabet(codes, form.multiplier * codes.values - form.zero)
    if codes.high >= len(table) or codes.low < 0:
        raise UnsupportedFormatError(f"{form.name} has codes beyond its table")
    return TableAlphabet(codes, np.array(table)[codes.values])
