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

_LARGE = 12582912.0  # 1.5 * 2**23: the floats around it are integers, for 2**22 to both sides
_LARGE_BITS = 0x4B400000
_DOT = 127 * 255  # a product of two bytes is no larger, whatever their signs


def integers_as_floats(builder: Builder, lanes: Type) -> tuple[Value, Value]:
    """The bits that an integer sum starts from to be a float all along, and what it has too much then."""
    return builder.constant(lanes, _LARGE_BITS), builder.constant(Type("f32", lanes.lanes), _LARGE)


class Kept:
    """A constant that is overwritten for each column.

    Of many columns it is read from memory for each where every vector unit multiplies: making it anew, or
    copying a register, would take the place of a product. Not where a load takes more than that.
    """

    def __init__(self, builder: Builder, value: Value, target: Target, columns: int):
        self.builder = builder
        self.type = value.type
        in_memory = columns > 1 and target.cheap_loads and not target.spare_units
        self.value = builder.stack(value.type.bytes) if in_memory else value
        if in_memory:
            builder.store(value, self.value, align=value.type.bytes)

    def read(self) -> Value:
        return kept(self.builder, self.type, self.value)


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

    def of_block(self, sum: Value, factor: Value) -> Value:
        """A sum of a block as floats; `factor` scales the whole block."""
        return sum


class IntegerTotals(Totals):
    """Totals of a whole block add up in integers; its one float scale is applied at the end."""

    def __init__(self, builder: Builder, layout: WeightLayout, reader: WeightReader, columns: int):
        super().__init__(builder, layout, reader, columns)
        self._zero = Kept(builder, builder.constant(self.lanes, 0), reader.target, columns)

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

    def of_block(self, sum: Value, factor: Value) -> Value:
        return self.builder.mul(self.builder.convert(sum, "f32"), factor)

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
        self._large = Kept(builder, builder.constant(self.lanes, _LARGE_BITS), reader.target, columns)
        self._places = [builder.stack(self.vector.bytes) for _ in range(layout.parts)] if columns > 1 else []

    @property
    def kinds(self) -> list[Type]:
        return [self.vector, self.vector]

    def factors(self, scale: Value) -> list[Value]:
        return [scale, self.builder.mul(scale, -_LARGE)]

    def held(self, factors: list[Value], part: int) -> list[Value]:
        scale, taken = factors
        if self.columns == 1 or taken.type == PTR:
            return factors
        self.builder.store(taken, self._places[part], align=self.vector.bytes)
        return [scale, self._places[part]]

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
        short = form.scale is not None and _bits(form.scale, form.multiplier) <= 24 - 2
        return short and plan.kind != "seeded" and min(form.sub, 32) * _DOT < 1 << 22


def _bits(scale: Scale, multiplier: int) -> int:
    """Bits of a scale's mantissa, at most."""
    bits = sum(SIGNIFICAND[field.element] for field in scale.floats)
    if scale.integer is not None:
        bits += max(abs(scale.integer.low), abs(scale.integer.high)).bit_length()
    for constant in (scale.unit, multiplier):
        bits += int(abs(float(constant).as_integer_ratio()[0])).bit_length() - 1
    return bits


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
