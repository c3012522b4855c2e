"""The sums of a tile for weights stored as floats: products of f32, or of pairs of bf16.

Weights that are stored as other floats become operands as they are read. For many columns they become so once
for all panels: `unpack` writes a tile's operands to memory that stays near, and the tile reads them there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.floats import FLOAT_BYTES
from lumen_core.quant.layout import ActivationLayout, WeightLayout
from lumen_core.schedule.blocking import Part
from lumen_core.schedule.fetch import AHEAD, fetch_ahead
from lumen_core.schedule.spread import Spread
from lumen_core.schedule.weights import DotPlan, WeightReader, emit_places, load_float
from lumen_core.target import Target

UNROLL = 4  # operands of a row group in a loop iteration
_FOURS = "<8 x bfloat>"  # of two rows, or of two columns


class FloatOperands:
    """Reads a row group's weights as operands: f32 lanes, or pairs of bf16 as i32 lanes."""

    def __init__(self, builder: Builder, layout: WeightLayout):
        self.builder = builder
        self.layout = layout
        self.type = Type("f32" if layout.run == 1 else "i32", layout.rows)
        self.bytes = layout.run * FLOAT_BYTES[layout.form.element] * layout.rows  # of one, as they are packed

    def load(self, where: Value) -> Value:
        b, layout = self.builder, self.layout
        if layout.ready:
            return b.load(self.type, where, 0, align=4)
        loaded = load_float(b, layout.form.element, layout.run * layout.rows, where, 0)
        if layout.run == 1:
            return loaded
        bits = b.bitcast(loaded, Type("i32", loaded.type.lanes))
        first, second = (
            b.shuffle(bits, None, range(half * layout.rows, (half + 1) * layout.rows)) for half in (0, 1)
        )
        return b.bitor(b.shr(first, 16), b.bitand(second, -1 << 16))

    def unpack(self, groups: Sequence[Value], part: Part, to: Sequence[Value]) -> None:
        """Write the operands of a part of some row groups, those of each one behind the other."""
        b, form, run = self.builder, self.layout.form, self.layout.run
        if form.scale is None:
            bases = [b.offset(group, b.mul(b.div(part.start, run), self.bytes)) for group in groups]
            self._unpack(bases, to, b.div(b.add(b.sub(part.stop, part.start), run - 1), run))
            return
        first, count = b.div(part.start, form.block), form.block // run
        with b.loop(first, b.div(part.stop, form.block)) as block:
            bases = [emit_places(b, self.layout, group, block.index)[0] for group in groups]
            done = b.mul(b.sub(block.index, first), count * self.type.bytes)
            self._unpack(bases, [b.offset(own, done) for own in to], b.i64(count))

    def _unpack(self, bases: Sequence[Value], to: Sequence[Value], count: Value) -> None:
        b = self.builder
        for index, step in unrolled(b, count):
            for base, own in zip(bases, to, strict=True):
                source = b.offset(base, b.mul(index, self.bytes))
                place = b.offset(own, b.mul(index, self.type.bytes))
                for number in range(step):
                    operand = self.load(b.offset(source, number * self.bytes))
                    b.store(operand, place, number * self.type.bytes, align=4)


def unrolled(b: Builder, count: Value) -> Iterator[tuple[Value, int]]:
    """Loops over 0 .. count, `UNROLL` steps in an iteration and the rest one by one: index and steps."""
    whole = b.mul(b.div(count, UNROLL), UNROLL)
    for start, stop, step in ((b.i64(0), whole, UNROLL), (whole, count, 1)):
        with b.loop(start, stop, step) as loop:
            yield loop.index, step


