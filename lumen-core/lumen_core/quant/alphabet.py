"""The values that a weight's code can stand for, and the nearest of them to given numbers.

In: a normal form. Out: an `Alphabet` (or a `Codebook`): its ends, `nearest`, the inner step of every search,
and `contents`, what the fields of codes hold for the nearest values.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant.choices import choice
from lumen_core.quant.codebook import Codebook
from lumen_core.quant.fit import Ends
from lumen_core.quant.integers import BitField, leaves
from lumen_core.quant.normal_form import NormalForm


class Alphabet:
    """Values that one field decides, each weight for itself.

    values  f32, ascending, without repetition
    bits    int64: what the field holds for each of them
    step    the distance of neighbours where it is always the same, else 0
    turn    the content of the first value, where contents count up from there (modulo the field), else -1
    """

    def __init__(self, field: BitField, values: np.ndarray, bits: np.ndarray):
        self.field = field
        found, first = np.unique(values, return_index=True)
        self.values, self.bits = found.astype(np.float32), bits[first]
        self.middles = (self.values[1:] + self.values[:-1]) / 2
        steps = np.diff(self.values)
        self.step = float(steps[0]) if len(steps) and (steps == steps[0]).all() else 0.0
        counted = (self.bits[0] + np.arange(len(self.bits))) % (1 << field.width)
        self.turn = int(self.bits[0]) if np.array_equal(counted, self.bits) else -1
        low, high = float(self.values[0]), float(self.values[-1])
        symmetric = bool(np.array_equal(self.values, -self.values[::-1]))
        self.ends = Ends(low, high, len(self.values), symmetric)

    def nearest(self, numbers: np.ndarray) -> np.ndarray:
        """Replace numbers by the nearest values, in place."""
        if not self.step:  # one comparison a value beats a binary search
            found = np.full_like(numbers, self.ends.low)
            for middle, step in zip(self.middles, np.diff(self.values), strict=True):
                found += (numbers > middle) * step
            numbers[...] = found
            return numbers
        if self.step != 1:
            numbers -= np.float32(self.ends.low)
            numbers *= np.float32(1 / self.step)
        np.rint(numbers, out=numbers)
        if self.step != 1:
            numbers *= np.float32(self.step)
            numbers += np.float32(self.ends.low)
        np.minimum(numbers, np.float32(self.ends.high), out=numbers)
        return np.maximum(numbers, np.float32(self.ends.low), out=numbers)

    def contents(self, numbers: np.ndarray, weight: np.ndarray | None = None) -> dict[BitField, np.ndarray]:
        """What the field holds for the values nearest to numbers [block, n], whatever their weight."""
        places = np.searchsorted(self.middles, self.nearest(numbers))
        return {self.field: self.bits[places]}


Values = Alphabet | Codebook


@lru_cache(maxsize=64)
def alphabet(form: NormalForm) -> Values:
    """Return the values of a form's codes; raises UnsupportedFormatError."""
    assert form.code is not None
    if any(field.count != form.code.count for field in leaves(form.code)):
        return Codebook(form)
    codes = choice(form.code, form.name)
    if form.table is None:
        return Alphabet(codes.field, form.multiplier * codes.values - form.zero, codes.bits)
    if codes.high >= len(form.table) or codes.low < 0:
        raise UnsupportedFormatError(f"{form.name} has codes beyond its table")
    return Alphabet(codes.field, np.array(form.table)[codes.values], codes.bits)


def fields_of(values: Values) -> list[BitField]:
    """The fields that hold codes, in the order of `contents`."""
    return [values.field] if isinstance(values, Alphabet) else [item.field for item in values.fields]
