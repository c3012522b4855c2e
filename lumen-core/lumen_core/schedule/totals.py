"""How the integer total of a sub-block becomes part of a column's sum: three ways.

A total is converted and multiplied by its scales; that is right everywhere. Where the machine converts
slowly, most totals need no conversion. If a block has one float scale, its totals stay integers until the
block ends. If a sub-block has a scale of few bits, a total starts as the bits of a large float, so that its
bits are a float all along, and the multiplication takes the large number off again, exactly.
"""

from __future__ import annotations

from lumen_core.ir.kernel import PTR, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.floats import SIGNIFICAND
from lumen_core.quant.layout import ActivationLayout, WeightLayout
from lumen_core.quant.normal_form import Scale
from lumen_core.schedule.weights import DotPlan, WeightReader
from lumen_core.target import Target

LARGE = 12582912.0  # 1.5 * 2**23: the floats around it are integers, for 2**22 to both sides
LARGE_BITS = 0x4B400000
_DOT = 127 * 255  # a product of two bytes is no larger, whatever their signs


class Kept:
    """A constant that is overwritten for each column.

    It is read from memory for each where every vector unit multiplies: making it anew, or copying a register,
    would take the place of a product. Not where a load takes more than that, or one column loads operands as
    they lie and little else.
    """

    def __init__(self, builder: Builder, value: Value, target: Target, loads: bool):
        """`loads`: loads are what there is too much of."""
        self.builder = builder
        self.type = value.type
        in_memory = target.cheap_loads and not target.spare_units and not loads
        self.value = builder.stack(value.type.bytes) if in_memory else value
        if in_memory:
            builder.store(value, self.value, align=value.type.bytes)

    def read(self) -> Value:
        return kept(self.builder, self.type, self.value)


class Held:
    """Memory for values that are overwritten for each column: one a part of the rows, or none at all."""

    def __init__(self, builder: Builder, type: Type, parts: int):
        self.builder = builder
        self.type = type
        self.places = [builder.stack(type.bytes) for _ in range(parts)]

    def held(self, value: Value, part: int) -> Value:
        """The value as `kept` takes it."""
        if not self.places:
            return value
        self.builder.store(value, self.places[part], align=self.type.bytes)
        return self.places[part]


def kept(builder: Builder, type: Type, held: Value) -> Value:
    """A value, or what lies at an address, read anew."""
    return builder.load(type, held, align=type.bytes, again=True) if held.type == PTR else held


class Totals:
    """Totals are converted, then scaled."""

    def __init__(self, builder: Builder, layout: WeightLayout, reader: WeightReader, columns: int):
        self.builder = builder
        self.layout = layout
        self.reader = reader
        self.columns = columns
        self.lanes = Type("i32", layout.rows)
        self.vector = Type("f32", layout.rows)
        # A total goes on from one sub-block of a piece to the next.
        self.goes_on = False
        self.loads = columns == 1 and layout.form.bits == 8  # there are more of them than of anything else

    @property
    def zero(self) -> Value:
        """The sum of nothing."""
        return self.builder.constant(self.vector, 0.0)

    def scale(self, number: Value, factor: Value, base: Value) -> Value:
        """What scales sub-block `number`; `factor` scales the whole block."""
        scale = self.layout.form.scale
        assert scale is not None
        return self.reader.sub_factor(scale, factor, base, number, self.layout.scale_offset)

    @property
    def kinds(self) -> list[Type]:
        """The types of what `factors` gives."""
        return [self.vector]

    def factors(self, scale: Value) -> list[Value]:
        """What a scale, of a part of the rows, becomes for all totals that it scales."""
        return [scale]

    def held(self, factors: list[Value], part: int) -> list[Value]:
        """Factors as `add` takes them, for part `part` of the rows."""
        return factors

    def start(self, seed: Value | None) -> Value:
        """What the dot products of a sub-block are added to."""
        return self.builder.constant(self.lanes, 0) if seed is None else seed

    def add(self, sum: Value, total: Value, factors: list[Value], by: Value | None) -> Value:
        """The sum with a total in it; `by` scales a sub-block's activations, if it has one."""
        b, scale = self.builder, factors[0]
        return b.fma(b.convert(total, "f32"), scale if by is None else b.mul(scale, by), sum)

    def of_block(self, sum: Value, factor: Value, more: Value | None = None) -> Value:
        """A sum of a block as floats, and `more`; `factor` scales the whole block."""
        return sum if more is None else self.builder.add(sum, more)


