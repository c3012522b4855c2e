"""Reading what a declaration computes of a block: trees of integers, their tables, and stored floats.

In: nodes of the normal form and the address of a block in the file. Out: their values in registers. Used
where speed is not everything: when weights are packed and when single rows are decoded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lumen_core.errors import LumenBug
from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.floats import is_small, plain_codes, small_floats
from lumen_core.quant.integers import BitField, Combined, Integers, Joined, Lookup, Table
from lumen_core.quant.normal_form import FloatField, NormalForm
from lumen_core.schedule.blocks import load_bits

_BINARY = {
    "&": "bitand",
    "|": "bitor",
    "^": "bitxor",
    "<<": "shl",
    ">>": "sar",
    "+": "add",
    "-": "sub",
    "*": "mul",
}


def load_codes(b: Builder, form: NormalForm, block: Value, start: int, lanes: int) -> Value:
    """Codes start .. start + lanes as unsigned i8 lanes (those of a bit field count from its lowest)."""
    assert form.code is not None
    if isinstance(form.code, BitField):
        return load_bits(b, form, form.code, block, start, lanes)
    return b.convert(load_integers(b, form, form.code, block, start, lanes), "i8")


def load_integers(
    b: Builder, form: NormalForm, node: Integers, block: Value, start: int, lanes: int
) -> Value:
    """Integers start .. start + lanes of a node, as i32 lanes."""
    match node:
        case BitField():
            return _field(b, form, node, block, start, lanes)
        case Lookup():
            dimension = node.table.dimension
            first, inside = divmod(start, dimension)
            count = max(1, lanes // dimension)
            index = load_integers(b, form, node.index, block, first, count)
            return look_up(b, node.table, index, inside, min(dimension, lanes))
        case Joined():
            parts, before = [], 0
            for part in node.parts:
                low, high = max(start, before), min(start + lanes, before + part.count)
                if low < high:
                    parts.append(load_integers(b, form, part, block, low - before, high - low))
                before += part.count
            return joined(b, parts)
        case Combined():
            left = _repeated(b, form, node.left, node.count, block, start, lanes)
            method = getattr(b, _BINARY[node.operator])
            if isinstance(node.right, int):
                return method(left, node.right)
            return method(left, _repeated(b, form, node.right, node.count, block, start, lanes))


def _repeated(
    b: Builder, form: NormalForm, node: Integers, count: int, block: Value, start: int, lanes: int
) -> Value:
    """Lanes of a node whose integers stand for `count`, each for a group."""
    each = count // node.count
    if each == 1:
        return load_integers(b, form, node, block, start, lanes)
    first, last = start // each, (start + lanes - 1) // each
    values = load_integers(b, form, node, block, first, last - first + 1)
    if values.type.lanes == 1:
        return b.splat(values, lanes)
    return b.shuffle(values, None, [(start + lane) // each - first for lane in range(lanes)])


def _field(b: Builder, form: NormalForm, field: BitField, block: Value, start: int, lanes: int) -> Value:
    """A field of any width: bytes of it, put together."""
    result: Value | None = None
    for low in range(0, field.width, 8):
        part = BitField(tuple(source[low : low + 8] for source in field.sources))
        if all(bit < 0 for source in part.sources[start : start + lanes] for bit in source):
            continue
        bytes = b.convert(load_bits(b, form, part, block, start, lanes), "i32", signed=False)
        bytes = b.shl(bytes, low)
        result = bytes if result is None else b.bitor(result, bytes)
    if result is None:
        result = b.constant(Type("i32", lanes), 0)
    if field.signed:
        result = b.bitxor(result, 1 << (field.width - 1))
    return b.add(result, field.low) if field.low else result


def look_up(b: Builder, table: Table, index: Value, inside: int, width: int) -> Value:
    """Elements inside .. inside + width of the table's row for every lane of `index`, as i32 lanes."""
    array = table.array
    low, high = int(array.min()), int(array.max())
    dtype = "<i1" if low >= -128 and high <= 127 else "<u1" if low >= 0 and high <= 255 else "<i2"
    element = "i16" if dtype == "<i2" else "i8"
    size = Type(element).bytes
    data = b.data(array.astype(dtype).tobytes())
    rows = []
    for lane in range(index.type.lanes):
        place = b.extract(index, lane) if index.type.lanes > 1 else index
        where = b.mul(b.convert(place, "i64"), size * table.dimension)
        row = b.load(Type(element, width), b.offset(data, where), size * inside)
        rows.append(row)
    return b.convert(joined(b, rows), "i32", signed=dtype != "<u1")


