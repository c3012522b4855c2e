"""The sums of a tile for weights stored as floats: products of f32, or of pairs of bf16."""

from __future__ import annotations

from collections.abc import Sequence

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.floats import FLOAT_BYTES
from lumen_core.quant.layout import ActivationLayout, WeightLayout
from lumen_core.schedule.blocking import Part
from lumen_core.schedule.spread import Spread
from lumen_core.schedule.weights import (
    AHEAD,
    DotPlan,
    WeightReader,
    emit_places,
    fetch_ahead,
    load_float,
)
from lumen_core.target import Target

UNROLL = 4  # elements or pairs of a loop iteration


class FloatTile:
    """`groups` row groups times `columns` columns of a panel.

    It adds up a `part` of the rows, or all. Lines of the weights are asked for that lie so many bytes `ahead`
    of those in use.
    """

    def __init__(
        self,
        builder: Builder,
        layout: WeightLayout,
        activation: ActivationLayout,
        target: Target,
        columns: int,
        groups: int = 1,
        part: Part | None = None,
        ahead: Value | int = AHEAD,
    ):
        self.builder = builder
        self.layout = layout
        self.activation = activation
        self.target = target
        self.columns = columns
        self.groups = groups
        self.part = part
        self.ahead = ahead
        self.vector = Type("f32", layout.rows)
        # Bytes of what one vector of the activations meets.
        self.bytes = layout.run * FLOAT_BYTES[layout.form.element] * layout.rows
        self.reader = WeightReader(builder, layout, DotPlan("plain"), target)

    def sums(self, weights: Sequence[Value], panel: Value, column: Value, length: Value) -> list[Value]:
        """The sums, by row group: of every column from `column` on, a vector of rows."""
        b, layout, form = self.builder, self.layout, self.layout.form
        part = self.part or Part(b.i64(0), length)
        panel = b.offset(panel, b.mul(column, 4))
        if form.scale is None:
            return self.plain(weights, panel, part.start, part.stop)
        first, last = (b.div(bound, form.block) for bound in (part.start, part.stop))
        zeros = [b.constant(self.vector, 0.0)] * (self.groups * self.columns)
        with b.loop(first, last, 1, zeros) as loop:
            meeting = [emit_places(b, layout, group, loop.index) for group in weights]
            columns = b.offset(panel, b.mul(loop.index, self.activation.block_bytes * form.block))
            found = self.plain([codes for codes, _ in meeting], columns, b.i64(0), b.i64(form.block))
            factors = [self.reader.factor(form.scale, self.reader.floats(base), 1.0) for _, base in meeting]
            loop.next(
                *(
                    b.fma(sum, factors[number // self.columns], total)
                    for number, (sum, total) in enumerate(zip(found, loop.values, strict=True))
                )
            )
        return list(loop.results)

    def plain(self, weights: Sequence[Value], panel: Value, start: Value, stop: Value) -> list[Value]:
        """The sums over elements start .. stop as they are stored; `start` begins a vector."""
        b, run = self.builder, self.layout.run
        count = self.groups * self.columns
        # Independent sums hide the latency of the additions; every tile of a panel adds in the same order.
        chains = UNROLL if self.activation.columns == 1 else 1
        first, last = b.div(start, run), b.div(b.add(stop, run - 1), run)
        whole = b.add(first, b.mul(b.div(b.sub(last, first), UNROLL), UNROLL))
        zeros = [b.constant(self.vector, 0.0)] * (count * chains)
        with b.loop(first, whole, UNROLL, zeros) as main:
            for group in weights:
                fetch_ahead(
                    b, b.offset(group, b.mul(main.index, self.bytes)), UNROLL * self.bytes, self.ahead
                )
            sums = list(main.values)
            for number in range(UNROLL):
                own = slice(number % chains * count, (number % chains + 1) * count)
                sums[own] = self.step(weights, panel, b.add(main.index, number), sums[own])
            main.next(*sums)
        with b.loop(whole, last, 1, main.results) as rest:
            rest.next(*self.step(weights, panel, rest.index, list(rest.values[:count])), *rest.values[count:])
        sums = list(rest.results)
        return [b.add(b.add(sums[0], sums[1]), b.add(sums[2], sums[3]))] if chains > 1 else sums

    def step(self, weights: Sequence[Value], panel: Value, index: Value, sums: list[Value]) -> list[Value]:
        """Add the products of vector `index` of the weights."""
        b, rows, pairs = self.builder, self.layout.rows, self.layout.run == 2
        place = b.mul(index, self.bytes)
        bases = [b.offset(group, place) for group in weights]
        columns = b.offset(panel, b.mul(index, self.activation.block_bytes))
        type = Type("i32", rows) if pairs else self.vector
        if pairs:
            vectors = [b.load(type, base, 0, align=4) for base in bases]
        else:
            vectors = [load_float(b, self.layout.form.element, rows, base, 0) for base in bases]
        by = Spread(b, self.target, type, columns, 0, self.columns)
        found = list(sums)
        for column in range(self.columns):
            other = by[column]
            for group, vector in enumerate(vectors):
                own = group * self.columns + column
                found[own] = b.dot2(sums[own], vector, other) if pairs else b.fma(vector, other, sums[own])
        return found
