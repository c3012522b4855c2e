"""The sums of a tile for weights of integer codes.

Per sub-block the codes meet the activations in integer dot products; `totals.py` scales these and adds them
up. Minimums that are integers times one float of the block come once per block (`minimums.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import frexp, gcd
from typing import TypeAlias

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.layout import ActivationLayout, WeightLayout
from lumen_core.schedule.blocking import columns_in_turn
from lumen_core.schedule.dots import PIECE, Dots, PanelCodes
from lumen_core.schedule.fetch import STRETCH, FetchAhead, fetch_pages
from lumen_core.schedule.metadata import Metadata
from lumen_core.schedule.minimums import Minimums, minimums_are_dotted
from lumen_core.schedule.piece import PackedPiece, UnpackedPiece
from lumen_core.schedule.spread import PairSpread, PairsTwice, Spread
from lumen_core.schedule.totals import choose_totals
from lumen_core.schedule.weights import Block, DotPlan, WeightReader, emit_block, emit_span
from lumen_core.target import Target

Factors: TypeAlias = tuple[list[list[Value]], list[Value]]  # `PackedPiece.factors`


class IntegerTile:
    """`groups` row groups times `columns` columns of a panel; what they share is read once."""

    def __init__(
        self,
        builder: Builder,
        layout: WeightLayout,
        activation: ActivationLayout,
        target: Target,
        columns: int,
        groups: int = 1,
        once: bool = False,
    ):
        """`once`: the weights are used for nothing else (fetch.py)."""
        self.builder = builder
        self.layout = layout
        self.form = layout.form
        self.activation = activation
        self.target = target
        self.m = columns
        self.groups = groups
        self.rows = layout.rows
        self.vector = Type("f32", self.rows)
        self.lanes = Type("i32", self.rows)
        self.plan = DotPlan.choose(self.form, target)
        # Shift and mask in one; tiles of more columns have no registers for it, and less to unpack.
        self.reader = WeightReader(builder, layout, self.plan, target, matrices=columns == 1)
        self.ahead = FetchAhead(builder, target.broadcast_memory, once)
        self.dots = Dots(builder, layout, activation, target, self.ahead)
        self.dotted = minimums_are_dotted(self.form, activation)
        # Something is multiplied with the sum of a sub-block's activations, as floats.
        self.shifted = self.plan.kind == "corrected" or (self.form.offset is not None and not self.dotted)
        assert self.form.scale is not None
        self.constant = self.form.multiplier * 2.0**-self.plan.shift
        # A power of two loses no bit, so whole rows are multiplied by it where it concerns all that they sum.
        whole = self.form.scale.unit * self.constant
        self.last = whole if self.form.offset is None and frexp(whole)[0] == 0.5 else 1.0
        self.totals = choose_totals(builder, layout, activation, self.plan, target, columns, not self.shifted)
        # At depth 8 a vector of sums holds half of the rows of two columns: in place of every second column
        # the sums have the other half of the rows.
        self.side = activation.side
        # One activation scale for a whole block: it is applied once, to sums that wait in the nearest cache.
        self.waits = activation.group > PIECE
        self.stride = max(1, self.form.block // activation.group) * activation.block_bytes  # of a block
        self.share = layout.block_bytes * PIECE // self.form.block  # of a piece, in bytes
        self.bytes = 4 * self.rows * columns * groups  # of the sums
        self.abreast = columns_in_turn(target)
        self.first = builder.i64(0)  # column of the panel
        self.minimums = Minimums(self) if self.dotted else None

    def sums(self, weights: Sequence[Value], panel: Value, column: Value, length: Value) -> list[Value]:
        """The sums over a whole row, by row group: of every column from `column` on, a vector of rows."""
        b = self.builder
        blocks = b.div(length, self.form.block)
        quants, words = b.offset(panel, b.mul(column, PIECE)), b.offset(panel, b.mul(column, 4))
        self.first = column
        waiting = self.stack() if self.waits else None

        def run(start: Value, stop: Value, step: int, before: Sequence[Value]) -> Sequence[Value]:
            """Add the products of blocks, `step` in an iteration."""
            with b.loop(start, stop, step, before) as loop:
                sums, by = list(loop.values), b.mul(loop.index, self.stride)
                meetings = self.places(weights, loop.index, step)
                if self.form.block == PIECE:
                    self.fetch(meetings[0], b.i64(0), step)
                for number, meeting in enumerate(meetings):
                    where = b.add(by, number * self.stride)
                    quants_of, words_of = b.offset(quants, where), b.offset(words, where)
                    if waiting is None:
                        sums = self.pieces(meeting, quants_of, words_of, sums)
                    else:
                        own = self.pieces(meeting, quants_of, words_of, self.zeros)
                        given = [self.vectors(place.scales) for place in meeting]
                        self.add_block(given, quants_of, words_of, own, waiting)
                loop.next(*sums)
            return loop.results

        # Of one column there is little to do in a block: addresses are made once for a span of them.
        step = self.layout.span if self.m == 1 else 1
        whole = b.mul(b.div(blocks, step), step)
        sums: Sequence[Value] = self.zeros if waiting is None else []
        if step == 1:
            sums = run(b.i64(0), whole, 1, sums)
        else:
            together = max(step, STRETCH // self.layout.block_bytes // step * step)
            with b.loop(0, whole, together, sums) as stretch:
                begin = b.mul(stretch.index, self.layout.block_bytes)
                for group in weights:
                    fetch_pages(b, group, begin)
                stop = b.minimum(b.add(stretch.index, together), whole)
                stretch.next(*run(stretch.index, stop, step, stretch.values))
            sums = run(whole, blocks, 1, stretch.results)
        return self.finished(list(sums) if waiting is None else self.load(waiting))

    def finished(self, sums: list[Value]) -> list[Value]:
        """The sums as they are stored, once whole rows are in them."""
        return [sum if self.last == 1 else self.builder.mul(sum, self.last) for sum in self.by_column(sums)]

    @property
    def zeros(self) -> list[Value]:
        """Sums of nothing, of what is added to before it waits."""
        return [self.totals.zero] * (self.m * self.groups)

    def stack(self) -> Value:
        """Memory for the sums, with zeros in it."""
        waiting = self.builder.stack(self.bytes)
        self.store([self.builder.constant(self.vector, 0.0)] * (self.m * self.groups), waiting)
        return waiting

    def store(self, sums: Sequence[Value], waiting: Value) -> None:
        for number, sum in enumerate(sums):
            self.builder.store(sum, waiting, 4 * self.rows * number, align=4 * self.rows)

    def load(self, waiting: Value) -> list[Value]:
        places = range(0, self.bytes, 4 * self.rows)
        return [self.builder.load(self.vector, waiting, place, align=4 * self.rows) for place in places]

    def add_block(
        self, given: list[list[Value]], quants: Value, words: Value, sums: list[Value], waiting: Value
    ) -> None:
        """Add a block's sums, of each row group, to those that wait in memory; `given` are its `vectors`."""
        b = self.builder
        codes = PanelCodes(self.activation, quants)
        by = self.scales(words)
        for group, vectors in enumerate(given):
            factors = vectors[: self.side]
            own = sums[group * self.m : (group + 1) * self.m]
            if self.minimums is not None:
                finished = self.minimums.of_block(vectors[self.side :], codes, own, factors)
            else:
                finished = (self.totals.of_block(sum, factors[n % self.side]) for n, sum in enumerate(own))
            for number, sum in enumerate(finished):  # one after the other: registers are scarce
                where = 4 * self.rows * (group * self.m + number)
                before = b.load(self.vector, waiting, where, align=4 * self.rows)
                b.store(b.fma(sum, by[number], before), waiting, where, align=4 * self.rows)

    def vectors(self, base: Value) -> list[Value]:
        """What a whole block has for its sums: factors by part of the rows, then what minimums need."""
        factors = self.parts(self.factor(base))
        return factors + (self.minimums.vectors(base) if self.minimums is not None else [])

    def places(self, weights: Sequence[Value], block: Value, step: int) -> list[list[Block]]:
        """Where `step` blocks lie in every row group."""
        b = self.builder
        if step == 1:
            return [[emit_block(b, self.layout, group, block) for group in weights]]
        spans = [emit_span(b, self.layout, group, block) for group in weights]
        return [list(places) for places in zip(*spans, strict=True)]

    def fetch(self, weights: list[Block], index: Value, pieces: int) -> None:
        """Ask for what lies ahead of pieces from `index` on, while they are multiplied."""
        used = [self.place(block, index) for block in weights]
        products = pieces * PIECE * self.m * len(weights)
        self.ahead.begin(used, pieces * self.share, products)

    def place(self, block: Block, index: Value) -> Value:
        """Where piece `index` of a block would lie if scales lay with their codes."""
        return self.builder.offset(block.begin, self.builder.mul(index, self.share))

    def pieces(self, weights: list[Block], quants: Value, words: Value, sums: list[Value]) -> list[Value]:
        """Add the products of a block, of each row group, to the sums."""
        b = self.builder
        count = self.form.block // PIECE
        if count == 1:
            return self.piece(weights, quants, words, b.i64(0), sums)
        step = gcd(count, 2) if self.m == 1 else 1
        with b.loop(0, count, step, sums) as piece:
            sums = list(piece.values)
            self.fetch(weights, piece.index, step)
            for number in range(step):
                sums = self.piece(weights, quants, words, b.add(piece.index, number), sums)
            piece.next(*sums)
        return list(piece.results)

    def piece(
        self, weights: list[Block], quants: Value, words: Value, index: Value, sums: list[Value]
    ) -> list[Value]:
        """Add the dot products of 32 elements (piece `index`), of each row group, to the sums."""
        b, act = self.builder, self.activation
        where = b.mul(index, act.piece_bytes)
        codes = PanelCodes(act, b.offset(quants, where))
        if act.group == PIECE:
            words = b.offset(words, where)
        metadata = Metadata(self, words, index)
        for group, block in enumerate(weights):
            own = slice(group * self.m, (group + 1) * self.m)
            sums[own] = self.of_group(PackedPiece(self, block, index), codes, metadata, sums[own])
        return sums

    def of_group(
        self, piece: PackedPiece | UnpackedPiece, codes: PanelCodes, metadata: Metadata, sums: list[Value]
    ) -> list[Value]:
        """The same for the codes of one row group."""
        sub = min(self.form.sub, PIECE)
        passed = PIECE if self.totals.goes_on else sub  # elements whose products a total takes
        for first in range(0, PIECE, passed):
            starts = range(first, first + passed, sub)
            factors = {start: self.factors(piece, start) for start in starts}
            operands = piece.operands(range(first, first + passed))
            for left in range(0, self.m, self.abreast):
                columns = range(left, min(left + self.abreast, self.m))
                totals = {
                    number: self.totals.start(self.seed(metadata, first, sub, number))
                    for number in self.dots.numbers(columns)
                }
                for start in starts:
                    own = operands[(start - first) // 4 : (start - first + sub) // 4]
                    self.dots.add(totals, columns, own, codes, start, self.plan)
                    for column in columns:  # at once: a finished total must not hold a register
                        total, by = self.dots.total(totals, column), factors[start]
                        sums[column] = self.with_total(sums[column], total, by, metadata, start, column)
        return sums

    def factors(self, piece: PackedPiece | UnpackedPiece, start: int) -> Factors:
        """What scales the totals of the sub-block at element `start`, as `totals.add` takes it, and betas."""
        scales, betas = piece.factors(start)
        return [self.totals.held(own, part) for part, own in enumerate(scales)], betas

    def with_total(
        self, sum: Value, total: Value, factors: Factors, metadata: Metadata, start: int, column: int
    ) -> Value:
        """A column's sum with the total of the sub-block at element `start`."""
        b, (scales, betas), part = self.builder, factors, column % self.side
        by = metadata.scales[column] if metadata.scales is not None else None
        sum = self.totals.add(sum, total, scales[part], by)
        if not betas:
            return sum
        if self.form.sub >= PIECE:
            return b.fma(betas[part], metadata.totals[column], sum)
        seeds = b.convert(metadata.seeds(start, self.form.sub, column), "f32")
        return b.fma(betas[part] if by is None else b.mul(betas[part], by), seeds, sum)

    def factor(self, base: Value) -> Value:
        """What scales the codes of a whole block."""
        assert self.form.scale is not None
        return self.reader.factor(self.form.scale, self.reader.floats(base), self.constant / self.last)

    def spread(self, type: Type, pointer: Value, offset: int) -> Spread:
        """One item of each column, as the sums have their columns."""
        kind = PairSpread if self.side > 1 else Spread
        return kind(self.builder, self.target, type, pointer, offset, self.m, in_fours=True)

    def scales(self, words: Value) -> Spread | PairsTwice:
        """Scales of the columns, as the sums have their columns."""
        b, where = self.builder, self.activation.scales
        if self.side == 1:
            return self.spread(self.vector, words, where)
        return PairsTwice(b, self.vector, b.offset(words, b.mul(self.first, 4 * (self.side - 1))), where)

    def parts(self, rows: Value) -> list[Value]:
        """What each row has, as the sums have their rows."""
        return [rows] if self.side == 1 else self.dots.halves(rows)

    def by_column(self, sums: list[Value]) -> list[Value]:
        """Sums as they are stored: a vector of rows for every column."""
        if self.side == 1:
            return sums
        return [
            self.builder.shuffle(
                sums[number // 2 * 2], sums[number // 2 * 2 + 1], self.dots.every_second(number % 2)
            )
            for number in range(len(sums))
        ]

    def seed(self, metadata: Metadata, start: int, sub: int, column: int) -> Value | None:
        """What an integer sum starts from: the zero point's share, if it has one."""
        if self.plan.kind != "seeded":
            return None
        return self.builder.sar(metadata.seeds(start, sub, column), self.plan.seed_shift)
