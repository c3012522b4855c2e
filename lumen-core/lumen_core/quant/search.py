"""The weights of some blocks while their scales are searched: by numpy, the oracle of the compiled search.

In: blocks of weights, an alphabet. Out: scales and offsets of sub-blocks, the sums of a trial, and at the end
what the fields of codes shall hold. Weights lie as [groups, sub, n], n blocks side by side, so that every sum
over a sub-block adds whole rows.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from lumen_core.quant.alphabet import Values
from lumen_core.quant.fit import (
    Sums,
    affine_start,
    affine_tries,
    better_affine,
    better_scale,
    bounded_low,
    inverse,
    scale_tries,
    tried,
    uncut,
)
from lumen_core.quant.integers import BitField
from lumen_core.quant.normal_form import NormalForm

_ZERO = np.float32(1e-30)  # a block whose largest weight is below this is all zero
Part = np.ndarray  # f32 [groups, n]


class Search(Protocol):
    """What the encoder asks of the weights of n blocks; parts are f32 [groups, n].

    unit   f32 [n]: the largest magnitude of each block, not finite where a weight is not; all that follows
           is relative to it
    least  f32 [n]: the least weight of each block
    """

    unit: np.ndarray
    least: np.ndarray

    def scales(self, signed: bool, effort: str) -> Part:
        """The scale of each sub-block alone; `signed` says whether it may be negative."""

    def affine(self, sign: np.ndarray | None, effort: str) -> tuple[Part, Part]:
        """Scale and offset of each sub-block; `sign` [n] is the sign that a block's offsets must have."""

    def trial(self, scale: Part, offset: Part | None = None) -> Sums:
        """The sums for the nearest values (of a code book: those found by rounding)."""

    def contents(self, scale: Part, offset: Part | None = None) -> dict[BitField, np.ndarray]:
        """What the fields of codes hold for the nearest values, [count, n]."""


class Engine:
    """What is done for every weight: blocks are written at once, or put together from a search."""

    def blocks(
        self, blocks: np.ndarray, importance: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Encode blocks at once: their bytes, uint8 [n, block_bytes], and the largest magnitude of each.

        None: they are to be put together from a search. Where a weight is not finite, its block's magnitude
        is not.
        """
        return None

    def search(
        self, form: NormalForm, values: Values, blocks: np.ndarray, importance: np.ndarray | None
    ) -> Search:
        """Take blocks of weights and their importance, f32 [n, block]."""
        raise NotImplementedError(f"{type(self).__name__} writes blocks at once")


class NumpyEngine(Engine):
    """Everything in numpy."""

    def search(
        self, form: NormalForm, values: Values, blocks: np.ndarray, importance: np.ndarray | None
    ) -> NumpySearch:
        return NumpySearch(form, values, blocks, importance)


class NumpySearch:
    """The search in numpy."""

    def __init__(self, form: NormalForm, values: Values, blocks: np.ndarray, importance: np.ndarray | None):
        """Take blocks of weights and their importance, f32 [n, block]."""
        groups, sub = form.block // form.sub, form.sub
        x = blocks.T.copy()
        self.least = x.min(0)
        self.unit = np.maximum(np.maximum(x.max(0), -self.least), _ZERO)
        x *= 1 / self.unit
        self.x = x.reshape(groups, sub, -1)
        self.alphabet = values
        self.ends = values.ends
        self.weight = None
        if importance is not None:
            self.weight = np.ascontiguousarray(importance.T).reshape(self.x.shape)
        self.values = np.empty_like(self.x)
        self._weighted = self.x if self.weight is None else self.x * self.weight
        self._ones = (
            np.full(self.x.shape[::2], sub, np.float32) if self.weight is None else self.weight.sum(axis=1)
        )
        self._sum_x = self._weighted.sum(axis=1)

    def _sums(self, scale: Part | None = None, offset: Part | None = None) -> Sums:
        v = self.values
        bent = v if self.weight is None else v * self.weight
        lost = None
        if scale is not None:
            error = v * scale[:, None] - self.x
            if offset is not None:
                error += offset[:, None]
            np.square(error, out=error)
            lost = (error if self.weight is None else error * self.weight).sum(axis=1)
        return Sums(
            (self._weighted * v).sum(axis=1), (bent * v).sum(axis=1), bent.sum(axis=1), self._sum_x,
            self._ones, lost,
        )  # fmt: skip

    def _take(self, scale: Part, offset: Part | None, exact: bool = False) -> None:
        multiplier = inverse(np, scale)[:, None]
        if offset is None:
            np.multiply(self.x, multiplier, out=self.values)
        else:
            np.subtract(self.x, offset[:, None], out=self.values)
            self.values *= multiplier
        if not exact:
            self.alphabet.nearest(self.values)

    def scales(self, signed: bool, effort: str) -> Part:
        starts = uncut(np, self.x.max(axis=1), self.x.min(axis=1), self.ends)
        best, scale = np.full_like(starts[0], -1), np.zeros_like(starts[0])
        for factor in scale_tries(self.ends, signed, effort):
            np.multiply(self.x, tried(np, starts, np.float32(factor))[:, None], out=self.values)
            self.alphabet.nearest(self.values)
            best, scale = better_scale(np, best, scale, self._sums(), signed)
        for _ in range(2):
            self._take(scale, None)
            best, scale = better_scale(np, best, scale, self._sums(), signed)
        return scale

    def affine(self, sign: np.ndarray | None, effort: str) -> tuple[Part, Part]:
        high, low = self.x.max(axis=1), bounded_low(np, self.x.min(axis=1), sign)
        multiplier = inverse(np, high - low)
        best, scale, offset = np.full_like(low, np.inf), np.zeros_like(low), low
        for cut, factors in zip((False, True), affine_tries(self.ends, effort), strict=True):
            for factor in factors:
                step = multiplier * np.float32(factor * (self.ends.high - self.ends.low))
                start = affine_start(np, self.ends, low, high, step, cut, sign is not None)
                np.multiply(self.x, step[:, None], out=self.values)
                self.values += start.astype(np.float32)[:, None]
                self.alphabet.nearest(self.values)
                best, scale, offset = better_affine(np, best, scale, offset, self._sums(), sign)
        for _ in range(2):
            self._take(scale, offset)
            best, scale, offset = better_affine(np, best, scale, offset, self._sums(), sign)
        return scale, offset

    def trial(self, scale: Part, offset: Part | None = None) -> Sums:
        self._take(scale, offset)
        return self._sums(scale, offset)

    def contents(self, scale: Part, offset: Part | None = None) -> dict[BitField, np.ndarray]:
        self._take(scale, offset, exact=True)
        flat = (len(self.x) * self.x.shape[1], -1)
        weight = self.weight.reshape(flat) if self.weight is not None else None
        return self.alphabet.contents(self.values.reshape(flat), weight)
