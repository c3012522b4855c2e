"""The sums of a tile for weights stored as floats: one fused multiply-add per element and column."""

from __future__ import annotations

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.layout import ActivationLayout, WeightLayout
from lumen_core.schedule.spread import Spread
from lumen_core.schedule.weights import load_float
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

    def sums(self, weights: Value, panel: Value, column: Value, length: Value) -> list[Value]:
        """The sums over a whole row: of every column from `column` on, a vector of rows."""
        b, form, m = self.builder, self.layout.form, self.columns
        chains = 4 if m == 1 else 1  # independent sums hide the latency of the additions
        bytes = form.block_bytes * self.layout.rows
        panel = b.offset(panel, b.mul(column, 4))
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
