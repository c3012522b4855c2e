"""The sums of a tile for weights stored as floats: one fused multiply-add per element and column."""

from __future__ import annotations

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.floats import FLOAT_BYTES
from lumen_core.quant.layout import ActivationLayout, WeightLayout
from lumen_core.schedule.spread import Spread
from lumen_core.schedule.weights import DotPlan, WeightReader, load_float
from lumen_core.target import Target


class FloatTile:
    """One row group times `columns` columns of a panel."""

    def __init__(
        self,
        builder: Builder,
        layout: WeightLayout,
        activation: ActivationLayout,
        target: Target,
        columns: int,
    ):
        self.builder = builder
        self.layout = layout
        self.activation = activation
        self.target = target
        self.columns = columns
        self.vector = Type("f32", layout.rows)
        self.reader = WeightReader(builder, layout, DotPlan("plain"), target)

    def sums(self, weights: Value, panel: Value, column: Value, length: Value) -> list[Value]:
        """The sums over a whole row: of every column from `column` on, a vector of rows."""
        b, layout, form = self.builder, self.layout, self.layout.form
        panel = b.offset(panel, b.mul(column, 4))
        if form.scale is None:
            return self.plain(weights, panel, length)
        blocks = b.div(length, form.block)
        scales = b.offset(weights, b.mul(blocks, layout.code_bytes))
        with b.loop(0, blocks, 1, [b.constant(self.vector, 0.0)] * self.columns) as loop:
            codes = b.offset(weights, b.mul(loop.index, layout.code_bytes))
            meeting = b.offset(panel, b.mul(loop.index, 4 * self.activation.columns * form.block))
            found = self.plain(codes, meeting, b.i64(form.block))
            base = b.offset(scales, b.mul(loop.index, layout.scale_bytes))
            factor = self.reader.factor(form.scale, self.reader.floats(base), 1.0)
            loop.next(*(b.fma(part, factor, total) for part, total in zip(found, loop.values, strict=True)))
        return list(loop.results)

    def plain(self, weights: Value, panel: Value, length: Value) -> list[Value]:
        """The sums over `length` elements as they are stored."""
        b, form, m = self.builder, self.layout.form, self.columns
        chains = 4 if m == 1 else 1  # independent sums hide the latency of the additions
        bytes = FLOAT_BYTES[form.element] * self.layout.rows
        stride = 4 * self.activation.columns
        zero = b.constant(self.vector, 0.0)
        whole = b.mul(b.div(length, chains), chains)

        def step(index: Value, sums: list[Value], count: int) -> list[Value]:
            base = b.offset(weights, b.mul(index, bytes))
            columns = b.offset(panel, b.mul(index, stride))
            for chain in range(count):
                row = load_float(b, form.element, self.layout.rows, base, chain * bytes)
                by = Spread(b, self.target, self.vector, columns, chain * stride, m)
                for column in range(m):
                    place = chain * m + column
                    sums[place] = b.fma(row, by[column], sums[place])
            return sums

        with b.loop(0, whole, chains, [zero] * (m * chains)) as main:
            main.next(*step(main.index, list(main.values), chains))
        with b.loop(whole, length, 1, main.results) as rest:
            rest.next(*step(rest.index, list(rest.values), 1))
        sums = list(rest.results)
        if chains == 1:
            return sums
        return [b.add(b.add(sums[0], sums[1]), b.add(sums[2], sums[3]))]