def look_up_bytes(b: Builder, native: bool, table: Sequence[int], index: Value) -> Value:
    """table[index] for i8 lanes, as i32 lanes; `native`: the target has an instruction for so many lanes."""
    if native:
        return b.convert(b.look_up(table, index), "i32")
    wide = b.convert(index, "i32", signed=False)
    return look_up(b, Table.of("table", np.array(table)), wide, 0, 1)


def joined(b: Builder, parts: list[Value]) -> Value:
    """Lanes of the parts, one after another."""
    if len(parts) == 1:
        return parts[0]
    lanes = sum(part.type.lanes for part in parts)
    if all(part.type.lanes == 1 for part in parts):
        vector = b.constant(Type(parts[0].type.element, lanes), 0)
        for lane, part in enumerate(parts):
            vector = b.insert(vector, part, lane)
        return vector
    while len(parts) > 1:
        if len({part.type.lanes for part in parts}) > 1 or len(parts) % 2:
            raise LumenBug("parts of different lengths cannot be joined")
        parts = [
            b.shuffle(low, high, range(2 * low.type.lanes))
            for low, high in zip(parts[::2], parts[1::2], strict=True)
        ]
    return parts[0]


def load_stored_float(b: Builder, form: NormalForm, field: FloatField, block: Value, place: int) -> Value:
    """Float number `place` of a field as an integer of its bits, as kernels read them."""
    bits, codes = Type(f"i{8 * field.bytes}"), plain_codes(field.element) if is_small(field.element) else None
    if codes is not None:
        code = load_integers(b, form, field.source, block, place, 1)
        return b.load(bits, b.offset(b.data(codes.tobytes()), b.convert(code, "i64")))
    if field.whole:
        return b.load(bits, block, field.offset + place * field.bytes)
    return b.convert(load_integers(b, form, field.source, block, place, 1), bits.element)


def load_float_value(b: Builder, form: NormalForm, field: FloatField, block: Value, place: int) -> Value:
    """Float number `place` of a field as f32."""
    if is_small(field.element):
        code = load_integers(b, form, field.source, block, place, 1)
        with np.errstate(over="ignore"):
            numbers = (small_floats(field.element) * field.factor).astype("<f4")
        return b.load(Type("f32"), b.offset(b.data(numbers.tobytes()), b.mul(b.convert(code, "i64"), 4)))
    raw = load_stored_float(b, form, field, block, place)
    if field.element == "f32":
        return b.bitcast(raw, Type("f32"))
    if field.element == "f16":
        # One lane of several: alone it would wait, on some machines, for what its register held before.
        lanes = b.insert(b.constant(Type("i16", 8), 0), raw, 0)
        return b.extract(b.convert(b.bitcast(lanes, Type("f16", 8)), "f32"), 0)
    return b.bitcast(b.shl(b.convert(raw, "i32", signed=False), 16), Type("f32"))


def load_row_factor(b: Builder, form: NormalForm, row: Value) -> Value:
    """What multiplies all weights of the row that starts at an address, f32."""
    assert form.row is not None
    header = b.offset(row, -form.block_bytes)  # where a complete block would begin
    factor: Value | None = None
    for field in form.row.floats:
        value = load_float_value(b, form, field, header, 0)
        value = b.div(b.f32(1.0), value) if field.inverse else value
        factor = value if factor is None else b.mul(factor, value)
    assert factor is not None
    return factor
