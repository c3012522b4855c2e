"""What the compiler derives from a format, for people: its normal form and its packed layout, as text."""

from __future__ import annotations

from collections.abc import Iterator

from lumen_core.quant.integers import ZERO, BitField, Combined, Integers, Joined, Lookup
from lumen_core.quant.layout import WeightLayout
from lumen_core.quant.normal_form import FloatField, NormalForm, Scale


def normal_form_text(form: NormalForm) -> str:
    """Return a normal form as a person reads it: its algebra, and where every bit comes from."""
    count = counted(form.block, "weight")
    head = f"{form.name}: {count} in {form.block_bytes} bytes, {form.bits_per_weight:g} bits each"
    if form.header_bytes:
        head += f", and {form.header_bytes} bytes a row"
    row = "" if form.row is None else f"{_factor('row', form.row)} * "
    if form.kind == "float":
        scale = "" if form.scale is None else f"{_factor('scale', form.scale)} * "
        lines = [f"{head}\n  w = {row}{scale}{form.element}, activations {form.activation}"]
        return "\n".join([*lines, *_floats(form, "row", form.row), *_floats(form, "scale", form.scale)])
    assert form.code is not None
    if form.table is not None:
        code = "table[code]"
    else:
        code = _affine(form)
    value = f"{_factor('scale', form.scale)} * {code}"
    if form.offset is not None:
        value += f" + {_factor('offset', form.offset)}".replace("+ -1 * ", "- ")
    if row:
        value = f"{row}({value})" if form.offset is not None else f"{row}{value.removeprefix('1 * ')}"
    lines = [head, f"  w = {value}"]
    lines += [f"  one scale for {form.sub} weights, activations {form.activation}"]
    if form.table is not None:
        lines.append(f"  table: {' '.join(map(str, form.table))}")
    lines += [f"  code: {_range(form.code)}", *_origin(form.code)]
    for name, factor in (("row", form.row), ("scale", form.scale), ("offset", form.offset)):
        lines += _floats(form, name, factor)
        if factor is not None and factor.integer is not None:
            lines += [f"  {name} integer: {_range(factor.integer)}", *_origin(factor.integer)]
    return "\n".join(lines)


def _floats(form: NormalForm, name: str, scale: Scale | None) -> Iterator[str]:
    for field in scale.floats if scale is not None else ():
        yield f"  {name} float {field.name}: {_stored(form, field)}"


def _affine(form: NormalForm) -> str:
    multiplier = "" if form.multiplier == 1 else f"{form.multiplier} * "
    zero = f" - {form.zero}" if form.zero > 0 else f" + {-form.zero}" if form.zero else ""
    return f"({multiplier}code{zero})" if zero else f"{multiplier}code"


def _stored(form: NormalForm, field: FloatField) -> str:
    if field.offset >= form.block_bytes:
        how = ", which divides" if field.inverse else ""
        return f"{field.element} at byte {field.offset - form.block_bytes} of the row{how}"
    count = f"{field.count} x " if field.count > 1 else ""
    factor = f", times {field.factor:g}" if field.factor != 1 else ""
    if field.whole:
        return f"{count}{field.element} at byte {field.offset}{factor}"
    return f"{count}{field.element}{factor}, bits {_bits(field.source.sources[0])}"


def _factor(name: str, scale: Scale | None) -> str:
    assert scale is not None
    parts = [] if scale.constant == 1 else [f"{scale.constant:g}"]
    parts += [field.name for field in scale.floats]
    parts += [f"{name}[{scale.integer.count}]"] if scale.integer is not None else []
    return " * ".join(parts) or "1"


def counted(count: int, what: str) -> str:
    """`1 weight`, `2 weights`."""
    return f"{count} {what}" if count == 1 else f"{count} {what}s"


def _range(field: Integers) -> str:
    width = f" of {counted(field.width, 'bit')}" if isinstance(field, BitField) else ""
    return f"{counted(field.count, 'integer')}{width}, {field.low} to {field.high}"


def _origin(node: Integers) -> Iterator[str]:
    """How integers are computed, the fields of bits below."""
    if isinstance(node, BitField):
        yield from _places(node)
        return
    fields: list[BitField] = []
    yield f"    computed when packed: {_expression(node, fields)}"
    for number, field in enumerate(fields):
        yield f"    {chr(ord('a') + number)}: {_range(field)}"
        yield from (f"  {line}" for line in _places(field))


