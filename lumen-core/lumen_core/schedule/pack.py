"""The pack program: file blocks -> the layout that the matmul kernels read, derived from the normal form.

It copies float scales, spreads sub-scales to bytes and puts codes where the layout has them; those that the
declaration computes (vectors of a code book, signs, digits) are evaluated here once. Nothing is rounded.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import replace
from math import gcd
from typing import NamedTuple

import numpy as np

from lumen_core.ir.kernel import I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.floats import FLOAT_BYTES
from lumen_core.quant.integers import byte_bias
from lumen_core.quant.layout import WeightLayout
from lumen_core.quant.normal_form import Integers, Lookup, NormalForm
from lumen_core.schedule.blocks import CompleteBlocks
from lumen_core.schedule.trees import load_codes, load_integers, load_row_factor, load_stored_float
from lumen_core.schedule.weights import DotPlan, emit_blocks_bytes, emit_group_bytes, emit_places
from lumen_core.target import Target

CHUNK = 16  # codes that are read at a time
UNROLL = 32  # codes that are looked up in one round of a loop, at most


def build_pack(form: NormalForm, target: Target, name: str = "pack") -> Kernel:
    """Build `name(source, destination, length, rows, first, last)`.

    Packs row groups first <= g < last of a matrix of `rows` rows of `length` weights. The destination
    starts with group 0 and holds zeros: rows that only fill the last group stay untouched.
    """
    layout = WeightLayout(form, target.lanes, target.depth)
    numbers = [(name, I64) for name in ("length", "rows", "first", "last")]
    kernel = Kernel(
        name,
        [("source", PTR), ("destination", PTR), *numbers],
        doc=f"{form.name} blocks -> {layout.rows} rows side by side",
    )
    b = Builder(kernel)
    source, destination, length, rows, first, last = kernel.parameters
    codes = b.stack(max(64, form.block)) if form.kind == "integer" else source
    turned = form.kind == "integer" and DotPlan.choose(form, target).turned
    blocks, complete = b.div(length, form.block), CompleteBlocks(b, form)
    row_bytes = b.add(b.mul(blocks, form.block_bytes), form.header_bytes)
    element = Type(f"i{8 * FLOAT_BYTES[form.element]}") if form.kind == "float" else Type("i8")
    with b.loop(first, last) as group:
        to_group = b.offset(destination, b.mul(group.index, emit_group_bytes(b, layout, blocks)))
        with b.loop(0, layout.rows) as lane:
            row = b.add(b.mul(group.index, layout.rows), lane.index)
            with b.when(b.compare("lt", row, rows)):
                start = b.offset(source, b.mul(row, row_bytes))
                if form.row is not None:
                    to_row = b.offset(to_group, emit_blocks_bytes(b, layout, blocks))
                    b.store(load_row_factor(b, form, start), b.offset(to_row, b.mul(lane.index, 4)))
                from_row = complete.row(start)
                with b.loop(0, blocks) as block:
                    from_block = complete.block(b.offset(from_row, b.mul(block.index, form.block_bytes)))
                    to_codes, to_scales = emit_places(b, layout, to_group, block.index)
                    _pack_scales(b, form, layout, from_block, to_scales, lane.index)
                    if form.in_pairs:
                        item = b.load(element, from_block)
                        whole, part = b.div(block.index, layout.run), b.rem(block.index, layout.run)
                        to_run = b.offset(to_group, b.mul(whole, layout.run * layout.code_bytes))
                        place = b.add(b.mul(lane.index, layout.run), part)
                        b.store(item, b.offset(to_run, b.mul(place, element.bytes)))
                    elif form.kind == "float":
                        _pack_floats(b, form, layout, from_block, to_codes, lane.index, element)
                    else:
                        _load_codes(b, form, turned, from_block, codes)
                        _pack_codes(b, form, layout, codes, to_codes, lane.index)
    return kernel


def emit_pack_block(
    b: Builder,
    layout: WeightLayout,
    source: Value,
    to_codes: Value,
    to_scales: Value,
    lane: Value,
    codes: Value,
) -> None:
    """Write a block of codes as row `lane` of a row group's codes and scales of this block.

    codes   scratch for a block's codes, a byte each
    """
    form = layout.form
    _pack_scales(b, form, layout, source, to_scales, lane)
    _load_codes(b, form, False, source, codes)
    _pack_codes(b, form, layout, codes, to_codes, lane)


def _pack_floats(
    b: Builder, form: NormalForm, layout: WeightLayout, block: Value, to: Value, lane: Value, element: Type
) -> None:
    assert form.stored is not None
    by_row = b.offset(to, b.mul(lane, element.bytes))
    with b.loop(0, form.block) as place:
        item = b.load(element, b.offset(block, b.mul(place.index, element.bytes)), form.stored.offset)
        b.store(item, b.offset(by_row, b.mul(place.index, element.bytes * layout.rows)))


def _pack_scales(
    b: Builder, form: NormalForm, layout: WeightLayout, source: Value, to: Value, lane: Value
) -> None:
    for field in layout.floats:
        size = field.bytes
        for place in range(field.count):
            item = load_stored_float(b, form, field, source, place)
            where = layout.float_offsets[field.name] + place * size * layout.rows
            b.store(item, b.offset(to, b.mul(lane, size)), where)
    by_row = b.offset(to, lane)
    for scale, where in ((form.scale, layout.scale_offset), (form.offset, layout.minimum_offset)):
        if scale is not None and scale.integer is not None:
            _spread(b, form, scale.integer, source, by_row, where, layout.rows)


def _load_codes(b: Builder, form: NormalForm, turned: bool, source: Value, codes: Value) -> None:
    """Write a block's codes to scratch, a byte each; `turned`: with their highest bit turned."""
    code = form.code
    assert code is not None
    last = code if isinstance(code, Lookup) and code.table.dimension == 1 and code.index.high < 256 else None
    inner = replace(form, code=last.index) if last is not None else form
    sign = -128 if form.bits == 8 else 1 << (form.bits - 1)
    for start in range(0, form.block, CHUNK):
        part = load_codes(b, inner, source, start, CHUNK)
        b.store(b.bitxor(part, sign) if turned and last is None else part, codes, start)
    if last is not None:  # what is looked up last, byte by byte, is a loop and not so much code
        entries = last.table.array.astype(np.uint8)
        data = b.data((entries ^ np.uint8(sign & 0xFF) if turned else entries).tobytes())
        each = gcd(form.block, UNROLL)
        with b.loop(0, form.block, each) as element:
            place = b.offset(codes, element.index)
            for byte in range(each):
                index = b.convert(b.load(Type("i8"), place, byte), "i64", signed=False)
                b.store(b.load(Type("i8"), b.offset(data, index)), place, byte)


