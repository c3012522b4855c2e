"""The quantizer as one kernel, from numbers to bytes: for plain floats, and for blocks of independent scales.

A tile of blocks is laid side by side, its sub-blocks are searched one after the other by the steps of
`schedule/search.py`, the scales rounded as the block keeps them, then everything is written at once.
Formats whose sub-blocks share a float (and have integers of their own) are put together by `quant/encode.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lumen_core.ir.kernel import Kernel, Type, Value
from lumen_core.quant import fit
from lumen_core.quant.alphabet import alphabet, fields_of
from lumen_core.quant.floats import is_small
from lumen_core.quant.integers import BitField
from lumen_core.quant.normal_form import FloatField, NormalForm, Scale
from lumen_core.quant.store import float_bytes
from lumen_core.quant.stored_floats import held
from lumen_core.schedule.nearest import content_type, count_below, looked_up
from lumen_core.schedule.recorded import Lane
from lumen_core.schedule.rounding import float_bits, rounded
from lumen_core.schedule.search import best_affine, best_scale, find_contents, lay_out, scale_down
from lumen_core.schedule.search_part import At, Part, Shape, new_kernel
from lumen_core.schedule.write_blocks import Contents, write_blocks
from lumen_core.target import Target


def is_plain(form: NormalForm) -> bool:
    """Tell whether the scales of each sub-block are floats that are chosen alone."""
    scales = [scale for scale in (form.scale, form.offset) if scale is not None]
    coarse = any(is_small(field.element) for scale in scales for field in scale.floats)
    return all(scale.integer is None for scale in scales) and not (coarse and form.offset is not None)


def build_floats(form: NormalForm, target: Target, name: str) -> Kernel:
    """Build `name(numbers, stored, largest, first, last)`: tiles of plain numbers as floats of the format.

    largest: f32 [lanes], the largest magnitudes, or NaN where a number is not finite.
    """
    shape = Shape(form, target, False)
    kernel, b = new_kernel(name, ("numbers", "stored", "largest"), ("first", "last"), f"f32 -> {form.name}")
    numbers, stored, largest, first, last = kernel.parameters
    zero = b.constant(shape.vector, 0.0)
    with b.loop(first, last, carried=(zero, zero)) as tile:
        high, nothing = tile.values
        value = b.load(shape.vector, numbers, b.mul(tile.index, shape.row), align=4)
        bits = float_bits(b, value, form.element)
        b.store(bits, stored, b.mul(tile.index, bits.type.bytes), align=1)
        tile.next(b.maximum(high, b.abs(value)), b.fma(value, zero, nothing))
    high, nothing = tile.results
    b.store(b.add(high, nothing), largest, align=4)
    return kernel


@dataclass(frozen=True)
class Room:
    """Where a tile's working memory holds what, behind its weights: byte offsets."""

    weight: int
    contents: tuple[int, ...]
    planes: int
    bytes: int


def room(form: NormalForm, target: Target, weighted: bool) -> Room:
    """The working memory of `build_blocks`."""
    shape = Shape(form, target, weighted)
    tile = shape.row * form.block
    offset = tile * (1 + weighted)
    contents = []
    for field, element in _stored_fields(form):
        contents.append(offset)
        offset += field.count * shape.lanes * Type(element).bytes + 63 & ~63
    return Room(tile if weighted else 0, tuple(contents), offset, offset + form.block_bytes * shape.lanes)


def _stored_fields(form: NormalForm) -> list[tuple[BitField, str]]:
    """Everything that a block stores, and the integers that hold it: codes, then the floats."""
    found = [(field, content_type(field).element) for field in fields_of(alphabet(form))]
    return found + [(field.source, f"i{8 * field.bytes}") for field in form.floats]


def build_blocks(
    form: NormalForm, target: Target, weighted: bool, signed: bool, effort: str, name: str
) -> Kernel:
    """Build `name(blocks, importance, stored, largest, memory, first, last)`.

    Tiles first <= t < last of blocks f32 [n, block] as the format's bytes [n, block_bytes]; the largest
    magnitude of each, NaN where a weight is not finite, to largest [n]. memory: `room(...).bytes`.
    """
    return _Blocks(form, target, weighted, signed, effort, name).kernel