def _expression(node: Integers | int, fields: list[BitField]) -> str:
    match node:
        case int():
            return str(node)
        case BitField():
            if node not in fields:
                fields.append(node)
            return chr(ord("a") + fields.index(node))
        case Lookup(table, index):
            return f"{table.name}[{_expression(index, fields)}]"
        case Joined(parts):
            return f"concat({', '.join(_expression(part, fields) for part in parts)})"
        case Combined("-", left, int(right)) if right < 0:
            return f"({_expression(left, fields)} + {-right})"
        case Combined(symbol, left, right):
            return f"({_expression(left, fields)} {symbol} {_expression(right, fields)})"


def _bits(source: tuple[int, ...]) -> str:
    return " ".join("0" if bit == ZERO else f"{bit >> 3}.{bit & 7}" for bit in source)


def _places(field: BitField) -> Iterator[str]:
    """Runs of integers whose every bit moves by a fixed step: `0..31: bits 16.0 16.1, then 8 bits on`."""
    start = 0
    while start < field.count:
        stop, steps = start + 1, None
        while stop < field.count:
            pairs = zip(field.sources[stop - 1], field.sources[stop], strict=True)
            moved = [0 if a == b == ZERO else b - a for a, b in pairs]
            if moved != (steps or moved):
                break
            steps, stop = moved, stop + 1
        bits = _bits(field.sources[start])
        then = f", then {' '.join(map(str, dict.fromkeys(steps)))} bits on" if steps else ""
        yield f"    {start}..{stop - 1}: bits {bits}{then}"
        start = stop


def layout_text(form: NormalForm, rows: int) -> str:
    """Return how one block of `rows` rows lies in packed memory."""
    layout = WeightLayout(form, rows)
    total = layout.block_bytes
    bits = 8 * total / (rows * form.block)
    count = counted(form.block, "weight")
    head = f"{rows} rows x {count} in {total} bytes, {bits:g} bits each"
    last = f"  {layout.row_bytes} bytes behind the last block: what multiplies whole rows, {rows} x f32"
    if form.kind == "float":
        lines = [f"{head}\n  elements as in the file, {rows} rows side by side"]
        lines += [f"  scales: {layout.scale_bytes} bytes, before the elements"] if layout.scale_bytes else []
        return "\n".join(lines + [last] * (form.row is not None))
    lines = [head, f"  codes: {layout.code_bytes} bytes, in units of {layout.unit} weights a row"]
    lines += _code_lines(layout)
    before = "the codes" if layout.span == 1 else f"the codes of {layout.span} blocks, theirs together"
    lines.append(f"  scales: {layout.scale_bytes} bytes, before {before}")
    for field in layout.floats:
        place, each = layout.float_offsets[field.name], field.count * rows
        lines.append(f"    byte {place}: {field.name}, {each} x {field.element}")
    tables = (("scales", form.scale, layout.scale_offset), ("offsets", form.offset, layout.minimum_offset))
    for name, scale, offset in tables:
        if scale is not None and scale.integer is not None:
            lines.append(f"    byte {offset}: integer {name}, {scale.integer.count} x {rows} bytes")
    return "\n".join(lines + [last] * (form.row is not None))


def _code_lines(layout: WeightLayout) -> Iterator[str]:
    """What the vectors of a unit hold."""
    per = 8 // layout.form.bits
    whole = 4 * per * layout.vectors
    each = f"{per} whole codes" if per > 1 else "one whole code"
    vectors = f"{counted(layout.vectors, 'vector')} of {4 * layout.rows} bytes"
    yield f"    {vectors}, {each} in every byte from bit 0 on: weights 0..{whole - 1}"
    for group in range(whole // 4, layout.unit // 4):
        fields = []
        for vector, bit, width in layout.codes[group]:
            bits = f"bits {bit}..{bit + width - 1}" if width > 1 else f"bit {bit}"
            fields.append(f"{bits} of vector {vector}")
        yield f"    weights {4 * group}..{4 * group + 3}: {', '.join(fields)}"
