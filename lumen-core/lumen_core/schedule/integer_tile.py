"""The sums of a tile for weights of integer codes.

Per sub-block the codes meet the activations in integer dot products; `totals.py` scales these and adds them
up. Minimums that are integers times one float of the block come once per block (`minimums.py`).
"""

from __future__ import annotations

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.layout import ActivationLayout, WeightLayout
from lumen_core.schedule.blocking import Part
from lumen_core.schedule.minimums import add_minimums, minimums_are_paired
from lumen_core.schedule.spread import PairSpread, Spread
from lumen_core.schedule.totals import choose_totals
from lumen_core.schedule.weights import DotPlan, WeightReader, fetch_ahead
from lumen_core.target import Target

PIECE = 32  # elements of a loop iteration


class IntegerTile:
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
        self.form = layout.form
        self.activation = activation
        self.target = target
        self.m = columns
        self.rows = layout.rows
        self.vector = Type("f32", self.rows)
        self.lanes = Type("i32", self.rows)
        self.plan = DotPlan.choose(self.form, target)
        self.reader = WeightReader(builder, layout, self.plan, target)
        self.paired = minimums_are_paired(self.form, activation)
        alone = self.plan.kind != "corrected" and (self.form.offset is None or self.paired)
        self.totals = choose_totals(builder, layout, activation, self.plan, target, columns, alone)
        # At depth 8 a vector of sums holds half of the rows of two columns: in place of every second column
        # the sums have the other half of the rows.
        self.side = activation.side
        # Columns whose dot products take turns, so that none waits for the one before it.
        self.abreast = 4 if target.broadcast_memory else self.side

    def sums(
        self, weights: list[Value], panel: Value, column: Value, part: Part, ahead: Value
    ) -> list[Value]:
        """The sums over a part of the rows of the one group: of every column from `column` on, a vector."""
        b, act = self.builder, self.activation
        (group,) = weights
        first, last = (b.div(bound, self.form.block) for bound in (part.start, part.stop))
        scales = b.offset(group, b.mul(b.div(part.length, self.form.block), self.layout.code_bytes))
        quants, words = b.offset(panel, b.mul(column, PIECE)), b.offset(panel, b.mul(column, 4))
        stride = max(1, self.form.block // act.group) * act.block_bytes  # what a block of weights meets
        zeros = [b.constant(self.vector, 0.0)] * self.m

        def place(block: Value) -> tuple[Value, Value, Value, Value]:
            codes = b.offset(group, b.mul(block, self.layout.code_bytes))
            base = b.offset(scales, b.mul(block, self.layout.scale_bytes))
            by = b.mul(block, stride)
            return codes, base, b.offset(quants, by), b.offset(words, by)

        if act.group == PIECE:
            with b.loop(first, last, 1, zeros) as loop:
                loop.next(*self.pieces(*place(loop.index), list(loop.values)))
            return self.by_column(list(loop.results))
        # One activation scale for a whole block: it is applied once, to sums that wait in the nearest cache.
        waiting = b.stack(4 * self.rows * self.m)
        for number in range(self.m):
            b.store(zeros[0], waiting, 4 * self.rows * number, align=64)
        with b.loop(first, last) as loop:
            codes, base, quants_of, words_of = place(loop.index)
            sums = self.pieces(codes, base, quants_of, words_of, [self.totals.zero] * self.m)
            factors = self.parts(self.factor(base))
            sums = [self.totals.of_block(sum, factors[n % self.side]) for n, sum in enumerate(sums)]
            if self.paired:
                sums = add_minimums(self, base, words_of, sums)
            by = self.spread(self.vector, words_of, act.scales)
            for number in range(self.m):
                where = 4 * self.rows * number
                before = b.load(self.vector, waiting, where, align=64)
                b.store(b.fma(sums[number], by[number], before), waiting, where, align=64)
            loop.next()
        return self.by_column(
            [b.load(self.vector, waiting, 4 * self.rows * number, align=64) for number in range(self.m)]
        )

    def pieces(
        self, codes: Value, base: Value, quants: Value, words: Value, sums: list[Value]
    ) -> list[Value]:
        """Add a block's products to the sums."""
        b = self.builder
        count = self.form.block // PIECE
        if count == 1:
            return self.piece(codes, base, quants, words, b.i64(0), sums)
        with b.loop(0, count, 1, sums) as piece:
            piece.next(*self.piece(codes, base, quants, words, piece.index, list(piece.values)))
        return list(piece.results)

    def piece(
        self, codes: Value, base: Value, quants: Value, words: Value, index: Value, sums: list[Value]
    ) -> list[Value]:
        """Add the dot products of 32 elements (piece `index` of the block) to the sums."""
        b, layout, act = self.builder, self.layout, self.activation
        units = PIECE // layout.unit
        codes = b.offset(codes, b.mul(index, units * layout.unit_bytes))
        fetch_ahead(b, codes, units * layout.unit_bytes)
        if act.group == PIECE:
            where = b.mul(index, act.block_bytes)
            quants, words = b.offset(quants, where), b.offset(words, where)
        else:
            quants = b.offset(quants, b.mul(index, PIECE * act.columns))
        # Read anew for every piece: carried over the pieces it would cost registers that the sums need.
        factor = self.factor(base)
        metadata = _Metadata(self, words, index)
        sub = min(self.form.sub, PIECE)
        for start in range(0, PIECE, sub):
            scale = self.totals.scale(self.sub_block(index, start), factor, base)
            beta = self.beta(base, index, start, scale)
            betas = self.parts(beta) if beta is not None else []
            scales = [self.totals.prepare(own, number) for number, own in enumerate(self.parts(scale))]
            # With few registers the operands come in portions of four, so that nothing is spilled.
            portion = 4 * (8 if self.target.registers >= 32 else 4)
            end = start + sub
            parts = [range(first, min(first + portion, end)) for first in range(start, end, portion)]
            totals: dict[int, Value] = {}
            for part in parts:
                operands = self.operands(codes, part)
                for first in range(0, self.m, self.abreast):
                    columns = range(first, min(first + self.abreast, self.m))
                    if part is parts[0]:
                        for column in columns:
                            seed = self.seed(metadata, start, sub, column)
                            totals[column] = self.totals.start(seed)
                    self.dots(totals, columns, operands, quants, part.start)
                    if part is not parts[-1]:
                        continue
                    for column in columns:  # at once: a finished total must not hold a register
                        own = column % self.side
                        by = metadata.scales[column] if metadata.scales is not None else None
                        total = totals.pop(column)
                        sums[column] = self.totals.add(sums[column], total, scales[own], by, own)
                        if beta is None:
                            continue
                        if sub < PIECE:
                            seeds = b.convert(metadata.seeds(start, sub, column), "f32")
                            scaled = betas[own] if by is None else b.mul(betas[own], by)
                            sums[column] = b.fma(scaled, seeds, sums[column])
                        else:
                            sums[column] = b.fma(betas[own], metadata.totals[column], sums[column])
        return sums

    def factor(self, base: Value) -> Value:
        """What scales the codes of a whole block."""
        assert self.form.scale is not None
        extra = self.form.multiplier * 2.0**-self.plan.shift
        return self.reader.factor(self.form.scale, self.reader.floats(base), extra)

    def sub_block(self, index: Value, start: int) -> Value:
        """The number, in its block, of the sub-block that holds element `start` of piece `index`."""
        b = self.builder
        if self.form.sub > PIECE:
            return b.div(index, self.form.sub // PIECE)
        return b.add(b.mul(index, PIECE // self.form.sub), start // self.form.sub)

    def beta(self, base: Value, index: Value, start: int, scale: Value) -> Value | None:
        """What multiplies sum(y): the offset and, for a zero point that is no seed, -zero * scale."""
        b = self.builder
        beta: Value | None = None
        if self.form.offset is not None and not self.paired:
            offset = self.reader.factor(self.form.offset, self.reader.floats(base), 1.0)
            where = self.layout.minimum_offset
            number = self.sub_block(index, start)
            beta = self.reader.sub_factor(self.form.offset, offset, base, number, where)
        if self.plan.kind == "corrected":
            shifted = b.mul(scale, -float(self.plan.zero(self.form)) / self.form.multiplier)
            beta = shifted if beta is None else b.add(beta, shifted)
        if beta is not None and self.form.sub < PIECE:  # the sums of 16 are had from their seeds
            beta = b.mul(beta, -1.0 / 128)
        return beta

    def operands(self, codes: Value, part: range) -> list[Value]:
        """Operand vectors of the elements `part` of the piece, which lie in one unit."""
        unit, inside = divmod(part.start, self.layout.unit)
        unit_base = self.builder.offset(codes, unit * self.layout.unit_bytes)
        return self.reader.operands(unit_base, range(inside // 4, (inside + len(part)) // 4))

    def spread(self, type: Type, pointer: Value, offset: int) -> Spread:
        """One item of each column, as the sums have their columns."""
        kind = PairSpread if self.side > 1 else Spread
        return kind(self.builder, self.target, type, pointer, offset, self.m)

    def parts(self, rows: Value) -> list[Value]:
        """What each row has, as the sums have their rows."""
        if self.side == 1:
            return [rows]
        half = self.rows // 2
        masks = ([n // 2 for n in range(first, first + self.rows)] for first in (0, 2 * half))
        return [self.builder.shuffle(rows, None, mask) for mask in masks]

    def by_column(self, sums: list[Value]) -> list[Value]:
        """Sums as they are stored: a vector of rows for every column."""
        if self.side == 1:
            return sums
        return [
            self.builder.shuffle(
                sums[number // 2 * 2], sums[number // 2 * 2 + 1], self.every_second(number % 2)
            )
            for number in range(self.m)
        ]

    def every_second(self, first: int) -> range:
        return range(first, 2 * self.rows, 2)

    def dots(
        self, totals: dict[int, Value], columns: range, operands: list[Value], quants: Value, first: int
    ) -> None:
        """Add the dot products of the operands with the activations from element `first` on to the totals."""
        if self.side > 1:
            self.dots_of_pairs(totals, columns, operands, quants, first)
            return
        if self.layout.parts > 1:
            for column in columns:
                totals[column] = self.dots_alone(totals[column], operands, quants, first)
            return
        b, type, count = self.builder, operands[0].type, len(operands)
        again = count < PIECE // 4 and self.m > 1
        codes = {
            column: Spread(b, self.target, type, quants, self.activation.code(column, first), count, again)
            for column in columns
        }
        link = self.plan.chain or 1
        for start in range(0, count, link):
            steps = range(start, min(start + link, count))
            for column in columns:
                pairs = [(operands[step], codes[column][step]) for step in steps]
                add = self.chained if self.plan.chain else self.dot
                totals[column] = add(totals[column], pairs)

    def dots_of_pairs(
        self, totals: dict[int, Value], columns: range, operands: list[Value], quants: Value, first: int
    ) -> None:
        """The same for pairs of rows times pairs of columns."""
        b, type, again = self.builder, operands[0].type, len(operands) < PIECE // 4
        for pair in columns[:: self.side]:
            for group in range(0, len(operands), self.side):
                where = self.activation.code(pair, first + 4 * group)
                codes = b.load(type, quants, where, align=4, again=again)
                for part in range(self.side):
                    values = (totals[pair + part], operands[group + part], codes)
                    totals[pair + part] = b.instruction("dot8_s8s8", values, self.lanes)

    def dots_alone(self, total: Value, operands: list[Value], quants: Value, first: int) -> Value:
        """The same for pairs of rows times one column: two k-groups of it stand for two columns.

        Half of each product is of no use: of even k-groups what is in odd lanes, of odd ones the rest.
        """
        b, parts = self.builder, self.layout.parts
        sums = {(part, odd): b.constant(self.lanes, 0) if odd else total for part in (0, 1) for odd in (0, 1)}
        for step, operand in enumerate(operands):
            group, part = divmod(step, parts)
            codes = b.load(operand.type, quants, self.activation.code(0, first + 16 * (group // 2)), align=4)
            place = (part, group % 2)
            sums[place] = b.instruction("dot8_s8s8", (sums[place], operand, codes), self.lanes)
        even, odd = (b.shuffle(sums[0, n], sums[1, n], self.every_second(n)) for n in (0, 1))
        return b.add(even, odd)

    def chained(self, total: Value, pairs: list[tuple[Value, Value]]) -> Value:
        """total + the dot products of the pairs, whose products add up in 16 bits."""
        b, bytes, words = self.builder, Type("i8", 4 * self.rows), Type("i16", 2 * self.rows)
        in_pairs = self.target.find("maddubs") is not None
        products: Value | None = None
        for left, right in pairs:
            both = (b.bitcast(left, bytes), b.bitcast(right, bytes))
            if in_pairs:
                product = b.instruction("maddubs", both, words)
            else:
                product = b.mul(*(b.convert(value, "i16") for value in both))
            products = product if products is None else b.add(products, product)
        assert products is not None
        if in_pairs:
            return b.dot2(total, b.bitcast(products, self.lanes), b.constant(self.lanes, 0x00010001))
        even, odd = (b.shuffle(products, None, range(first, 4 * self.rows, 2)) for first in (0, 1))
        return b.add(total, b.instruction("widen_pairs", (b.add(even, odd),), total.type))

    def dot(self, total: Value, pairs: list[tuple[Value, Value]]) -> Value:
        """total + the dot product of one pair."""
        b = self.builder
        ((operand, activation),) = pairs
        if self.plan.kind != "magnitude":
            return b.dot4(total, operand, activation, self.plan.left)
        bytes = Type("i8", 4 * self.rows)
        signed = b.bitxor(b.bitcast(operand, bytes), -128)
        magnitude = b.bitcast(b.abs(signed), operand.type)
        turned = b.instruction("sign8", (b.bitcast(activation, bytes), signed), bytes)
        return b.dot4(total, magnitude, b.bitcast(turned, operand.type), self.plan.left)

    def seed(self, metadata: _Metadata, start: int, sub: int, column: int) -> Value | None:
        """What an integer sum starts from: the zero point's share, if it has one."""
        if self.plan.kind != "seeded":
            return None
        return self.builder.sar(metadata.seeds(start, sub, column), self.plan.seed_shift)


class _Metadata:
    """What a piece of a panel has beside the codes, of each column in every lane."""

    def __init__(self, tile: IntegerTile, words: Value, index: Value):
        self.tile, self.builder, self.lanes, act = tile, tile.builder, tile.lanes, tile.activation
        self.activation = act
        self.step = 4 * act.columns
        own = act.group == PIECE
        by_piece = words if own else self.builder.offset(words, self.builder.mul(index, self.step))
        by_half = words if own else self.builder.offset(words, self.builder.mul(index, 2 * self.step))
        self.places = {32: (by_piece, act.seeds32), 16: (by_half, act.seeds16)}
        self.scales = tile.spread(tile.vector, words, act.scales) if own else None
        self.totals = tile.spread(tile.vector, by_piece, act.sums32)

    def seeds(self, start: int, sub: int, column: int) -> Value:
        """-128 * the sum of the activations of the sub-block at element `start`."""
        where, first = self.places[sub]
        first += start // sub * self.step if sub < PIECE else 0
        return self.tile.spread(self.lanes, where, first)[column]
