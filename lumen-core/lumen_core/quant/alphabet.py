"""The values that a code can stand for, and the nearest of them to given numbers.

In: a normal form. Out: an `Alphabet`: its ends, `nearest` (the inner step of every search) and `codes`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lumen_core.quant.normal_form import NormalForm


@dataclass(frozen=True)
class Alphabet:
    """v = multiplier * code - zero for every code from `first` to `last`."""

    first: int
    last: int
    multiplier: int
    zero: int

    @staticmethod
    def of(form: NormalForm) -> Alphabet:
        assert form.code is not None
        return Alphabet(form.code.low, form.code.high, form.multiplier, form.zero)

    @property
    def low(self) -> float:
        return float(min(self.multiplier * code - self.zero for code in (self.first, self.last)))

    @property
    def high(self) -> float:
        return float(max(self.multiplier * code - self.zero for code in (self.first, self.last)))

    @property
    def size(self) -> int:
        return self.last - self.first + 1

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
        np.clip(numbers, np.float32(self.first), np.float32(self.last), out=numbers)
        numbers *= np.float32(self.multiplier)
        numbers -= np.float32(self.zero)
        return numbers

    def codes(self, values: np.ndarray) -> np.ndarray:
        """The codes of values that `nearest` gave, int16."""
        if self.multiplier == 1:
            return (values + np.float32(self.zero)).astype(np.int16)
        return np.rint((values + np.float32(self.zero)) / np.float32(self.multiplier)).astype(np.int16)