class FloatTile:
    """`groups` row groups times `columns` columns of a panel.

    part      of the rows that it adds up, if not all
    unpacked  where the operands of the part lie, by row group
    asked     places; it asks for lines as far behind them as those are that it reads behind its row groups'.
              Ahead of each row group if not given
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
        unpacked: Sequence[Value] | None = None,
        asked: Sequence[Value] | None = None,
    ):
        self.builder = builder
        self.layout = layout
        self.activation = activation
        self.target = target
        self.columns = columns
        self.groups = groups
        self.part = part
        self.unpacked = unpacked
        self.asked = asked
        self.vector = Type("f32", layout.rows)
        self.operands = FloatOperands(builder, layout)
        self.bytes = self.operands.bytes if unpacked is None else self.operands.type.bytes
        self.reader = WeightReader(builder, layout, DotPlan("plain"), target)
        # One instruction may multiply two rows by two columns, two operands of each, to the bits of two
        # products of pairs. In place of every second column the sums have the other half of the rows.
        squares = target.find("dot4_bf16", (f"<{layout.rows} x float>",) * 2 + (_FOURS,) * 2)
        self.squares = squares is not None and layout.run == 2 and columns % 4 == 0

    def sums(self, weights: Sequence[Value], panel: Value, column: Value, length: Value) -> list[Value]:
        """The sums, by row group: of every column from `column` on, a vector of rows."""
        b, layout, form = self.builder, self.layout, self.layout.form
        part, run = self.part or Part(b.i64(0), length), layout.run
        panel = b.offset(panel, b.mul(column, 4))
        asked = self.asked or [b.offset(group, AHEAD) for group in weights]
        if form.scale is None:
            start = b.div(part.start, run)
            count = b.div(b.add(b.sub(part.stop, part.start), run - 1), run)
            packed, lines = (
                [b.offset(place, b.mul(start, self.operands.bytes)) for place in places]
                for places in (weights, asked)
            )
            columns = b.offset(panel, b.mul(start, self.activation.block_bytes))
            return self.plain(lines, self.unpacked or packed, columns, count)
        first, last = (b.div(bound, form.block) for bound in (part.start, part.stop))
        each = form.block // run
        zeros = [b.constant(self.vector, 0.0)] * (self.groups * self.columns)
        with b.loop(first, last, 1, zeros) as loop:
            meeting = [emit_places(b, layout, group, loop.index) for group in weights]
            bases = [codes for codes, _ in meeting]
            lines = [emit_places(b, layout, place, loop.index)[0] for place in asked]
            if self.unpacked is not None:
                done = b.mul(b.sub(loop.index, first), each * self.bytes)
                bases = [b.offset(group, done) for group in self.unpacked]
            columns = b.offset(panel, b.mul(loop.index, self.activation.block_bytes * each))
            found = self.plain(lines, bases, columns, b.i64(each))
            factors = [self.reader.factor(form.scale, self.reader.floats(base), 1.0) for _, base in meeting]
            loop.next(
                *(
                    b.fma(sum, factors[number // self.columns], total)
                    for number, (sum, total) in enumerate(zip(found, loop.values, strict=True))
                )
            )
        return list(loop.results)

    def plain(
        self, asked: Sequence[Value], weights: Sequence[Value], panel: Value, count: Value
    ) -> list[Value]:
        """The sums of so many products of operands, without a scale."""
        b, bytes = self.builder, self.operands.bytes
        tile = self.groups * self.columns
        # Independent sums hide the latency of the additions; every tile of a panel adds in the same order.
        chains = UNROLL if self.activation.columns == 1 else 1
        whole = b.mul(b.div(count, UNROLL), UNROLL)
        zeros = [b.constant(self.vector, 0.0)] * (tile * chains)
        with b.loop(0, whole, UNROLL, zeros) as main:
            for lines in asked:
                used = b.offset(lines, b.mul(main.index, bytes))
                fetch_ahead(b, used, UNROLL * bytes, 0, once=self.activation.columns == 1)
            sums = list(main.values)
            for number in range(0, UNROLL, 2 if self.squares else 1):
                own = slice(number % chains * tile, (number % chains + 1) * tile)
                index = b.add(main.index, number)
                if self.squares:
                    sums = self.step_of_squares(weights, panel, index, 2, sums)
                else:
                    sums[own] = self.step(weights, panel, index, sums[own])
            main.next(*sums)
        with b.loop(whole, count, 1, main.results) as rest:
            sums = list(rest.values)
            if self.squares:
                sums = self.step_of_squares(weights, panel, rest.index, 1, sums)
            else:
                sums[:tile] = self.step(weights, panel, rest.index, sums[:tile])
            rest.next(*sums)
        sums = list(rest.results)
        if self.squares:
            halves = ((sums[n // 2 * 2], sums[n // 2 * 2 + 1], n % 2) for n in range(tile))
            return [
                b.shuffle(low, high, range(first, 2 * self.layout.rows, 2)) for low, high, first in halves
            ]
        return [b.add(b.add(sums[0], sums[1]), b.add(sums[2], sums[3]))] if chains > 1 else sums

    def step_of_squares(
        self, weights: Sequence[Value], panel: Value, index: Value, count: int, sums: list[Value]
    ) -> list[Value]:
        """Add the products of `count` operands, one or two, from `index` on."""
        b, type = self.builder, self.operands.type
        steps = [b.add(index, number) for number in range(count)]

        def side_by_side(vectors: list[Value]) -> list[Value]:
            """Both operands of the first two lanes, and of the last two."""
            first, second = [*vectors, b.constant(type, 0)][:2]
            return [b.shuffle(first, second, mask) for mask in ((0, 4, 1, 5), (2, 6, 3, 7))]

        rows = [side_by_side([self.operand(group, step) for step in steps]) for group in weights]
        panels = [b.offset(panel, b.mul(step, self.activation.block_bytes)) for step in steps]
        found = list(sums)
        for four in range(0, self.columns, 4):
            columns = side_by_side([b.load(type, where, 4 * four, align=4) for where in panels])
            for pair, other in enumerate(columns):
                for group, halves in enumerate(rows):
                    for part, half in enumerate(halves):
                        own = group * self.columns + four + 2 * pair + part
                        found[own] = b.instruction("dot4_bf16", (found[own], half, other), self.vector)
        return found

    def operand(self, group: Value, index: Value) -> Value:
        """Operand `index` of a row group."""
        where = self.builder.offset(group, self.builder.mul(index, self.bytes))
        if self.unpacked is None:
            return self.operands.load(where)
        return self.builder.load(self.operands.type, where, 0, align=4)

    def step(self, weights: Sequence[Value], panel: Value, index: Value, sums: list[Value]) -> list[Value]:
        """Add the products of operand `index` of the weights."""
        b, type = self.builder, self.operands.type
        vectors = [self.operand(group, index) for group in weights]
        by = Spread(
            b, self.target, type, b.offset(panel, b.mul(index, self.activation.block_bytes)), 0, self.columns
        )
        found = list(sums)
        for column in range(self.columns):
            other = by[column]
            for group, vector in enumerate(vectors):
                own = group * self.columns + column
                if type.is_float:
                    found[own] = b.fma(vector, other, sums[own])
                else:
                    found[own] = b.dot2(sums[own], vector, other)
        return found
