"""The quantizer: f32 rows -> the bytes of a format, derived from the normal form alone.

In: a normal form, rows of weights and (optionally) how much each column matters. Out: the bytes of the rows.
Chunks of blocks that fit the cache are encoded one after the other, on several threads if asked.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np

from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant import stored_floats
from lumen_core.quant.alphabet import alphabet
from lumen_core.quant.choices import Choice, choice
from lumen_core.quant.fit import Search, round_integers
from lumen_core.quant.floats import is_small
from lumen_core.quant.normal_form import NormalForm, Scale
from lumen_core.quant.store import float_bytes

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
        self.row = RowFactor(form) if form.header_bytes else None
        form = self.form = replace(form, row=None, header_bytes=0)  # of weights without their row's factor
        if form.kind == "float":
            if is_small(form.element) or form.scale is not None:
                raise UnsupportedFormatError(f"{form.name}: no quantizer is derived for {form.element}")
            self.held = stored_floats.largest(form.element)
            return
        assert form.scale is not None
        self.alphabet = alphabet(form)
        self.scale, self.offset = form.scale, form.offset
        self.integer, self.minimum = self._choice(form.scale), self._choice(form.offset)
        if not form.scale.floats and form.scale.integer is None and self.row is None:
            raise UnsupportedFormatError(f"{form.name} has no scale that a quantizer could choose")
        shared = set(form.scale.floats) & set(form.offset.floats if form.offset else ())
        if shared:
            names = ", ".join(sorted(field.name for field in shared))
            raise UnsupportedFormatError(f"{form.name}: {names} scales both codes and offsets")
        for scale in (form.scale, form.offset):
            self._require_understood(scale)
        self.held = self._largest_weight()

    @property
    def limit(self) -> float:
        """The largest magnitude that a weight can have."""
        return self.held if self.row is None else np.inf

    def _choice(self, scale: Scale | None) -> Choice | None:
        return None if scale is None or scale.integer is None else choice(scale.integer, self.form.name)

    def _require_understood(self, scale: Scale | None) -> None:
        """Floats of the whole block, or (without integers) of every sub-block; one of them is chosen."""
        groups = self.form.block // self.form.sub
        for index, field in enumerate(scale.floats if scale is not None else ()):
            whole = field.count == 1 or (
                field.count == groups and scale is not None and scale.integer is None
            )
            if not whole or (index and is_small(field.element)):
                raise UnsupportedFormatError(
                    f"{self.form.name}: no quantizer is derived for the scales {field.name}"
                )
        if scale is not None and scale.integer is not None and scale.integer.count != groups:
            raise UnsupportedFormatError(f"{self.form.name} has sub-blocks within sub-blocks")

    def _largest_weight(self) -> float:
        """The largest magnitude that the format can hold (before its codes saturate)."""

        def reach(scale: Scale, integer: Choice | None) -> float:
            value = abs(scale.constant)
            for field in scale.floats[:1]:  # all others are 1
                value *= stored_floats.largest(field.element, field.factor)
            return value if integer is None else value * max(abs(integer.low), abs(integer.high))

        limit = reach(self.scale, self.integer) * max(abs(self.alphabet.low), abs(self.alphabet.high))
        return limit if self.offset is None else min(limit, reach(self.offset, self.minimum))

    # ------------------------------------------------------------------ blocks

    def encode(self, rows: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
        """uint8 [R, row_bytes] of f32 [R, K]."""
        if self.row is not None:
            factor, header = self.row.choose(rows, self.held, self._end())
            rows = np.clip(rows / factor[:, None], -self.held, self.held)
            return np.concatenate([header, self._blocks(rows, importance)], 1)
        return self._blocks(rows, importance)

    def _end(self) -> float | None:
        """The value furthest from 0, where the row's factor is all that scales codes: its sign is free."""
        if (
            self.form.kind == "float"
            or self.scale.floats
            or self.integer is not None
            or self.offset is not None
        ):
            return None
        return max(self.alphabet.low, self.alphabet.high, key=abs)

    def _blocks(self, rows: np.ndarray, importance: np.ndarray | None) -> np.ndarray:
        form = self.form
        if rows.size and (top := float(max(rows.max(), -rows.min()))) > self.held:
            raise UnsupportedFormatError(
                f"a weight of magnitude {top:.3g} does not fit the format {form.name} "
                f"(at most {self.held:.3g})"
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
        self.alphabet.store(search.values.reshape(form.block, -1), stored)
        return np.ascontiguousarray(stored.T).reshape(len(rows), -1)

    def _symmetric(self, search: Search, unit: np.ndarray, stored: np.ndarray) -> None:
        integer = self.integer
        if integer is None:
            can = all(stored_floats.signed(field.element) for field in self.scale.floats[:1])
            found = search.scales(can)
            search.take(self._kept_scales(search, found.scale, unit, stored))
            return
        found = search.scales(integer.low < 0)
        search.take(found.scale)
        block, whole = round_integers(found.scale, search.curvature(), integer)
        rough = self._round(self.scale, block, unit)
        search.take(rough * whole)
        block, _ = search.solve(rough, whole, None)
        kept = self._store(self.scale, block, unit, stored)
        whole, block = _fitting(whole, found.scale, block, kept, integer), kept
        search.take(block * whole)
        best = search.error(block * whole)
        for step in (1, -1):
            trial = integer.shifted(whole, step)
            search.take(block * trial)
            lost = search.error(block * trial)
            whole, best = np.where(lost < best, trial, whole), np.minimum(lost, best)
        search.take(block * whole)
        integer.store(whole, stored)

    def _kept_scales(
        self, search: Search, wanted: np.ndarray, unit: np.ndarray, stored: np.ndarray
    ) -> np.ndarray:
        """Store the scales that floats alone make, one for the block or one for each sub-block."""
        fields = self.scale.floats
        if not fields or not stored_floats.coarse(fields[0]):
            return np.broadcast_to(self._store(self.scale, wanted, unit, stored), wanted.shape)
        constant = np.float32(self.scale.constant)
        best, kept = np.full_like(wanted, np.inf), np.zeros_like(wanted)
        for up in (0, 1, -1, 2):
            trial = stored_floats.rounded(fields[0], wanted * unit / constant, up)
            scale = trial * constant / unit
            search.take(scale)
            lost = search.error(scale)
            kept, best = np.where(lost < best, trial, kept), np.minimum(lost, best)
        self._write(self.scale, kept, stored)
        return kept * constant / unit

    def _affine(self, search: Search, unit: np.ndarray, stored: np.ndarray) -> None:
        assert self.offset is not None
        integer, minimum = self.integer, self.minimum
        sign = None
        if minimum is not None and minimum.low >= 0:  # one sign for a block: up only where all weights are
            sign = np.where(search.x.min((0, 1)) > 0, np.float32(1), np.float32(-1))
        found = search.affine(sign)
        scale, offset = found.scale, found.offset
        assert offset is not None
        whole = least = np.ones_like(scale)
        block, base = scale[0], offset[0]
        search.take(scale, offset)
        if integer is not None:
            block, whole = round_integers(scale, search.curvature(), integer)
        if minimum is not None:
            base, least = round_integers(offset, np.ones_like(scale), minimum)
        rough, rough_base = self._round(self.scale, block, unit), self._round(self.offset, base, unit)
        search.take(rough * whole, rough_base * least)
        block, other = search.solve(rough, whole, least)
        assert other is not None
        base = np.where(other * sign < 0, base, other) if sign is not None else other
        kept, kept_base = (
            self._store(self.scale, block, unit, stored), self._store(self.offset, base, unit, stored)
        )  # fmt: skip
        if integer is not None:
            whole = _fitting(whole, scale, block, kept, integer)
        if minimum is not None:
            least = _fitting(least, offset, base, kept_base, minimum)
        whole, least = self._polished(search, kept, kept_base, whole, least)
        search.take(kept * whole, kept_base * least)
        if integer is not None:
            integer.store(whole, stored)
        if minimum is not None:
            minimum.store(least, stored)

    def _polished(
        self, search: Search, block: np.ndarray, base: np.ndarray, whole: np.ndarray, least: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Try neighbours of the sub-block integers; codes follow every one of them."""
        search.take(block * whole, base * least)
        best = search.error(block * whole, base * least)
        for numbers, is_scale in ((self.minimum, False), (self.integer, True), (self.minimum, False)):
            if numbers is None:
                continue
            for step in (1, -1):
                trial = numbers.shifted(whole, step) if is_scale else whole
                lowest = least if is_scale else numbers.shifted(least, step)
                search.take(block * trial, base * lowest)
                lost = search.error(block * trial, base * lowest)
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


class RowFactor:
    """Chooses what multiplies the weights of a row: it brings the largest to the end of what blocks hold."""

    def __init__(self, form: NormalForm):
        self.form = form
        floats = form.row.floats if form.row is not None else ()
        if form.reads_header or len(floats) != 1 or floats[0].inverse:
            raise UnsupportedFormatError(f"{form.name}: no quantizer is derived for what its rows store")
        self.field = floats[0]
        # Floats of a block that are fine enough find their own size.
        self.fine = any(not is_small(field.element) for field in form.floats if field != self.field)

    def choose(self, rows: np.ndarray, limit: float, end: float | None) -> tuple[np.ndarray, np.ndarray]:
        """Factors f32 [R] and the bytes that say them, uint8 [R, header bytes]."""
        largest = np.abs(rows).max(1)
        wanted = largest / np.float32(limit)
        if end is not None and stored_floats.signed(self.field.element):
            extreme = np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], 1)[:, 0]
            wanted = extreme / np.float32(end)
        wanted = np.where(largest > _ZERO, 1.0 if self.fine else wanted, np.float32(1))
        kept = stored_floats.rounded(self.field, wanted.astype(np.float32))
        made = np.zeros((self.form.block_bytes + self.form.header_bytes, len(rows)), np.uint8)
        stored_floats.store(self.field, kept[None], made)
        return kept, np.ascontiguousarray(made[self.form.block_bytes :].T)


def _fitting(
    whole: np.ndarray, wanted: np.ndarray, block: np.ndarray, kept: np.ndarray, numbers: Choice
) -> np.ndarray:
    """The sub-block integers, chosen again where the block's float could not be kept as it was."""
    moved = np.abs(kept - block) > np.float32(0.01) * np.abs(block)
    usable = np.where(kept == 0, 1, kept)
    again = np.where(kept == 0, 0, wanted / usable)
    return np.where(moved, numbers.nearest(again), whole)
