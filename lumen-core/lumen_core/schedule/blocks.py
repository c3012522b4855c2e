"""A block as it lies in the file: bit fields as vectors, read and written, wherever their bits lie."""

from __future__ import annotations

from collections.abc import Sequence

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.normal_form import ZERO, BitField, NormalForm
from lumen_core.quant.store import pieces


def load_bits(b: Builder, form: NormalForm, field: BitField, block: Value, start: int, lanes: int) -> Value:
    """Integers start .. start + lanes of a field as i8 lanes, unsigned (a signed field minus its lowest)."""
    sources = field.sources[start : start + lanes]
    result: Value | None = None
    position = 0
    while position < field.width:
        width = _run(sources, position)
        if any(source[position] != ZERO for source in sources):
            part = _part(b, form, block, [source[position] for source in sources], width, position)
            result = part if result is None else b.bitor(result, part)
        position += width
    assert result is not None
    return b.bitxor(result, -128 if field.width == 8 else 1 << (field.width - 1)) if field.signed else result


def _run(sources: Sequence[tuple[int, ...]], position: int) -> int:
    """How many bits from `position` on lie side by side in one byte, in every lane."""
    width = 1
    while position + width < len(sources[0]):
        for source in sources:
            first, bit = source[position], source[position + width]
            if first == ZERO or bit != first + width or bit >> 3 != first >> 3:
                return width
        width += 1
    return width


def _part(b: Builder, form: NormalForm, block: Value, bits: list[int], width: int, position: int) -> Value:
    lanes = len(bits)
    bytes = _bytes(b, form, block, [bit >> 3 for bit in bits])
    shifts = [bit & 7 for bit in bits]
    if len(set(shifts)) == 1:
        bytes = b.shr(bytes, shifts[0])
    else:
        wide = b.convert(bytes, "i16", signed=False)
        wide = b.shr(wide, b.vector_constant(Type("i16", lanes), shifts))
        bytes = b.convert(wide, "i8")
    if width < 8:
        bytes = b.bitand(bytes, (1 << width) - 1)
    return b.shl(bytes, position)


def _bytes(b: Builder, form: NormalForm, block: Value, places: list[int]) -> Value:
    """The block's bytes at `places`: one load, a load and a shuffle, or byte by byte."""
    lanes, first = len(places), min(places)
    if places == list(range(first, first + lanes)):
        return b.load(Type("i8", lanes), block, first)
    if max(places) == first:
        return b.splat(b.load(Type("i8"), block, first), lanes)
    size = 1
    while size < max(places) - first + 1:
        size *= 2
    whole = form.block_bytes + (form.header_bytes if form.reads_header else 0)
    if size <= min(64, whole):
        first = min(first, whole - size)
        window = b.load(Type("i8", size), block, first)
        return b.shuffle(window, None, [place - first for place in places])
    vector = b.constant(Type("i8", lanes), 0)
    for lane, place in enumerate(places):
        vector = b.insert(vector, b.load(Type("i8"), block, place), lane)
    return vector


def store_bits(b: Builder, field: BitField, codes: Value, block: Value) -> None:
    """Write the bits of a field of at most 8 bits a code into a block that holds zeros there.

    codes  the bits of every code, a byte each
    """
    everything = b.load(Type("i8", field.count), codes)
    found: dict[tuple[int, ...], Value] = {}
    for low, width, shift, integers, bytes in pieces(field):
        taken, places = (
            tuple(range(rows.start, rows.stop, rows.step))
            if isinstance(rows, slice)
            else tuple(rows.tolist())
            for rows in (integers, bytes)
        )
        part = b.shuffle(everything, None, taken)
        if width < 8:
            part = b.bitand(b.shr(part, low), (1 << width) - 1)
        part = b.shl(part, shift)
        found[places] = b.bitor(found[places], part) if places in found else part
    for places, value in found.items():
        if places == tuple(range(places[0], places[0] + len(places))):
            before = b.load(value.type, block, places[0])
            b.store(b.bitor(before, value), block, places[0])
        else:
            for lane, place in enumerate(places):
                before = b.load(Type("i8"), block, place)
                b.store(b.bitor(before, b.extract(value, lane)), block, place)


class CompleteBlocks:
    """Blocks of rows with what each row stores once behind them, as the normal form numbers their bits."""

    def __init__(self, b: Builder, form: NormalForm):
        self.b = b
        self.form = form
        self.scratch = b.stack(form.block_bytes + form.header_bytes) if form.reads_header else None

    def row(self, row: Value) -> Value:
        """Turn to the row that starts at an address; return where its blocks start."""
        if self.scratch is not None:
            self._copy(row, self.b.offset(self.scratch, self.form.block_bytes), self.form.header_bytes)
        return self.b.offset(row, self.form.header_bytes)

    def block(self, block: Value) -> Value:
        """The address of a block of the row, complete."""
        if self.scratch is None:
            return block
        self._copy(block, self.scratch, self.form.block_bytes)
        return self.scratch

    def _copy(self, source: Value, to: Value, count: int) -> None:
        where = 0
        for size in (64, 32, 16, 8, 4, 2, 1):
            while count - where >= size:
                self.b.store(self.b.load(Type("i8", size), source, where), to, where)
                where += size