class _Blocks:
    def __init__(
        self, form: NormalForm, target: Target, weighted: bool, signed: bool, effort: str, name: str
    ):
        names = ("blocks", "importance", "stored", "largest", "memory")
        part = self.part = Part(form, target, weighted, names, name, "numbers -> blocks", ("first", "last"))
        b, shape, given = part.builder, part.shape, part.given
        self.form, self.signed, self.effort, self.kernel = form, signed, effort, part.kernel
        own = room(form, target, weighted)
        x, weight = given["memory"], b.offset(given["memory"], own.weight)
        self.contents = [
            Contents(field, element, b.offset(given["memory"], place))
            for (field, element), place in zip(_stored_fields(form), own.contents, strict=True)
        ]
        planes = b.offset(given["memory"], own.planes)
        for field in form.floats:
            self._fill(field)
        with b.loop(given["first"], given["last"]) as tile:
            place = b.mul(tile.index, 4 * form.block * shape.lanes)
            if weighted:
                lay_out(b, shape, b.offset(given["importance"], place), weight)
            largest, _ = lay_out(b, shape, b.offset(given["blocks"], place), x)
            b.store(largest, given["largest"], b.mul(tile.index, shape.row), align=4)
            scale_down(b, shape, x, largest)
            with b.loop(0, shape.groups) as group:
                inside = b.mul(group.index, shape.row * shape.sub)
                at = At(b.offset(x, inside), b.offset(weight, inside), group.index, tile.index)
                self._sub_block(at, Lane(b, largest))
            to = b.offset(given["stored"], b.mul(tile.index, form.block_bytes * shape.lanes))
            write_blocks(b, self.contents, shape.lanes, form.block_bytes, planes, to)

    def _fill(self, field: FloatField) -> None:
        """Start with 1 in every float: so stay those that are one factor too many."""
        b, lanes, one = self.part.builder, self.part.shape.lanes, np.ones(1, np.float32)
        if is_small(field.element):
            return
        item = self._contents(field)
        bits = int.from_bytes(float_bytes(one, field.element).tobytes(), "little")
        type = Type(item.element, lanes)
        with b.loop(0, field.count) as loop:
            b.store(b.constant(type, bits), item.at, b.mul(loop.index, type.bytes))

    def _contents(self, field: FloatField) -> Contents:
        return next(item for item in self.contents if item.field == field.source)

    def _sub_block(self, at: At, unit: Lane) -> None:
        part, form = self.part, self.form
        assert form.scale is not None
        if form.offset is None:
            scale = self._kept(at, form.scale, best_scale(part, at, self.signed, self.effort), unit)
            offset = None
        else:
            wanted, base = best_affine(part, at, None, self.effort)
            scale = self._kept(at, form.scale, wanted, unit)
            offset = self._kept(at, form.offset, base, unit)

        def keep(field: int, row: Value, bits: Value) -> None:
            self._store(self.contents[field], row, bits)

        find_contents(part, at, scale, offset, keep)

    def _store(self, item: Contents, row: Value, bits: Value) -> None:
        b = self.part.builder
        b.store(bits, item.at, b.mul(row, bits.type.bytes), align=1)

    def _kept(self, at: At, scale: Scale, wanted: Lane, unit: Lane) -> Lane:
        """Store a factor, given in the unit of the block; return it as it will be read."""
        b = self.part.builder
        if not scale.floats:
            return scale.constant / unit
        field = scale.floats[0]
        meant = wanted * unit * (1 / scale.constant)
        row = at.group if field.count > 1 else b.i64(0)
        if is_small(field.element):
            return self._coarse(at, scale, field, meant, unit, row)
        kept, bits = rounded(b, meant.value, field.element)
        self._store(self._contents(field), row, bits)
        return Lane(b, kept) * scale.constant / unit

    def _coarse(self, at: At, scale: Scale, field: FloatField, meant: Lane, unit: Lane, row: Value) -> Lane:
        """The same for floats whose neighbours are far apart: all that are near are tried."""
        b, ops = self.part.builder, self.part.ops
        numbers, codes = held(field.element)
        numbers = numbers * np.float32(field.factor)
        below = count_below(b, meant.value, numbers)
        best, kept, place = ops.constant(np.inf), ops.constant(0.0), below
        for up in (0, 1, -1, 2):
            index = b.maximum(b.minimum(b.add(below, up - 1), len(numbers) - 1), 0)
            trial = Lane(b, looked_up(b, numbers.astype("<f4"), index))
            trial = trial * scale.constant / unit
            lost = self.part.sums(at, fit.inverse(ops, trial), None, (trial, None)).lost
            better = lost < best
            best, kept = ops.where(better, lost, best), ops.where(better, trial, kept)
            place = b.select(better.value, index, place)
        self._store(self._contents(field), row, looked_up(b, codes.astype("i1"), place))
        return kept
