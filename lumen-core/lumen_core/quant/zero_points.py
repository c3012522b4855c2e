"""Scales whose float multiplies the offset too: `scale * (v + ratio * z)`, z one of a few integers.

In: the search of blocks (or of whole rows) with one such pair each. Out: the scale that is stored, and z.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lumen_core.quant.choices import Choice
from lumen_core.quant.fit import TINY, Ends, inverse
from lumen_core.quant.search import Part, Search

Keep = Callable[[Part], Part]
_REFITS = 2


def fit_zero_point(
    search: Search, ends: Ends, numbers: Choice, ratio: float, keep: Keep, effort: str
) -> tuple[Part, Part]:
    """Return the scales as `keep` rounds them, and z, f32 [1, n].

    Args:
        keep: the scale that is stored for a wish, in the unit of the block.
    """
    best: Part = np.full((1, len(search.unit)), np.inf, np.float32)
    kept, zeros = np.zeros_like(best), np.zeros_like(best)

    def attempt(scale: Part, zero: Part) -> None:
        nonlocal best, kept, zeros
        trial, shift = keep(scale), np.float32(ratio) * zero
        for _ in range(_REFITS):
            sums = search.trial(trial, trial * shift)
            xv = sums.xv + shift * sums.x
            vv = sums.vv + 2 * shift * sums.v + shift * shift * sums.one
            trial = keep(np.where(vv > TINY, np.maximum(xv, 0) / np.maximum(vv, np.float32(TINY)), trial))
        lost = search.trial(trial, trial * shift).lost
        better = lost < best
        best, kept, zeros = (
            np.where(better, lost, best),
            np.where(better, trial, kept),
            np.where(better, zero, zeros),
        )

    scale, offset = search.affine(None, effort)
    attempt(scale, numbers.nearest(offset * inverse(np, scale) / np.float32(ratio)))
    # weights of one sign may lie further out than z reaches: the values then begin at 0
    low = np.minimum(search.least / search.unit, 0)[None]
    high = np.where(search.unit > -search.least, np.float32(1), np.float32(0))[None]
    scale = (high - low) / np.float32(ends.high - ends.low)
    attempt(scale, numbers.nearest((low * inverse(np, scale) - np.float32(ends.low)) / np.float32(ratio)))
    for step in (1, -1):
        attempt(kept, numbers.shifted(zeros, step))
    return kept, zeros
