"""How the integer total of a sub-block becomes part of a column's sum: three ways.

A total is converted and multiplied by its scales; that is right everywhere. Where the machine converts
slowly, most totals need no conversion. If a block has one float scale, its totals stay integers until the
block ends. If a sub-block has a scale of few bits, a total starts as the bits of a large float, so that its
bits are a float all along, and the multiplication takes the large number off again, exactly.
"""

from __future__ import annotations

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.floats import SIGNIFICAND
from lumen_core.quant.layout import ActivationLayout, WeightLayout
from lumen_core.quant.normal_form import Scale
from lumen_core.schedule.weights import DotPlan, WeightReader
from lumen_core.target import Target

_LARGE = 12582912.0  # 1.5 * 2**23: the floats around it are integers, for 2**22 to both sides
_LARGE_BITS = 0x4B400000
_DOT = 127 * 255  # a product of two bytes is no larger, whatever their signs


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

    def prepare(self, scale: Value, part: int) -> Value:
        """A scale as `add` takes it, for part `part` of the rows."""
        return scale

    def start(self, seed: Value | None) -> Value:
        """What the dot products of a sub-block are added to."""
        return self.builder.constant(self.lanes, 0) if seed is None else seed

    def add(self, sum: Value, total: Value, scale: Value, by: Value | None, part: int) -> Value:
        """The sum with a total of part `part` in it; `by` scales a sub-block's activations, if it has one."""
        b = self.builder
        return b.fma(b.convert(total, "f32"), scale if by is None else b.mul(scale, by), sum)

    def of_block(self, sum: Value, factor: Value) -> Value:
        """A sum of a block as floats; `factor` scales the whole block."""
        return sum


class IntegerTotals(Totals):
    """Totals of a whole block add up in integers; its one float scale is applied at the end."""

    @property
    def zero(self) -> Value:
        return self.builder.constant(self.lanes, 0)

    def scale(self, number: Value, factor: Value, base: Value) -> Value:
        scale = self.layout.form.scale
        assert scale is not None
        if scale.integer is None:
            return self.builder.constant(self.lanes, 1)
        if scale.integer.count == 1:
            number = self.builder.i64(0)
        where = self.builder.offset(base, self.builder.mul(number, self.layout.rows))
        return self.reader.integers(scale.integer, where, self.layout.scale_offset)

    def add(self, sum: Value, total: Value, scale: Value, by: Value | None, part: int) -> Value:
        b = self.builder
        return b.add(sum, total if scale.literal == 1 else b.mul(total, scale))

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
        # What a multiply-add overwrites is read from memory for each of many columns: a copy of a register
        # would take the place of a multiplication, and the register.
        self._large: Value = builder.constant(self.lanes, _LARGE_BITS)
        self._taken: dict[int, Value] = {}
        if columns > 1:
            self._large = self._kept(self._large)
            self._taken = {part: builder.stack(4 * layout.rows) for part in range(layout.parts)}

    def prepare(self, scale: Value, part: int) -> Value:
        taken = self.builder.mul(scale, -_LARGE)
        if self.columns > 1:
            self.builder.store(taken, self._taken[part], align=4 * self.layout.rows)
        else:
            self._taken[part] = taken
        return scale

    def start(self, seed: Value | None) -> Value:
        return self._read(self.lanes, self._large)

    def add(self, sum: Value, total: Value, scale: Value, by: Value | None, part: int) -> Value:
        b = self.builder
        product = b.fma(b.bitcast(total, self.vector), scale, self._read(self.vector, self._taken[part]))
        return b.add(sum, product) if by is None else b.fma(product, by, sum)

    def _kept(self, value: Value) -> Value:
        where = self.builder.stack(4 * self.layout.rows)
        self.builder.store(value, where, align=4 * self.layout.rows)
        return where

    def _read(self, type: Type, held: Value) -> Value:
        if self.columns == 1:
            return held
        return self.builder.load(type, held, align=4 * self.layout.rows, again=True)

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