class IntegerTotals(Totals):
    """Totals of a whole block add up in integers; its one float scale is applied at the end.

    A total that goes on has all sub-blocks before it in it. Scaled by what a sub-block's scale differs from
    the next one's, they make the same sum (summation by parts), and only the first one starts from zero.
    """

    def __init__(self, builder: Builder, layout: WeightLayout, reader: WeightReader, columns: int):
        super().__init__(builder, layout, reader, columns)
        self.goes_on = columns > 1 and bool(self.kinds) and reader.plan.kind != "seeded"
        self._zero = Kept(builder, builder.constant(self.lanes, 0), reader.target, self.loads)

    @property
    def zero(self) -> Value:
        return self.builder.constant(self.lanes, 0)

    @property
    def kinds(self) -> list[Type]:
        scale = self.layout.form.scale
        return [self.lanes] if scale is not None and scale.integer is not None else []

    def scale(self, number: Value, factor: Value, base: Value) -> Value:
        scale = self.layout.form.scale
        assert scale is not None
        if scale.integer is None:
            return self.builder.constant(self.lanes, 1)
        if scale.integer.count == 1:
            number = self.builder.i64(0)
        where = self.builder.offset(base, self.builder.mul(number, self.layout.rows))
        return self.reader.integers(scale.integer, where, self.layout.scale_offset)

    def factors(self, scale: Value) -> list[Value]:
        return [scale for _ in self.kinds]

    def start(self, seed: Value | None) -> Value:
        return self._zero.read() if seed is None else seed

    def add(self, sum: Value, total: Value, factors: list[Value], by: Value | None) -> Value:
        b = self.builder
        return b.add(sum, b.mul(total, factors[0]) if factors else total)

    def of_block(self, sum: Value, factor: Value, more: Value | None = None) -> Value:
        b, total = self.builder, self.builder.convert(sum, "f32")
        return b.mul(total, factor) if more is None else b.fma(total, factor, more)

    @staticmethod
    def fits(layout: WeightLayout, activation: ActivationLayout) -> bool:
        """Tell whether a block has one float scale on either side, and no sum leaves 32 bits."""
        form, scale = layout.form, layout.form.scale
        if scale is None or activation.group < form.block or any(field.count > 1 for field in scale.floats):
            return False
        integer = scale.integer
        largest = max(abs(integer.low), abs(integer.high)) if integer is not None else 1
        return activation.group > 32 and form.block * _DOT * largest < 1 << 31


class FloatTotals(Totals):
    """Totals are the bits of floats around a large one; total * scale - large * scale is rounded once."""

    def __init__(self, builder: Builder, layout: WeightLayout, reader: WeightReader, columns: int):
        super().__init__(builder, layout, reader, columns)
        self._large = Kept(builder, builder.constant(self.lanes, LARGE_BITS), reader.target, self.loads)
        self._taken = Held(builder, self.vector, layout.parts if columns > 1 else 0)

    @property
    def kinds(self) -> list[Type]:
        return [self.vector, self.vector]

    def factors(self, scale: Value) -> list[Value]:
        return [scale, self.builder.mul(scale, -LARGE)]

    def held(self, factors: list[Value], part: int) -> list[Value]:
        scale, taken = factors
        return factors if taken.type == PTR else [scale, self._taken.held(taken, part)]

    def start(self, seed: Value | None) -> Value:
        return self._large.read()

    def add(self, sum: Value, total: Value, factors: list[Value], by: Value | None) -> Value:
        b, (scale, taken) = self.builder, factors
        product = b.fma(b.bitcast(total, self.vector), scale, kept(b, self.vector, taken))
        return b.add(sum, product) if by is None else b.fma(product, by, sum)

    @staticmethod
    def fits(layout: WeightLayout, plan: DotPlan) -> bool:
        """Tell whether `large * scale` is a float, and no total leaves the range of integers."""
        form = layout.form
        short = form.scale is not None and is_short(form.scale, form.multiplier)
        return short and plan.kind != "seeded" and min(form.sub, 32) * _DOT < 1 << 22


def is_short(scale: Scale, multiplier: int = 1, alone: bool = False) -> bool:
    """Tell whether `LARGE` times a scale is a float; `alone`: without its integers."""
    bits = sum(SIGNIFICAND[field.element] for field in scale.floats)
    if scale.integer is not None and not alone:
        bits += max(abs(scale.integer.low), abs(scale.integer.high)).bit_length()
    for constant in (scale.unit, multiplier):
        bits += int(abs(float(constant).as_integer_ratio()[0])).bit_length() - 1
    return bits <= 24 - 2


def choose_totals(
    builder: Builder,
    layout: WeightLayout,
    activation: ActivationLayout,
    plan: DotPlan,
    target: Target,
    columns: int,
    alone: bool,
) -> Totals:
    """Pick the cheapest way that is exact; `alone`: nothing but scaled totals goes into the sums."""
    reader = WeightReader(builder, layout, plan, target)
    kind: type[Totals] = Totals
    if not target.fast_conversion:
        if alone and IntegerTotals.fits(layout, activation):
            kind = IntegerTotals
        elif FloatTotals.fits(layout, plan):
            kind = FloatTotals
    return kind(builder, layout, reader, columns)
