"""The arithmetic of fitting scales: written once, run by numpy and by the kernels of `schedule/search.py`.

What is minimized in a sub-block is sum(weight * (x - a * v - b) ** 2), v being nearest to (x - b) / a.
How many scales are tried is the effort: "rough" where what is kept is so coarse that its neighbours are
tried anyway, "quick" for plain formats and weights that all count the same, "fine" otherwise.
Functions take `ops`, whose `where`, `maximum` and `abs` work on what they are given: numpy itself for arrays,
or what records operations of the kernel IR. Numbers are relative to the largest magnitude of their block.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from lumen_core.quant.choices import Choice

TINY = 1e-30
_STRIDE = 1.2  # between scales that are tried where values are skewed
Number = Any  # an f32 array, or a vector of the kernel IR


@dataclass(frozen=True)
class Sums:
    """Sums over a sub-block, each times the importance: of x*v, v*v, v, x, 1 and of the squared errors."""

    xv: Number
    vv: Number
    v: Number
    x: Number
    one: Number
    lost: Number


@dataclass(frozen=True)
class Ends:
    """What a search needs to know of the values: how many, the least and the largest."""

    low: float
    high: float
    size: int
    symmetric: bool


def inverse(ops: Any, scale: Number) -> Number:
    """1 / scale, and 0 for a scale that is (nearly) 0."""
    usable = ops.abs(scale) > TINY
    return ops.where(usable, 1.0 / ops.where(usable, scale, 1.0), 0.0)


# ------------------------------------------------------------------- one scale


def uncut(ops: Any, largest: Number, least: Number, ends: Ends) -> tuple[Number, Number]:
    """1 / the least scale at which no weight lies beyond the values; for weights turned round, the same.

    Weights on a side where there are no values ask for nothing.
    """

    def of(high: Number, low: Number) -> Number:
        above = high * (1 / ends.high if ends.high > 0 else 0.0)
        below = low * (1 / ends.low if ends.low < 0 else 0.0)
        return inverse(ops, ops.maximum(ops.maximum(above, below), 0.0))

    return of(largest, least), of(-1.0 * least, -1.0 * largest)


def scale_tries(ends: Ends, signed: bool, effort: str) -> list[float]:
    """Multiples of `uncut` to be tried; negative: of the second, where `signed` scales make that another."""
    factors = [*_factors(ends, effort), *_skewed(ends, effort)]
    return factors + [-factor for factor in factors] if signed and not ends.symmetric else factors


def tried(ops: Any, starts: tuple[Number, Number], factor: Number) -> Number:
    """1 / the scale of a try; `starts` are those of `uncut`."""
    return ops.where(factor > 0.0, *starts) * factor


def better_scale(ops: Any, best: Number, scale: Number, sums: Sums, signed: bool) -> tuple[Number, Number]:
    """The best scale for the values of a trial where that gains more; `best` starts at -1."""
    vv = ops.maximum(sums.vv, TINY)
    gain = sums.xv * sums.xv / vv
    better = gain > best if signed else (gain > best) & (sums.xv > 0.0)
    return ops.where(better, gain, best), ops.where(better, sums.xv / vv, scale)


# ------------------------------------------------------------ scale and offset


def affine_tries(ends: Ends, effort: str) -> tuple[list[float], list[float]]:
    """Shares of the values that span the weights: from the lowest value up, and with both ends cut."""
    factors = _factors(ends, effort)
    return [factor for factor in factors if factor <= 1], [factor for factor in factors if factor > 1]


def bounded_low(ops: Any, low: Number, sign: Number | None) -> Number:
    """The least weight that the offset may meet; `sign` is the one that offsets of the block must have."""
    if sign is None:
        return low
    down, up = ops.where(low < 0.0, low, 0.0), ops.where(low > 0.0, low, 0.0)
    return ops.where(sign < 0.0, down, up)


def affine_start(
    ops: Any, ends: Ends, low: Number, high: Number, step: Number, cut: bool, signs: bool
) -> Number:
    """What is added to x * step, so that the values span the weights."""
    if not cut:
        return ends.low - low * step
    start = (ends.low + ends.high) / 2 - (low + high) * step * 0.5
    return ops.where(low == 0.0, ends.low, start) if signs else start


def better_affine(
    ops: Any, best: Number, scale: Number, offset: Number, sums: Sums, sign: Number | None
) -> tuple[Number, Number, Number]:
    """The best scale and offset for the values of a trial where they lose less; `best` starts at infinity."""
    determinant = sums.one * sums.vv - sums.v * sums.v
    solvable = determinant > sums.one * sums.vv * 1e-6
    a = ops.where(
        solvable, (sums.one * sums.xv - sums.v * sums.x) / ops.where(solvable, determinant, 1.0), 0.0
    )
    b = (sums.x - a * sums.v) / ops.maximum(sums.one, TINY)
    if sign is not None:
        wrong = b * sign < 0.0
        a = ops.where(wrong, ops.maximum(sums.xv / ops.maximum(sums.vv, TINY), 0.0), a)
        b = ops.where(wrong, 0.0, b)
    # without sum(weight * x * x), which is the same for all
    lost = a * (a * sums.vv + 2.0 * b * sums.v - 2.0 * sums.xv) + b * (b * sums.one - 2.0 * sums.x)
    better = (lost < best) & (a >= 0.0)
    return ops.where(better, lost, best), ops.where(better, a, scale), ops.where(better, b, offset)


def _skewed(ends: Ends, effort: str) -> list[float]:
    """Where values reach further on one side: on, until the weights reach as far there."""
    narrow, wide = sorted((-ends.low, ends.high))
    factor, found = max(_factors(ends, effort)) * _STRIDE, []
    while narrow > 0 and factor < wide / narrow:
        found.append(factor)
        factor *= _STRIDE
    return found


def _factors(ends: Ends, effort: str) -> list[float]:
    """How far the largest weight may lie from the end of the alphabet: the finer the codes, the closer.

    Whole codes inside the end are among them, so that what was once quantized is found again.
    """
    steps = ends.size - 1
    if effort == "rough":
        return [1.0]
    if ends.size > 128:
        end = max(abs(ends.low), abs(ends.high))
        return [1.0, 1 - 1 / end, 1 + 0.3 / end]
    if ends.size <= 4:
        return [0.5, 0.7, 0.85, 1.0, 1.15, 1.3, 1.5, 1.75, 2.0, 2.4, 3.0]
    if effort == "quick":
        beyond = (0.75, 1.5, 3) if ends.size > 16 else (0.7, 1.5, 3, 5)
        return [1.0, 1 - 1 / steps, *(1 + k / steps for k in beyond)]
    inside, outside = (4, 4) if ends.size > 16 else (steps / 2.5, 6.5)
    return [1.0, *(1 - k / steps for k in np.arange(0.5, inside + 0.5, 0.5).tolist()),
            *(1 + k / steps for k in np.arange(0.5, outside + 0.5, 0.5).tolist())]  # fmt: skip


# --------------------------------------------------------------- whole blocks


def solve(
    sums: Sums, block: np.ndarray, integers: np.ndarray, minimums: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray | None]:
    """The best block scale (and offset scale) [n] for the values of a trial; `block` where none is better."""
    top, square = (integers * sums.xv).sum(0), (integers * integers * sums.vv).sum(0)
    alone = top / np.maximum(square, np.float32(TINY))
    if minimums is None:
        return alone, None
    cross = (integers * minimums * sums.v).sum(0)
    ones = (minimums * minimums * sums.one).sum(0)
    x = (minimums * sums.x).sum(0)
    determinant = square * ones - cross * cross
    solvable = determinant > np.float32(1e-6) * square * ones
    both = (top * ones - x * cross) / np.where(solvable, determinant, 1)
    scale = np.where(solvable & (both > 0), both, np.where(ones > 0, block, alone))
    return scale, (x - scale * cross) / np.where(ones > 0, ones, 1)


def round_integers(scale: np.ndarray, curvature: np.ndarray, choice: Choice) -> tuple[np.ndarray, np.ndarray]:
    """Sub-block scales as block scale [n] times possible integers: what loses least by `curvature`."""
    extreme_at = np.abs(scale).argmax(0)
    extreme = np.take_along_axis(scale, extreme_at[None], 0)[0]
    end = choice.low if -choice.low > choice.high else choice.high
    best = np.full_like(extreme, np.inf)
    block, integers = np.zeros_like(extreme), np.zeros_like(scale)
    weighted = curvature * scale
    tries = range(0, max(1, abs(end) // 2), max(1, abs(end) // 24))
    for less in tries:
        trial = extreme / np.float32(end - less if end > 0 else end + less)
        for _ in range(2):
            whole = choice.nearest(scale * inverse(np, trial))
            bent = curvature * whole
            square = (bent * whole).sum(0)
            better_trial = (weighted * whole).sum(0) / np.maximum(square, np.float32(TINY))
            trial = np.where(square > 0, better_trial, trial)
        lost = (curvature * np.square(scale - trial * whole)).sum(0)
        better = lost < best
        best, block = np.where(better, lost, best), np.where(better, trial, block)
        integers = np.where(better, whole, integers)
    return block, integers
