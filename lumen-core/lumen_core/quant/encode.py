"""The quantizer: f32 rows -> the bytes of a format, derived from the normal form alone.

In: a normal form, rows of weights and (optionally) how much each column matters. Out: the bytes of the rows.
Chunks of blocks that fit the cache are encoded one after the other, on several threads if asked.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant.alphabet import Alphabet
from lumen_core.quant.fit import Found, Search, round_integers
from lumen_core.quant.normal_form import BitField, FloatField, NormalForm, Scale
from lumen_core.quant.store import float_bytes, largest, rounded, smallest, store_float, store_integers

_CHUNK = 1 << 16  # weights at a time: what a search touches stays in the cache
_ZERO = np.float32(1e-30)  # a block whose largest weight is below this is all zero


def encode(
    form: NormalForm,
    rows: np.ndarray,
    importance: np.ndarray | None = None,
    threads: int = 1,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Quantize rows of weights.

    Args:
        rows: f32 [R, K]; K is a multiple of the format's block.
        importance: f32 [K] or [R, K], not negative: how much a squared error of each column costs.
        progress: called with the number of weights just done.

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
    encoder = Encoder(form)
    step = max(1, _CHUNK // max(columns, 1))

    def part(first: int) -> None:
        last = min(first + step, count)
        weight = importance
        if weight is not None and weight.ndim == 1:
            weight = np.broadcast_to(weight, (last - first, columns))
        elif weight is not None:
            weight = weight[first:last]
        _check_rows(rows[first:last], first)
        result[first:last] = encoder.encode(rows[first:last], weight)
        if progress is not None:
            progress((last - first) * columns)

    starts = range(0, count, step)
    if threads <= 1 or len(starts) <= 1:
        for first in starts:
            part(first)
    else:
        with ThreadPoolExecutor(threads, thread_name_prefix="lumen-quantize") as pool:
            list(pool.map(part, starts))
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


def _check_rows(rows: np.ndarray, first: int) -> None:
    if np.isfinite(rows.sum(dtype=np.float64)):
        return
    where = np.argwhere(~np.isfinite(rows))
    row, column = where[0]
    raise UnsupportedFormatError(
        f"the weight in row {first + row}, column {column} is {rows[row, column]}; only finite numbers "
        "can be quantized"
    )


class Encoder:
    """Encodes blocks of one format; a normal form that it does not understand is refused at once."""

    def __init__(self, form: NormalForm):
        self.form = form
        if form.kind == "float":
            self.limit = largest(form.element)
            return
        assert form.scale is not None
        integers = [scale.integer for scale in (form.scale, form.offset) if scale is not None]
        plain = all(isinstance(item, BitField) for item in (form.code, *integers) if item is not None)
        if not plain or getattr(form, "table", None) is not None:
            raise UnsupportedFormatError(f"{form.name} has codes that no quantizer is derived for yet")
        fields = [field for scale in (form.scale, form.offset) if scale is not None for field in scale.floats]
        if any(getattr(field, "count", 1) != 1 for field in fields):
            raise UnsupportedFormatError(f"{form.name} has scales that no quantizer is derived for yet")
        self.alphabet = Alphabet.of(form)
        self.scale, self.offset = form.scale, form.offset
        if not form.scale.floats and form.scale.integer is None:
            raise UnsupportedFormatError(f"{form.name} has no scale that a quantizer could choose")
        shared = set(form.scale.floats) & set(form.offset.floats if form.offset else ())
        if shared:
            names = ", ".join(sorted(field.name for field in shared))
            raise UnsupportedFormatError(f"{form.name}: {names} scales both codes and offsets")
        self.limit = self._largest_weight()

    def _largest_weight(self) -> float:
        """The largest magnitude that the format can hold (before its codes saturate)."""

        def reach(scale: Scale) -> float:
            value = abs(scale.constant)
            for field in scale.floats[:1]:  # all others are 1
                value *= largest(field.element)
            if scale.integer is not None:
                value *= max(abs(scale.integer.low), abs(scale.integer.high))
            return value

        limit = reach(self.scale) * max(abs(self.alphabet.low), abs(self.alphabet.high))
        return limit if self.offset is None else min(limit, reach(self.offset))

    # ------------------------------------------------------------------ blocks

    def encode(self, rows: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
        """uint8 [R, row_bytes] of f32 [R, K]."""
        form = self.form
        if rows.size and (top := float(max(rows.max(), -rows.min()))) > self.limit:
            raise UnsupportedFormatError(
                f"a weight of magnitude {top:.3g} does not fit the format {form.name} "
                f"(at most {self.limit:.3g})"
            )
        if form.kind == "float":
            return float_bytes(rows, form.element).reshape(len(rows), -1)
        groups, sub = form.block // form.sub, form.sub
        blocks = rows.reshape(-1, form.block)
        x = blocks.T.copy()  # [block, n]
        unit = np.maximum(np.maximum(x.max(0), -x.min(0)), _ZERO)
        x *= 1 / unit
        weight = None
        if importance is not None:
            weight = np.ascontiguousarray(importance.reshape(-1, form.block).T).reshape(groups, sub, -1)
        search = Search(x.reshape(groups, sub, -1), weight, self.alphabet)
        stored = np.zeros((form.block_bytes, len(blocks)), np.uint8)
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            if self.offset is None:
                self._symmetric(search, unit, stored)
            else:
                self._affine(search, unit, stored)
        codes = self.alphabet.codes(search.values).reshape(form.block, -1)
        assert isinstance(form.code, BitField)
        store_integers(form.code, codes, stored)
        return np.ascontiguousarray(stored.T).reshape(len(rows), -1)

    def _symmetric(self, search: Search, unit: np.ndarray, stored: np.ndarray) -> None:
        integer = _bits(self.scale)
        signed = bool(self.scale.floats) if integer is None else integer.low < 0
        found = search.scales(signed)
        if integer is None:
            search.take(self._store_float(self.scale, found.scale[0], unit, stored)[None])
            return
        search.take(found.scale)
        block, whole = round_integers(found.scale, search.curvature(), integer.low, integer.high)
        rough = self._round(self.scale, block, unit)
        search.take(rough * whole)
        block, _ = search.solve(rough, whole, None)
        kept = self._store_float(self.scale, block, unit, stored)
        whole, block = _fitting(whole, found.scale, block, kept, integer), kept
        best = search.error(self._kept(search, block * whole))
        for step in (1, -1):
            trial = np.clip(whole + step, integer.low, integer.high)
            search.take(block * trial)
            lost = search.error(block * trial)
            whole, best = np.where(lost < best, trial, whole), np.minimum(lost, best)
        search.take(block * whole)
        store_integers(integer, whole, stored)

    def _affine(self, search: Search, unit: np.ndarray, stored: np.ndarray) -> None:
        assert self.offset is not None
        integer, minimum = _bits(self.scale), _bits(self.offset)
        sign = None
        if minimum is not None and minimum.low >= 0:  # one sign for a block: up only where all weights are
            sign = np.where(search.x.min((0, 1)) > 0, np.float32(1), np.float32(-1))
        found = search.affine(sign)
        scale, offset = found.scale, found.offset
        assert offset is not None
        ones = np.ones_like(scale)
        whole, least = ones, ones
        block, base = scale[0], offset[0]
        search.take(scale, offset)
        if integer is not None:
            block, whole = round_integers(scale, search.curvature(), integer.low, integer.high)
        if minimum is not None:
            base, least = round_integers(offset, ones, minimum.low, minimum.high)
        rough, rough_base = self._round(self.scale, block, unit), self._round(self.offset, base, unit)
        search.take(rough * whole, rough_base * least)
        block, other = search.solve(rough, whole, least)
        assert other is not None
        base = np.where(other * sign < 0, base, other) if sign is not None else other
        kept = self._store_float(self.scale, block, unit, stored)
        kept_base = self._store_float(self.offset, base, unit, stored)
        if integer is not None:
            whole = _fitting(whole, scale, block, kept, integer)
        if minimum is not None:
            least = _fitting(least, offset, base, kept_base, minimum)
        block, base = kept, kept_base
        best = search.error(self._kept(search, block * whole, base * least), base * least)
        for field, is_scale in ((minimum, False), (integer, True), (minimum, False)):
            if field is None:
                continue
            for step in (1, -1):
                trial, lowest = whole, least
                if is_scale:
                    trial = np.clip(whole + step, field.low, field.high)
                else:
                    lowest = np.clip(least + step, field.low, field.high)
                search.take(block * trial, base * lowest)
                lost = search.error(block * trial, base * lowest)
                whole, least = np.where(lost < best, trial, whole), np.where(lost < best, lowest, least)
                best = np.minimum(lost, best)
        search.take(block * whole, base * least)
        if integer is not None:
            store_integers(integer, whole, stored)
        if minimum is not None:
            store_integers(minimum, least, stored)

    @staticmethod
    def _kept(search: Search, scale: np.ndarray, offset: np.ndarray | None = None) -> np.ndarray:
        search.take(scale, offset)
        return scale

    # ------------------------------------------------------------------ floats

    def _round(self, scale: Scale, value: np.ndarray, unit: np.ndarray) -> np.ndarray:
        """A block factor [n] as the block's floats can hold it (all in the unit of the block)."""
        if not scale.floats:
            return np.full_like(value, scale.constant) / unit
        return (
            self._written(scale.floats[0], value * unit / np.float32(scale.constant))
            * np.float32(scale.constant)
            / unit
        )

    @staticmethod
    def _written(field: FloatField, value: np.ndarray) -> np.ndarray:
        least = np.float32(smallest(field.element))
        value = np.where((np.abs(value) < least) & (value != 0), np.copysign(least, value), value)
        return rounded(value.astype(np.float32), field.element)

    def _store_float(
        self, scale: Scale, value: np.ndarray, unit: np.ndarray, stored: np.ndarray
    ) -> np.ndarray:
        """Write a block factor; return what was written, in the unit of the block."""
        if scale.floats:
            constant = np.float32(scale.constant)
            written = self._written(scale.floats[0], value * unit / constant)
            store_float(scale.floats[0], written, stored)
            for field in scale.floats[1:]:
                store_float(field, np.ones_like(written), stored)
            return written * constant / unit
        return self._round(scale, value, unit)


def _fitting(
    whole: np.ndarray, wanted: np.ndarray, block: np.ndarray, kept: np.ndarray, field: BitField
) -> np.ndarray:
    """The sub-block integers, chosen again where the block's float could not be kept as it was."""
    moved = np.abs(kept - block) > np.float32(0.01) * np.abs(block)
    usable = np.where(kept == 0, 1, kept)
    again = np.where(kept == 0, 0, np.rint(wanted / usable))
    return np.where(moved, np.clip(again, field.low, field.high), whole)


__all__ = ["Encoder", "Found", "encode"]


def _bits(scale: Scale) -> BitField | None:
    """The stored integers of a scale."""
    assert scale.integer is None or isinstance(scale.integer, BitField)
    return scale.integer
