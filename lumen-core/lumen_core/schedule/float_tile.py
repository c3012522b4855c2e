"""The sums of a tile for weights stored as floats: products of f32, or of pairs of bf16."""

from __future__ import annotations

from collections.abc import Sequence

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.floats import FLOAT_BYTES
from lumen_core.quant.layout import ActivationLayout, WeightLayout
from lumen_core.schedule.spread import Spread
from lumen_core.schedule.weights import DotPlan, WeightReader, emit_places, fetch_ahead, load_float
from lumen_core.target import Target

UNROLL = 4  # elements or pairs of a loop iteration


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
        # Bytes of what one vector of the activations meets.
        self.bytes = layout.run * FLOAT_BYTES[layout.form.element] * layout.rows
        self.reader = WeightReader(builder, layout, DotPlan("plain"), target)

    def sums(self, groups: Sequence[Value], panel: Value, column: Value, length: Value) -> list[Value]:
        """The sums over a whole row: of every column from `column` on, a vector of rows."""
        (weights,) = groups
        b, layout, form = self.builder, self.layout, self.layout.form
        panel = b.offset(panel, b.mul(column, 4))
        if form.scale is None:
            return self.plain(weights, panel, length)
        blocks = b.div(length, form.block)
        with b.loop(0, blocks, 1, [b.constant(self.vector, 0.0)] * self.columns) as loop:
            codes, base = emit_places(b, layout, weights, loop.index)
            meeting = b.offset(panel, b.mul(loop.index, self.activation.block_bytes * form.block))
            found = self.plain(codes, meeting, b.i64(form.block))
            factor = self.reader.factor(form.scale, self.reader.floats(base), 1.0)
            loop.next(*(b.fma(part, factor, total) for part, total in zip(found, loop.values, strict=True)))
        return list(loop.results)

    def plain(self, weights: Value, panel: Value, length: Value) -> list[Value]:
        """The sums over `length` elements as they are stored."""
        b, m, run = self.builder, self.columns, self.layout.run
        # Independent sums hide the latency of the additions; every tile of a panel adds in the same order.
        chains = UNROLL if m == 1 else 1
        count = b.div(b.add(length, run - 1), run)
        whole = b.mul(b.div(count, UNROLL), UNROLL)
        zeros = [b.constant(self.vector, 0.0)] * (m * chains)
        with b.loop(0, whole, UNROLL, zeros) as main:
            fetch_ahead(b, b.offset(weights, b.mul(main.index, self.bytes)), UNROLL * self.bytes)
            sums = list(main.values)
            for number in range(UNROLL):
                own = slice(number % chains * m, (number % chains + 1) * m)
                sums[own] = self.step(weights, panel, b.add(main.index, number), sums[own])
            main.next(*sums)
        with b.loop(whole, count, 1, main.results) as rest:
            rest.next(*self.step(weights, panel, rest.index, list(rest.values[:m])), *rest.values[m:])
        sums = list(rest.results)
        return [b.add(b.add(sums[0], sums[1]), b.add(sums[2], sums[3]))] if m == 1 else sums

    def step(self, weights: Value, panel: Value, index: Value, sums: list[Value]) -> list[Value]:
        """Add the products of vector `index` of the weights."""
        b, form = self.builder, self.layout.form
        base, where = b.offset(weights, b.mul(index, self.bytes)), b.mul(index, self.activation.block_bytes)
        columns = b.offset(panel, where)
        if self.layout.run == 2:
            pairs = Type("i32", self.layout.rows)
            row, by = b.load(pairs, base, 0, align=4), Spread(b, self.target, pairs, columns, 0, self.columns)
            return [b.dot2(total, row, by[column]) for column, total in enumerate(sums)]
        row = load_float(b, form.element, self.layout.rows, base, 0)
        by = Spread(b, self.target, self.vector, columns, 0, self.columns)
        return [b.fma(row, by[column], total) for column, total in enumerate(sums)]
