"""Reading packed weights inside a kernel: operand vectors of codes, and the scales beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, reduce
from itertools import accumulate
from typing import NamedTuple, TypeAlias

from lumen_core.errors import LumenBug, UnsupportedFormatError
from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.floats import is_small
from lumen_core.quant.integers import Integers, byte_bias
from lumen_core.quant.layout import ALIGNMENT, WeightLayout
from lumen_core.quant.normal_form import NormalForm, Scale
from lumen_core.target import Target

Bits: TypeAlias = tuple[Value, int, int]  # bytes, and the bits of each: the first, how many


@dataclass(frozen=True)
class DotPlan:
    """How the codes of a format enter the target's byte dot product.

    The dot multiplies weight bytes with signed activations. With v = code - zero:
    plain      u = code, no zero point
    seeded     u = code << shift, so that the zero point is 128; the accumulator starts at -128 * sum(q)
               (shifted right by what `shift` lacks to 8 bits when the target cannot take large bytes)
    signed     v << shift, `turned`, or what the table holds
    corrected  u = code (`turned`: less half its range); -zero * scale * sum(q) is added as a float

    left    what the bytes are for the dot product: "unsigned", "signed", "small" where that is the same, or
            "magnitude": bytes whose zero is 128, |u - 128| enters and the sign moves to the activation
    chain   dot products whose sums of pairs fit 16 bits (0: the target has a dot product of its own)
    turned  codes are packed with their highest bit turned, which makes it the sign of a signed byte
    table   what enters for each code instead of the code; zero points are then free to choose
    """

    kind: str
    shift: int = 0
    seed_shift: int = 0
    left: str = "unsigned"
    chain: int = 0
    turned: bool = False
    table: tuple[int, ...] | None = None

    def zero(self, form: NormalForm) -> int:
        """The zero point of the bytes as they enter the dot product (for `corrected`)."""
        signed = self.turned or self.left == "magnitude"
        return form.zero_of_code - (form.multiplier << (form.bits - 1) if signed else 0)

    @staticmethod
    def choose(form: NormalForm, target: Target) -> DotPlan:
        """Pick the cheapest way that provably never overflows on `target`; raises UnsupportedFormatError."""
        if form.table is not None:
            return DotPlan._with_table(form, target)
        largest = (1 << form.bits) - 1
        zero, multiplier = form.zero_of_code, form.multiplier
        centered = multiplier == 1 and zero == 1 << (form.bits - 1)
        if target.find("dot4_s8s8") is not None:
            if centered:
                return DotPlan("signed", 8 - form.bits, left="signed", turned=True)
            if largest <= 127:
                return DotPlan("corrected" if zero else "plain", left="small")
            if target.find("dot4_u8s8") is None:
                return DotPlan("corrected", left="signed", turned=True)
        bound, pairs = 255, False
        if target.find("dot4_u8s8") is None:
            row = target.find("maddubs")
            if row is None:
                return DotPlan._widening(form, target, largest, centered)
            bound, pairs = row.bound, True
        chain = _chain(largest) if pairs else 0
        if zero == 0 and largest <= bound:
            return DotPlan("plain", chain=chain)
        if _is_power(zero) and zero <= 128 and _is_power(multiplier) and largest * multiplier <= bound:
            doubled = multiplier.bit_length() - 1
            lacking = 8 - zero.bit_length()
            if not pairs and largest * multiplier << lacking <= bound:
                return DotPlan("seeded", doubled + lacking, 0)
            # The smaller the bytes, the more pairs of them add up in 16 bits.
            return DotPlan("seeded", doubled, lacking, chain=_chain(largest * multiplier) if pairs else 0)
        if largest <= bound:
            return DotPlan("corrected", chain=chain)
        assert bound >= 128, f"{target.name} multiplies no bytes of a magnitude of 128"
        return DotPlan("plain" if centered else "corrected", left="magnitude")

    @staticmethod
    def _widening(form: NormalForm, target: Target, largest: int, centered: bool) -> DotPlan:
        """Products of 16 bits, summed in pairs and over as many k-groups as provably fit."""
        if target.find("widen_pairs") is None:
            raise LumenBug(f"target {target.name} has no byte dot product")
        if largest <= 127:
            chain = _chain(largest)
            if centered:
                return DotPlan("seeded", 0, 8 - form.bits, "small", chain)
            return DotPlan("corrected" if form.zero_of_code else "plain", left="small", chain=chain)
        # 2 * 127 * 128 fits
        return DotPlan("signed" if centered else "corrected", left="signed", chain=1, turned=True)

    @staticmethod
    def _with_table(form: NormalForm, target: Target) -> DotPlan:
        assert form.table is not None
        if target.find("lookup16") is None:
            raise UnsupportedFormatError(f"{form.name}: {target.name} has no instruction that looks up bytes")
        low, high = min(form.table), max(form.table)
        if target.find("dot4_s8s8") is not None:
            return DotPlan("signed", left="signed", table=form.table)
        bound, pairs = 255, False
        if target.find("dot4_u8s8") is None:
            row = target.find("maddubs")
            if row is None:  # products of 16 bits
                chain = _chain(max(-low, high, 1))
                return DotPlan("signed", left="signed", chain=chain, table=form.table)
            bound, pairs = row.bound, True
        if low >= 0 and high <= bound:
            return DotPlan("plain", chain=_chain(high) if pairs else 0, table=form.table)
        for lacking in sorted(range(8), reverse=pairs):  # with pairs the smallest bytes
            zero = 128 >> lacking
            if low + zero >= 0 and high + zero <= bound:
                chain = _chain(high + zero) if pairs else 0
                table = tuple(value + zero for value in form.table)
                return DotPlan("seeded", 0, lacking, chain=chain, table=table)
        return DotPlan("plain", left="magnitude", table=tuple(value + 128 for value in form.table))


def _chain(largest: int) -> int:
    """Dot products of bytes up to `largest` with -127..127 whose sums of pairs add up in 16 bits."""
    return int(0x7FFF // (2 * 127 * max(largest, 1)))


def _is_power(value: int) -> bool:
    return value > 0 and not value & value - 1


class WeightReader:
    """Emits the loads of one block of a row group: operands from its codes, factors from its scales."""

    def __init__(
        self, builder: Builder, layout: WeightLayout, plan: DotPlan, target: Target, matrices: bool = False
    ):
        """`matrices`: bits may be moved by matrices of bits, which want registers of their own."""
        self.builder = builder
        self.layout = layout
        self.plan = plan
        self.target = target
        self.lanes = Type("i32", layout.rows)
        bytes = f"<{4 * layout.rows} x i8>"
        types = (bytes, bytes, f"<{layout.rows // 2} x i64>")
        self._matrices = matrices and target.find("bit_matrix", types) is not None
        self._looked_up = 64 if target.find("lookup64", (bytes,) * 3) is not None else 16

    @cached_property
    def _bytes(self) -> Type:
        return Type("i8", 4 * self.layout.rows)

    def operands(self, unit_base: Value, groups: range) -> list[Value]:
        """Operand vectors (as i32 lanes) of k-groups of the unit that starts at `unit_base`."""
        b, step = self.builder, 4 * self.layout.rows
        loaded: dict[int, Value] = {}
        vectors = []
        for group in groups:
            fields = []
            for vector, bit, width in self.layout.codes[group]:
                if vector not in loaded:
                    loaded[vector] = b.load(self._bytes, unit_base, vector * step, align=step)
                fields.append((loaded[vector], bit, width))
            code = self._pushed(fields) if self._pushes(fields) else self._joined(fields)
            if self.plan.table is not None:
                places = b.bitcast(code, self._bytes)
                code = b.bitcast(b.look_up(self.plan.table, places, self._looked_up), self.lanes)
            vectors.append(code)
        return vectors

    def _joined(self, fields: Sequence[Bits]) -> Value:
        """A code of its fields, each moved to its place and masked."""
        place, parts = self.plan.shift + self.layout.form.bits, []
        for bytes, bit, width in fields:
            place -= width
            parts.append(self._field(bytes, bit, width, place))
        return reduce(self.builder.bitor, parts)

    def _pushes(self, fields: Sequence[Bits]) -> bool:
        """Tell whether there are fields to push in below others, and instructions for it."""
        above = [*accumulate(width for _, _, width in fields)][:-1]
        types = (f"<{4 * self.layout.rows} x i8>",) * 3
        return bool(above) and all(self.target.find(f"push{width}", types) is not None for width in above)

    def _pushed(self, fields: Sequence[Bits]) -> Value:
        """A code that is put together at its bytes' top, each field pushed in below those before it."""
        b, above, code = self.builder, 0, None
        for bytes, bit, width in fields:
            top = b.shl(bytes, 8 - width - bit)
            code = b.instruction(f"push{above}", (code, top), self._bytes) if code is not None else top
            above += width
        assert code is not None
        return self._field(code, 8 - above, above, self.plan.shift)

    def _field(self, bytes: Value, bit: int, width: int, target_bit: int) -> Value:
        """Bits bit..bit+width of every byte, moved to target_bit; the rest zero."""
        b = self.builder
        shift = target_bit - bit
        if width == 8:
            return b.bitcast(bytes, self.lanes)
        mask = ((1 << width) - 1) << target_bit
        if shift and self._matrices:
            # Row i of the matrix chooses bit i of the result; its highest byte is row 0.
            rows = sum(1 << 8 * (7 - target_bit - own) + bit + own for own in range(width))
            matrix = b.constant(Type("i64", self.layout.rows // 2), rows - (rows >> 63 << 64))
            return b.bitcast(b.instruction("bit_matrix", (bytes, matrix), self._bytes), self.lanes)
        # Some machines shift no bytes: shift 16-bit lanes, the mask removes what crossed over.
        alone = self.target.byte_shifts
        moved = bytes if alone else b.bitcast(bytes, Type("i16", 2 * self.layout.rows))
        if shift > 0:
            moved = b.shl(moved, shift)
        elif shift < 0:
            moved = b.shr(moved, -shift)
        if alone and mask == (0xFF << shift & 0xFF if shift > 0 else 0xFF >> -shift):
            return b.bitcast(moved, self.lanes)
        moved = b.bitcast(moved, self._bytes)
        signed_mask = mask - 256 if mask > 127 else mask
        moved = b.bitand(moved, signed_mask)
        return b.bitcast(moved, self.lanes)

    def floats(self, base: Value) -> dict[str, Value]:
        """The float fields that the whole block shares, one f32 lane a row."""
        b, rows = self.builder, self.layout.rows
        found = {}
        for field in self.layout.floats:
            if field.count == 1:
                where = self.layout.float_offsets[field.name]
                found[field.name] = load_float(b, field.element, rows, base, where)
        return found

    def factor(self, scale: Scale, floats: dict[str, Value], extra: float) -> Value:
        """unit * product(floats) that the whole block shares, times `extra`."""
        b = self.builder
        value: Value | None = None
        for field in scale.floats:
            if field.count > 1:
                continue
            value = floats[field.name] if value is None else b.mul(value, floats[field.name])
        constant = scale.unit * extra
        if value is None:
            return b.constant(Type("f32", self.layout.rows), constant)
        return value if constant == 1 else b.mul(value, constant)

    def sub_factor(self, scale: Scale, factor: Value, base: Value, number: Value, where: int) -> Value:
        """`factor` times what scales sub-block `number` alone; its integers lie at byte offset `where`."""
        b, rows = self.builder, self.layout.rows
        if scale.count == 1:
            number = b.i64(0)
        for field in scale.floats:
            if field.count > 1:
                place = b.offset(base, b.mul(number, field.bytes * rows))
                own = load_float(b, field.element, rows, place, self.layout.float_offsets[field.name])
                factor = own if factor.literal == 1 else b.mul(factor, own)
        if scale.integer is None:
            return factor
        if scale.integer.count == 1:
            number = b.i64(0)
        integers = self.integers(scale.integer, b.offset(base, b.mul(number, rows)), where)
        return b.mul(factor, b.convert(integers, "f32"))

    def integers(self, field: Integers, base: Value, where: int) -> Value:
        """The packed integers at byte offset `where`, one i32 lane a row."""
        b, bias = self.builder, byte_bias(field)
        rows, signed = self.layout.rows, field.low < bias
        if self.target.lane_operands and rows == 4 and not signed:
            # One look-up in place of two widenings: a place beyond the table gives 0.
            four = b.load(self._bytes, base, where, align=1)
            places = [lane // 4 if lane % 4 == 0 else -1 for lane in range(16)]
            index = b.vector_constant(self._bytes, places)
            wide = b.bitcast(b.instruction("lookup16", (four, index), self._bytes), self.lanes)
        else:
            wide = b.convert(b.load(Type("i8", rows), base, where, align=1), "i32", signed=signed)
        return b.add(wide, bias) if bias else wide


class Block(NamedTuple):
    """Where a block of a row group lies: its scales, and its codes `inside` bytes behind a pointer.

    `begin` is where it would begin without spans.
    """

    begin: Value
    codes: Value
    inside: int
    scales: Value


def emit_places(b: Builder, layout: WeightLayout, group: Value, block: Value) -> tuple[Value, Value]:
    """Where the codes and the scales of a block of the row group at `group` lie: `WeightLayout.places`."""
    found = emit_block(b, layout, group, block)
    return b.offset(found.codes, found.inside), found.scales


def emit_block(b: Builder, layout: WeightLayout, group: Value, block: Value) -> Block:
    """Where a block of the row group at `group` lies."""
    begin = b.offset(group, b.mul(block, layout.block_bytes))
    if layout.span == 1:
        return Block(begin, begin, layout.scale_bytes, begin)
    own = b.rem(block, layout.span)
    start = b.offset(group, b.mul(b.div(block, layout.span), layout.span * layout.block_bytes))
    codes = b.offset(start, b.mul(own, layout.code_bytes))
    return Block(begin, codes, layout.span_scale_bytes, b.offset(start, b.mul(own, layout.scale_bytes)))


def emit_span(b: Builder, layout: WeightLayout, group: Value, first: Value) -> list[Block]:
    """The same for every block of a whole span that begins with block `first`."""
    start = b.offset(group, b.mul(first, layout.block_bytes))
    return [
        Block(
            b.offset(start, number * layout.block_bytes),
            start,
            layout.span_scale_bytes + number * layout.code_bytes,
            b.offset(start, number * layout.scale_bytes),
        )
        for number in range(layout.span)
    ]


def emit_blocks_bytes(b: Builder, layout: WeightLayout, blocks: Value) -> Value:
    """`WeightLayout.blocks_bytes` for a number of blocks known at run time."""
    if layout.form.block == 1 and layout.run > 1:
        blocks = b.mul(b.div(b.add(blocks, layout.run - 1), layout.run), layout.run)
    spans = b.div(b.add(blocks, layout.span - 1), layout.span)
    return b.add(b.mul(blocks, layout.code_bytes), b.mul(spans, layout.span_scale_bytes))


def emit_group_bytes(b: Builder, layout: WeightLayout, blocks: Value) -> Value:
    """`WeightLayout.group_bytes` for a number of blocks known at run time."""
    bytes = b.add(emit_blocks_bytes(b, layout, blocks), layout.row_bytes)
    return b.bitand(b.add(bytes, ALIGNMENT - 1), -ALIGNMENT)


def load_float(b: Builder, element: str, lanes: int, base: Value, where: Value | int) -> Value:
    """Load floats of a storage element type as f32 lanes; those of one byte in units of `KERNEL_UNITS`."""
    if element == "f32":
        return b.load(Type("f32", lanes), base, where, align=4)
    if element == "f16":
        return b.convert(b.load(Type("f16", lanes), base, where, align=2), "f32")
    if element == "e8m0":  # the exponent of an f32; 2^-127, whose exponent is 0, has the first bit behind it
        exponent = b.convert(b.load(Type("i8", lanes), base, where, align=1), "i32", signed=False)
        return b.bitcast(b.maximum(b.shl(exponent, 23), 1 << 22), Type("f32", lanes))
    if is_small(element):
        sign = element == "e4m3"
        wide = b.convert(b.load(Type("i8", lanes), base, where, align=1), "i16", signed=sign)
        wide = b.shl(wide, 8 if element == "e5m2" else 7)  # exponent and mantissa of 4 and 3 bits lie lower
        wide = b.bitand(wide, -0x4080) if sign else wide
        return b.convert(b.bitcast(wide, Type("f16", lanes)), "f32")
    raw = b.load(Type("i16", lanes), base, where, align=2)
    return b.bitcast(b.shl(b.convert(raw, "i32", signed=False), 16), Type("f32", lanes))
