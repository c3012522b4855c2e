"""Embedding rows: gather rows of a table in the file's own layout and decode them to f32."""

from __future__ import annotations

from collections.abc import Iterator

from lumen_core.ir.kernel import I32, I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.floats import FLOAT_BYTES, KERNEL_UNITS
from lumen_core.quant.normal_form import NormalForm, Scale
from lumen_core.schedule.blocks import CompleteBlocks
from lumen_core.schedule.trees import (
    joined,
    load_codes,
    load_float_value,
    load_integers,
    load_row_factor,
    look_up_bytes,
)
from lumen_core.schedule.weights import load_float
from lumen_core.target import Target

CHUNK = 16


def build_rows(form: NormalForm, target: Target, name: str = "rows") -> Kernel:
    """Build `name(table, ids, output, stride, length, first, last)`.

    output[t] = table[ids[t]] for first <= t < last: `length` f32 values, `stride` bytes apart.
    """
    kernel = Kernel(
        name,
        [("table", PTR), ("ids", PTR), ("output", PTR)]
        + [(label, I64) for label in ("stride", "length", "first", "last")],
        doc=f"rows of a {form.name} table as f32",
    )
    b = Builder(kernel)
    table, ids, output, stride, length, first, last = kernel.parameters
    scales = b.stack(4 * max(16, form.block)) if form.kind == "integer" else table
    offsets = b.stack(4 * max(16, form.block)) if form.offset is not None else table
    blocks, complete = b.div(length, form.block), CompleteBlocks(b, form)
    row_bytes = b.add(b.mul(blocks, form.block_bytes), form.header_bytes)
    looks_up = looks_up_bytes(target)
    with b.loop(first, last) as token:
        identifier = b.convert(b.load(I32, ids, b.mul(token.index, 4), align=4), "i64")
        start = b.offset(table, b.mul(identifier, row_bytes))
        to = b.offset(output, b.mul(token.index, stride))
        factor = load_row_factor(b, form, start) if form.row is not None else None
        row = complete.row(start)
        with b.loop(0, blocks) as block:
            from_block = complete.block(b.offset(row, b.mul(block.index, form.block_bytes)))
            to_block = b.offset(to, b.mul(block.index, 4 * form.block))
            if form.kind == "float":
                _decode_floats(b, form, from_block, to_block, factor)
            else:
                emit_decode_block(b, form, looks_up, from_block, to_block, scales, offsets, factor)
    return kernel


def looks_up_bytes(target: Target) -> bool:
    """Tell whether the target looks up as many bytes at a time as are decoded."""
    return any(row.op == "lookup16" and row.types[0] == f"<{CHUNK} x i8>" for row in target.instructions)


def _decode_floats(b: Builder, form: NormalForm, block: Value, to: Value, row: Value | None) -> None:
    assert form.stored is not None
    factor = row
    for field in form.scale.floats if form.scale is not None else ():
        value = load_float_value(b, form, field, block, 0)
        factor = value if factor is None else b.mul(value, factor)
    if form.scale is not None and form.scale.constant != 1:
        factor = b.mul(b.f32(form.scale.constant) if factor is None else factor, form.scale.constant)
    size = FLOAT_BYTES[form.element]
    with b.loop(0, form.block) as k:
        where = b.add(b.mul(k.index, size), form.stored.offset)
        value = load_float(b, form.element, 1, block, where)
        unit = KERNEL_UNITS.get(form.element, 1.0)
        value = b.mul(value, unit) if unit != 1 else value
        b.store(b.mul(factor, value) if factor is not None else value, to, b.mul(k.index, 4), align=4)


def block_factors(
    b: Builder, form: NormalForm, scale: Scale, block: Value, scratch: Value, row: Value | None
) -> int:
    """Write the factor of every sub-block to scratch; return how many there are."""
    factor = b.f32(scale.constant)
    for field in scale.floats:
        if field.count == 1:
            loaded = load_float_value(b, form, field, block, 0)
            factor = loaded if factor.literal == 1 else b.mul(factor, loaded)
    count = scale.count
    factors = b.splat(factor, count)
    for field in scale.floats:
        if field.count > 1:
            own = joined(b, [load_float_value(b, form, field, block, place) for place in range(count)])
            factors = b.mul(factors, own)
    if scale.integer is not None:
        integers = b.convert(load_integers(b, form, scale.integer, block, 0, scale.integer.count), "f32")
        factors = b.mul(factors, b.splat(integers, count) if scale.integer.count < count else integers)
    if row is not None:
        factors = b.mul(factors, b.splat(row, count) if count > 1 else row)
    b.store(factors, scratch, 0, align=4)
    return count


def emit_decode_block(
    b: Builder,
    form: NormalForm,
    looks_up: bool,
    block: Value,
    to: Value,
    scales: Value,
    offsets: Value,
    row: Value | None = None,
) -> None:
    """Write a block of the file as f32 numbers; `scales` and `offsets` are scratch for its factors."""
    for start, value in decoded_block(b, form, looks_up, block, scales, offsets, row):
        b.store(value, to, 4 * start, align=4)


def decoded_block(
    b: Builder,
    form: NormalForm,
    looks_up: bool,
    block: Value,
    scales: Value,
    offsets: Value,
    row: Value | None = None,
) -> Iterator[tuple[int, Value]]:
    """The numbers of a block of the file, `CHUNK` f32 lanes at a time, with the place of the first."""
    assert form.code is not None and form.scale is not None
    vector = Type("f32", CHUNK)
    scale_count = block_factors(b, form, form.scale, block, scales, row)
    offset_count = block_factors(b, form, form.offset, block, offsets, row) if form.offset is not None else 1
    for start in range(0, form.block, CHUNK):
        codes = decoded_codes(b, form, looks_up, block, start)
        scale = b.load_splat(vector, scales, start * scale_count // form.block * 4)
        value = b.mul(scale, b.convert(codes, "f32"))
        if form.offset is not None:
            value = b.add(value, b.load_splat(vector, offsets, start * offset_count // form.block * 4))
        yield start, value


def decoded_codes(b: Builder, form: NormalForm, looks_up: bool, block: Value, start: int) -> Value:
    """`CHUNK` codes of a block of the file from number `start` on, as the signed i32 that scales multiply."""
    bytes = load_codes(b, form, block, start, CHUNK)
    if form.table is not None:
        return look_up_bytes(b, looks_up, form.table, bytes)
    if form.multiplier == 1 and form.zero_of_code == 128:
        return b.convert(b.bitxor(bytes, -128), "i32")
    codes = b.convert(bytes, "i32", signed=False)
    if form.multiplier != 1:
        codes = b.mul(codes, form.multiplier)
    return b.sub(codes, form.zero_of_code) if form.zero_of_code else codes
