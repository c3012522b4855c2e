"""The quantizer: f32 rows -> the bytes of a format, derived from the normal form alone.

In: a normal form, rows of weights and (optionally) how much each column matters. Out: the bytes of the rows.
Chunks of blocks that fit the cache are encoded one after the other. What is done for every weight is an
`Engine`: numpy, or the compiled one that `weights/encoder.py` gives.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant import stored_floats
from lumen_core.quant.alphabet import alphabet
from lumen_core.quant.choices import Choice, choice
from lumen_core.quant.encodable import (
    has_zero_point,
    largest_weight,
    require_encodable,
    without_optional_offset,
)
from lumen_core.quant.encode_floats import FloatEncoder
from lumen_core.quant.fit import TINY, inverse, round_integers, solve
from lumen_core.quant.integers import BitField
from lumen_core.quant.normal_form import NormalForm, Scale
from lumen_core.quant.row_factor import RowFactor
from lumen_core.quant.search import Engine, NumpyEngine, Search
from lumen_core.quant.store import store_bits
from lumen_core.quant.zero_points import fit_zero_point

_CHUNK = 1 << 18  # weights at a time: enough for numpy, and little enough for the cache
Contents = dict[BitField, np.ndarray]


def encode(
    form: NormalForm,
    rows: np.ndarray,
    importance: np.ndarray | None = None,
    engine: Engine | None = None,
) -> np.ndarray:
    """Quantize rows of weights.

    Args:
        rows: f32 [R, K]; K is a multiple of the format's block.
        importance: f32 [K] or [R, K], not negative: how much a squared error of each column costs.
        engine: what is done for every weight; None: numpy.

    Returns:
        uint8 [R, row_bytes].

    Raises:
        UnsupportedFormatError: a row is not whole blocks, or a weight cannot be held (NaN, too large).
    """
    rows = np.ascontiguousarray(rows, np.float32)
    if rows.ndim != 2:
        raise UnsupportedFormatError(f"weights to be quantized must be rows, found the shape {rows.shape}")
    count, columns = rows.shape
    result = np.empty((count, form.row_bytes(columns)), np.uint8)
    if importance is not None:
        importance = _checked(importance, columns)
    encoder = Encoder(form, engine)
    step = max(1, _CHUNK // max(columns, 1))
    for first in range(0, count, step):
        last = min(first + step, count)
        weight = importance
        if weight is not None and weight.ndim == 1:
            weight = np.broadcast_to(weight, (last - first, columns))
        elif weight is not None:
            weight = weight[first:last]
        try:
            result[first:last] = encoder.encode(rows[first:last], weight)
        except _NotHeld:
            raise encoder.refusal(rows[first:last], first) from None
    return result


def _checked(importance: np.ndarray, columns: int) -> np.ndarray:
    importance = np.ascontiguousarray(importance, np.float32)
    if importance.shape[-1] != columns:
        raise UnsupportedFormatError(
            f"{importance.shape[-1]} importances do not match rows of {columns} weights"
        )
    if not np.isfinite(importance).all() or (importance < 0).any():
        raise UnsupportedFormatError("importances must be finite and not negative")
    mean = importance.mean(-1, keepdims=True, dtype=np.float64)
    seen = mean > 0
    relative = np.where(seen, importance / np.where(seen, mean, 1), 1)  # never seen: all count the same
    # a little for columns that were never seen, so that no weight is left to chance
    return (relative + 1e-6).astype(np.float32)


class _NotHeld(Exception):
    """A weight is not finite, or larger than the format can hold."""


class Encoder:
    """Encodes blocks of one format; a normal form that it does not understand is refused at once."""

    def __init__(self, form: NormalForm, engine: Engine | None = None):
        whole = form
        self.row: RowFactor | None = None
        form = replace(form, row=None, header_bytes=0)  # of weights without their row's factor
        form = without_optional_offset(form)
        self.engine = engine or NumpyEngine()
        self.floats = FloatEncoder(form) if form.kind == "float" else None
        self.limit = self.floats.limit if self.floats is not None else largest_weight(form)
        if whole.header_bytes:
            self.row, self.limit = RowFactor(whole, form, self.limit), np.inf
            form = self.row.blocks
        self.form = form
        if form.kind == "float":
            return
        assert form.scale is not None
        self.alphabet = alphabet(form)
        self.scale, self.offset = form.scale, form.offset
        self.integer, self.minimum = self._choice(form.scale), self._choice(form.offset)
        # whether scales may be negative, and whether a block's offsets share a sign
        self.signed = (
            self.integer.low < 0
            if self.integer is not None
            else all(stored_floats.signed(field.element) for field in form.scale.floats[:1])
        )
        self.one_sign = self.minimum is not None and self.minimum.low >= 0
        self.zero_point = has_zero_point(form)
        require_encodable(form, alone=whole.row is None)

    def effort(self, weighted: bool) -> str:
        """How many scales are to be tried, see `quant.fit`."""
        if self.integer is not None or self.minimum is not None:
            return "fine"
        if any(map(stored_floats.octaves, self.scale.floats)):
            return "rough"
        return "fine" if weighted else "quick"

    def _choice(self, scale: Scale | None) -> Choice | None:
        return None if scale is None or scale.integer is None else choice(scale.integer, self.form.name)

    # ------------------------------------------------------------------ blocks

    def encode(self, rows: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
        """uint8 [R, row_bytes] of f32 [R, K]."""
        if self.row is None:
            return self._blocks(rows, importance)
        if not np.isfinite(rows).all():
            raise _NotHeld
        inside, header = self.row.divided(rows, importance)
        return np.concatenate([header, self._blocks(inside, importance)], 1)

    def _blocks(self, rows: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
        form = self.form
        blocks = rows.reshape(-1, form.block)
        weight = importance.reshape(-1, form.block) if importance is not None else None
        made = self.engine.blocks(blocks, weight)
        if made is not None:
            self._require_held(made[1])
            return made[0].reshape(len(rows), -1)
        if self.floats is not None:
            self._require_held(np.abs(blocks))
            return self.floats.encode(blocks).reshape(len(rows), -1)
        effort = self.effort(importance is not None)
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            search = self.engine.search(form, self.alphabet, blocks, weight)
            self._require_held(search.unit)
            stored = np.zeros((form.block_bytes, len(search.unit)), np.uint8)
            if self.offset is None:
                contents = self._symmetric(search, effort, stored)
            else:
                contents = self._affine(search, effort, stored)
        for field, bits in contents.items():
            store_bits(field, bits, stored)
        return np.ascontiguousarray(stored[:, : len(blocks)].T).reshape(len(rows), -1)

    def _require_held(self, magnitudes: np.ndarray) -> None:
        if not (magnitudes <= self.limit).all():
            raise _NotHeld

    def refusal(self, rows: np.ndarray, first: int) -> UnsupportedFormatError:
        """Why rows cannot be encoded, of which the first has the number `first`."""
        if np.isfinite(rows).all():
            return UnsupportedFormatError(
                f"a weight of magnitude {np.abs(rows).max():.3g} does not fit the format {self.form.name} "
                f"(at most {self.limit:.3g})"
            )
        row, column = np.argwhere(~np.isfinite(rows))[0]
        return UnsupportedFormatError(
            f"the weight in row {first + row}, column {column} is {rows[row, column]}; only finite numbers "
            "can be quantized"
        )

    def _symmetric(self, search: Search, effort: str, stored: np.ndarray) -> Contents:
        integer, unit = self.integer, search.unit
        if integer is None:
            return search.contents(self._kept_scales(search, search.scales(self.signed, effort), stored))
        wanted = search.scales(self.signed, effort)
        block, whole = round_integers(wanted, search.trial(wanted).vv, integer)
        rough = self._round(self.scale, block, unit)
        whole = _fitting(whole, wanted, block, rough, integer)
        block, _ = solve(search.trial(rough * whole), rough, whole, None)
        kept = self._store(self.scale, block, unit, stored)
        whole, block = _fitting(whole, wanted, block, kept, integer), kept
        best = search.trial(block * whole).lost
        for step in (1, -1):
            trial = integer.shifted(whole, step)
            lost = search.trial(block * trial).lost
            whole, best = np.where(lost < best, trial, whole), np.minimum(lost, best)
        integer.store(whole, stored)
        return search.contents(block * whole)

    def _kept_scales(self, search: Search, wanted: np.ndarray, stored: np.ndarray) -> np.ndarray:
        """Store the scales that floats alone make, one for the block or one for each sub-block."""
        fields, unit = self.scale.floats, search.unit
        if not fields or not stored_floats.coarse(fields[0]):
            return np.broadcast_to(self._store(self.scale, wanted, unit, stored), wanted.shape)
        constant = np.float32(self.scale.constant)
        best, kept = np.full_like(wanted, np.inf), np.zeros_like(wanted)
        for up in (0, 1, -1, 2):
            trial = stored_floats.rounded(fields[0], wanted * unit / constant, up)
            lost = search.trial(trial * constant / unit).lost
            kept, best = np.where(lost < best, trial, kept), np.minimum(lost, best)
        self._write(self.scale, kept, stored)
        return kept * constant / unit

    def _affine(self, search: Search, effort: str, stored: np.ndarray) -> Contents:
        assert self.offset is not None
        integer, minimum, unit = self.integer, self.minimum, search.unit
        if self.zero_point:
            return self._with_zero_point(search, effort, stored)
        sign = None
        if self.one_sign:  # up only where all weights of the block are
            sign = np.where(search.least > 0, np.float32(1), np.float32(-1))
        scale, offset = search.affine(sign, effort)
        whole = least = np.ones_like(scale)
        block, base = scale, offset  # as they are, where no integers are to be found
        if integer is not None:
            block, whole = round_integers(scale, search.trial(scale, offset).vv, integer)
        if minimum is not None:
            base, least = round_integers(offset, np.ones_like(scale), minimum)
        if integer is not None or minimum is not None:
            rough, rough_base = self._round(self.scale, block, unit), self._round(self.offset, base, unit)
            whole = _fitting(whole, scale, block, rough, integer)
            least = _fitting(least, offset, base, rough_base, minimum)
            block, other = solve(search.trial(rough * whole, rough_base * least), rough, whole, least)
            assert other is not None
            base = np.where(other * sign < 0, base, other) if sign is not None else other
        kept, kept_base = (
            self._store(self.scale, block, unit, stored), self._store(self.offset, base, unit, stored)
        )  # fmt: skip
        whole = _fitting(whole, scale, block, kept, integer)
        least = _fitting(least, offset, base, kept_base, minimum)
        if minimum is not None and not (kept * whole).all():  # all values of a sub-block are its offset
            sums = search.trial(np.zeros_like(scale), offset)
            mean = sums.x / np.maximum(sums.one, np.float32(TINY))
            least = np.where(kept * whole == 0, minimum.nearest(mean * inverse(np, kept_base)), least)
        whole, least = self._polished(search, kept, kept_base, whole, least)
        if integer is not None:
            integer.store(whole, stored)
        if minimum is not None:
            minimum.store(least, stored)
        return search.contents(kept * whole, kept_base * least)

    def _with_zero_point(self, search: Search, effort: str, stored: np.ndarray) -> Contents:
        assert self.offset is not None and self.minimum is not None
        ratio = self.offset.constant / self.scale.constant

        def keep(scale: np.ndarray) -> np.ndarray:
            return self._round(self.scale, scale, search.unit)

        kept, zeros = fit_zero_point(search, self.alphabet.ends, self.minimum, ratio, keep, effort)
        kept = self._store(self.scale, kept, search.unit, stored)
        self.minimum.store(zeros, stored)
        return search.contents(kept, kept * np.float32(ratio) * zeros)

    def _polished(
        self, search: Search, block: np.ndarray, base: np.ndarray, whole: np.ndarray, least: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Try neighbours of the sub-block integers; codes follow every one of them."""
        if self.integer is None and self.minimum is None:
            return whole, least
        best = search.trial(block * whole, base * least).lost
        for numbers, is_scale in ((self.minimum, False), (self.integer, True), (self.minimum, False)):
            if numbers is None:
                continue
            for step in (1, -1):
                trial = numbers.shifted(whole, step) if is_scale else whole
                lowest = least if is_scale else numbers.shifted(least, step)
                lost = search.trial(block * trial, base * lowest).lost
                whole, least = np.where(lost < best, trial, whole), np.where(lost < best, lowest, least)
                best = np.minimum(lost, best)
        return whole, least

    # ------------------------------------------------------------------ floats

    def _round(self, scale: Scale, value: np.ndarray, unit: np.ndarray) -> np.ndarray:
        """A factor as the block's floats can hold it (all in the unit of the block)."""
        constant = np.float32(scale.constant)
        if not scale.floats:
            return np.full_like(value, constant) / unit
        return stored_floats.rounded(scale.floats[0], value * unit / constant) * constant / unit

    def _store(self, scale: Scale, value: np.ndarray, unit: np.ndarray, stored: np.ndarray) -> np.ndarray:
        """Write a factor, [n] or [groups, n]; return what was written, in the unit of the block."""
        constant = np.float32(scale.constant)
        if not scale.floats:
            return self._round(scale, value, unit)
        kept = stored_floats.rounded(scale.floats[0], value * unit / constant)
        self._write(scale, kept, stored)
        return kept * constant / unit

    @staticmethod
    def _write(scale: Scale, kept: np.ndarray, stored: np.ndarray) -> None:
        first, *others = scale.floats
        stored_floats.store(first, kept.reshape(-1, kept.shape[-1])[: first.count], stored)
        for field in others:
            stored_floats.store(field, np.ones((field.count, kept.shape[-1]), np.float32), stored)


def _fitting(
    whole: np.ndarray, wanted: np.ndarray, block: np.ndarray, kept: np.ndarray, numbers: Choice | None
) -> np.ndarray:
    """The sub-block integers, if any, chosen again where the block's float could not be kept as it was."""
    if numbers is None:
        return whole
    moved = np.abs(kept - block) > np.float32(0.01) * np.abs(block)
    usable = np.where(kept == 0, 1, kept)
    again = np.where(kept == 0, 0, wanted / usable)
    return np.where(moved, numbers.nearest(again), whole)