def _pack_codes(
    b: Builder, form: NormalForm, layout: WeightLayout, codes: Value, to: Value, lane: Value
) -> None:
    share = layout.rows // layout.parts  # rows of a vector
    by_row = b.offset(to, b.mul(b.rem(lane, share) if layout.parts > 1 else lane, layout.depth))
    for part in range(layout.parts):
        with b.when(b.compare("eq", b.div(lane, share), part)) if layout.parts > 1 else nullcontext():
            for unit in range(form.block // layout.unit):
                _pack_unit(b, layout, codes, unit * layout.unit, by_row, unit * layout.unit_bytes, part)


def _spread(
    b: Builder, form: NormalForm, field: Integers, block: Value, to: Value, where: int, stride: int
) -> None:
    """Write every integer of a field as one byte, `stride` bytes apart."""
    loaded, bias = load_integers(b, form, field, block, 0, field.count), byte_bias(field)
    values = b.convert(b.sub(loaded, bias) if bias else loaded, "i8")
    for index in range(field.count):
        item = b.extract(values, index) if field.count > 1 else values
        b.store(item, to, where + index * stride)


def _pack_unit(
    b: Builder, layout: WeightLayout, codes: Value, start: int, to: Value, where: int, part: int
) -> None:
    """Write a unit's codes of one row; operands `part`, `part + parts`, ... are those that hold it."""
    parts = layout.parts
    moves: list[list[_Move]] = [[] for _ in range(layout.vectors)]
    for group, fields in enumerate(layout.codes):
        low = layout.form.bits
        for vector, bit, width in fields:
            low -= width
            moves[vector].append(_Move(group, low, bit, width))
    own = [[move for move in into if move.group % parts == part] for into in moves]
    # The words, of 4 codes, that the row has in each vector; all take a field of a code at a time.
    places = [(vector, word) for vector, into in enumerate(own) if into for word in range(parts)]
    words = b.load(Type("i32", layout.unit // 4), codes, start, align=4)
    packed: Value | None = None
    for number in range(max(map(len, own))):
        taken = [own[vector][number] if number < len(own[vector]) else _NOTHING for vector, _ in places]
        chosen = [move.group // parts * parts + places[lane][1] for lane, move in enumerate(taken)]
        item = b.shuffle(words, None, chosen) if len(chosen) > 1 else b.extract(words, chosen[0])
        if layout.form.bits < 8:
            item = b.shr(item, _lanes(b, item.type, [move.low for move in taken]))
            item = b.bitand(item, _lanes(b, item.type, [((1 << m.width) - 1) * 0x01010101 for m in taken]))
            item = b.shl(item, _lanes(b, item.type, [move.bit for move in taken]))
        packed = item if packed is None else b.bitor(packed, item)
    assert packed is not None
    for lane, (vector, word) in enumerate(places):
        item, place = b.extract(packed, lane), where + 4 * layout.rows * vector + 4 * word
        if len(own[vector]) < len(moves[vector]):  # another row may have been there
            item = b.bitor(item, b.load(item.type, to, place))
        b.store(item, to, place)


class _Move(NamedTuple):
    """Bits `low .. low + width` of the codes of an operand go to bit `bit` of a vector's bytes."""

    group: int
    low: int
    bit: int
    width: int


_NOTHING = _Move(0, 0, 0, 0)


def _lanes(b: Builder, type: Type, values: list[int]) -> Value | int:
    """A number for each lane; one number where they are the same."""
    return values[0] if len(set(values)) == 1 else b.vector_constant(type, values)
