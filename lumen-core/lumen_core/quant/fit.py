"""The search for scales: which scale and offset of a sub-block lose least, and how to round them to a block.

Weights x of many blocks lie as [groups, sub, n]: n blocks side by side, so that every step is one pass over
contiguous memory and every sum over a sub-block adds whole rows. A block's numbers come divided by its
largest magnitude. What is minimized is sum(weight * (x - a * v - b) ** 2).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lumen_core.quant.alphabet import Alphabet, TableAlphabet
from lumen_core.quant.choices import Choice
from lumen_core.quant.codebook import Codebook

_TINY = np.float32(1e-30)
Values = Alphabet | TableAlphabet | Codebook
Part = np.ndarray  # f32 [groups, n]


@dataclass
class Found:
    """Scale and offset of every sub-block."""

    scale: Part
    offset: Part | None = None


class Search:
    """The weights of some blocks, with the memory that trying out scales takes."""

    def __init__(
        self,
        weights: np.ndarray,
        importance: np.ndarray | None,
        alphabet: Alphabet | TableAlphabet | Codebook,
    ):
        self.x = weights
        self.importance = importance
        self.alphabet = alphabet
        self.values = np.empty_like(weights)
        self._products = np.empty_like(weights)
        self._weighted = weights if importance is None else weights * importance
        self._ones = (
            np.full(weights.shape[::2], weights.shape[1], np.float32)
            if importance is None
            else importance.sum(axis=1)
        )
        self._sum_x = self._weighted.sum(axis=1)
        self._sum_xx = self._dot(self._weighted, weights)

    # ------------------------------------------------------------------- sums

    def _dot(self, left: np.ndarray, right: np.ndarray) -> Part:
        np.multiply(left, right, out=self._products)
        return self._products.sum(axis=1)

    def _sum(self) -> tuple[Part, Part]:
        """sum(weight * x * v) and sum(weight * v * v) for the values now held."""
        xv = self._dot(self._weighted, self.values)
        if self.importance is None:
            return xv, self._dot(self.values, self.values)
        np.multiply(self.values, self.values, out=self._products)
        self._products *= self.importance
        return xv, self._products.sum(axis=1)

    def sum_values(self) -> Part:
        if self.importance is None:
            return self.values.sum(axis=1)
        return self._dot(self.values, self.importance)

    # ------------------------------------------------------------------ values

    def take(self, scale: Part, offset: Part | None = None) -> np.ndarray:
        """Hold the nearest values under a scale and an offset (the values are returned)."""
        inverse = _inverse(scale)[:, None]
        if offset is None:
            np.multiply(self.x, inverse, out=self.values)
        else:
            np.subtract(self.x, offset[:, None], out=self.values)
            self.values *= inverse
        return self.alphabet.nearest(self.values)

    def error(self, scale: Part, offset: Part | None = None) -> Part:
        """What the values now held lose."""
        np.multiply(self.values, scale[:, None], out=self._products)
        if offset is not None:
            self._products += offset[:, None]
        self._products -= self.x
        self._products *= self._products
        if self.importance is not None:
            self._products *= self.importance
        return self._products.sum(axis=1)

    # ------------------------------------------------------------------ search

    def scales(self, signed: bool) -> Found:
        """The scale of each sub-block alone; `signed` says whether it may be negative."""
        largest, least = np.max(self.x, axis=1), np.min(self.x, axis=1)
        alphabet = self.alphabet
        extreme = np.where(largest >= -least, largest, least)
        if not signed:
            room = np.where(extreme < 0, np.float32(-alphabet.low), np.float32(alphabet.high))
            extreme = np.abs(extreme) / np.maximum(room, np.float32(0.5))
        # an unsigned scale is tried at shares of the fitting one; a signed one where it meets either end
        factors = _factors(alphabet)
        if signed:
            ends = [alphabet.low] if alphabet.symmetric else [alphabet.low, alphabet.high]
            tries = [end * factor for end in ends if end for factor in factors]
        else:
            tries = factors
        best, scale = np.full_like(extreme, -1), np.zeros_like(extreme)
        inverse = _inverse(extreme)
        for factor in tries:
            np.multiply(self.x, (inverse * np.float32(factor))[:, None], out=self.values)
            alphabet.nearest(self.values)
            best, scale = self._better(best, scale, signed)
        for _ in range(2):
            self.take(scale)
            best, scale = self._better(best, scale, signed)
        return Found(scale)

    def _better(self, best: Part, scale: Part, signed: bool) -> tuple[Part, Part]:
        xv, vv = self._sum()
        vv = np.maximum(vv, _TINY)
        gain = xv * xv / vv
        better = gain > best if signed else (gain > best) & (xv > 0)
        return np.where(better, gain, best), np.where(better, xv / vv, scale)

    def affine(self, sign: np.ndarray | None) -> Found:
        """Scale and offset of each sub-block; `sign` [n] is the sign that a block's offsets must have."""
        alphabet = self.alphabet
        high, low = np.max(self.x, axis=1), np.min(self.x, axis=1)
        if sign is not None:
            low = np.where(sign < 0, np.minimum(low, 0), np.maximum(low, 0))
        steps = alphabet.high - alphabet.low
        inverse = _inverse(high - low)
        best = np.full_like(low, np.inf)
        scale, offset = np.zeros_like(low), low
        for factor in _factors(alphabet):
            step = inverse * np.float32(factor * steps)
            if factor <= 1:  # from the lowest value up: the highest codes stay unused
                start = np.float32(alphabet.low) - low * step
            else:  # both ends are cut
                start = np.float32((alphabet.low + alphabet.high) / 2) - (low + high) * step * np.float32(0.5)
                if sign is not None:
                    start = np.where(low == 0, np.float32(alphabet.low), start)
            np.multiply(self.x, step[:, None], out=self.values)
            self.values += start[:, None]
            alphabet.nearest(self.values)
            best, scale, offset = self._better_affine(best, scale, offset, sign)
        for _ in range(2):
            self.take(scale, offset)
            best, scale, offset = self._better_affine(best, scale, offset, sign)
        return Found(scale, offset)

    def _better_affine(
        self, best: Part, scale: Part, offset: Part, sign: np.ndarray | None
    ) -> tuple[Part, Part, Part]:
        xv, vv = self._sum()
        v, ones, x = self.sum_values(), self._ones, self._sum_x
        determinant = ones * vv - v * v
        solvable = determinant > np.float32(1e-6) * ones * vv
        a = np.where(solvable, (ones * xv - v * x) / np.where(solvable, determinant, 1), 0)
        b = (x - a * v) / np.maximum(ones, _TINY)
        if sign is not None:
            wrong = b * sign < 0
            a = np.where(wrong, np.maximum(xv / np.maximum(vv, _TINY), 0), a)
            b = np.where(wrong, 0, b)
        lost = self._sum_xx - 2 * (a * xv + b * x) + a * a * vv + 2 * a * b * v + b * b * ones
        better = (lost < best) & (a >= 0)
        return np.where(better, lost, best), np.where(better, a, scale), np.where(better, b, offset)

    # --------------------------------------------------------- whole blocks

    def curvature(self) -> Part:
        """How much a sub-block minds a change of its scale: sum(weight * v * v) of the values now held."""
        return self._sum()[1]

    def solve(
        self, block: np.ndarray, integers: Part, minimums: Part | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """The best block scale (and offset scale) [n] for the values now held; `block` where any will do."""
        xv, vv = self._sum()
        top, square = (integers * xv).sum(0), (integers * integers * vv).sum(0)
        alone = top / np.maximum(square, _TINY)
        if minimums is None:
            return alone, None
        cross = (integers * minimums * self.sum_values()).sum(0)
        ones = (minimums * minimums * self._ones).sum(0)
        x = (minimums * self._sum_x).sum(0)
        determinant = square * ones - cross * cross
        solvable = determinant > np.float32(1e-6) * square * ones
        both = (top * ones - x * cross) / np.where(solvable, determinant, 1)
        scale = np.where(solvable, both, np.where(ones > 0, block, alone))
        return scale, (x - scale * cross) / np.where(ones > 0, ones, 1)


def _inverse(scale: Part) -> Part:
    """1 / scale, and 0 for a scale that is (nearly) 0."""
    usable = np.abs(scale) > _TINY
    return np.where(usable, 1 / np.where(usable, scale, 1), 0).astype(np.float32)


def _factors(alphabet: Values) -> list[float]:
    """How far the largest weight may lie from the end of the alphabet: the finer the codes, the closer.

    Whole codes inside the end are among them, so that what was once quantized is found again.
    """
    end = max(abs(alphabet.low), abs(alphabet.high))
    steps = alphabet.size - 1
    if alphabet.size > 128:
        return [1.0, 1 - 1 / end, 1 + 0.3 / end]
    if alphabet.size > 16:
        return [1.0, *(1 - k / steps for k in (1, 2, 3)), *(1 + k / steps for k in (0.75, 1.5, 2.5, 4))]
    if alphabet.size > 4:
        return [1.0, *(1 - k / steps for k in range(1, int(steps / 2.5) + 1)),
                *(1 + k / steps for k in (0.5, 1, 1.5, 2, 3, 4.5, 6.5))]  # fmt: skip
    return [0.5, 0.7, 0.85, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.4, 3.0]


def round_integers(scale: Part, curvature: Part, choice: Choice) -> tuple[np.ndarray, Part]:
    """Sub-block scales as block scale [n] times possible integers: what loses least by `curvature`."""
    extreme_at = np.abs(scale).argmax(0)
    extreme = np.take_along_axis(scale, extreme_at[None], 0)[0]
    end = choice.low if -choice.low > choice.high else choice.high
    best = np.full_like(extreme, np.inf)
    block, integers = np.zeros_like(extreme), np.zeros_like(scale)
    tries = range(0, max(1, abs(end) // 2), max(1, abs(end) // 24))
    for less in tries:
        trial = extreme / np.float32(end - less if end > 0 else end + less)
        for _ in range(2):
            whole = choice.nearest(scale * _inverse(trial))
            square = (curvature * whole * whole).sum(0)
            better_trial = (curvature * scale * whole).sum(0) / np.maximum(square, _TINY)
            trial = np.where(square > 0, better_trial, trial)
        lost = (curvature * (scale - trial * whole) ** 2).sum(0)
        better = lost < best
        best, block = np.where(better, lost, best), np.where(better, trial, block)
        integers = np.where(better, whole, integers)
    return block, integers
