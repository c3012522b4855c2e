"""The sums of a tile for weights of integer codes.

Per sub-block the codes meet the activations in integer dot products, then one conversion and one fused
multiply-add apply the scales. Minimums that are integers times one float of the block meet the sums of the
activations in integers too, once per block.
"""

from __future__ import annotations

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.layout import ActivationLayout, WeightLayout
from lumen_core.quant.normal_form import Scale
from lumen_core.schedule.spread import Spread
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
        self.paired = self.minimums_are_paired()
        # Columns whose dot products take turns, so that none waits for the one before it.
        self.abreast = 4 if target.broadcast_memory else 1

    def sums(self, weights: Value, panel: Value, column: Value, length: Value) -> list[Value]:
        """The sums over a whole row: of every column from `column` on, a vector of rows."""
        b, act = self.builder, self.activation
        blocks = b.div(length, self.form.block)
        scales = b.offset(weights, b.mul(blocks, self.layout.code_bytes))
        quants, words = b.offset(panel, b.mul(column, PIECE)), b.offset(panel, b.mul(column, 4))
        stride = max(1, self.form.block // act.group) * act.block_bytes  # what a block of weights meets
        zeros = [b.constant(self.vector, 0.0)] * self.m

        def place(block: Value) -> tuple[Value, Value, Value, Value]:
            codes = b.offset(weights, b.mul(block, self.layout.code_bytes))
            base = b.offset(scales, b.mul(block, self.layout.scale_bytes))
            by = b.mul(block, stride)
            return codes, base, b.offset(quants, by), b.offset(words, by)

        if act.group == PIECE:
            with b.loop(0, blocks, 1, zeros) as loop:
                loop.next(*self.pieces(*place(loop.index), list(loop.values)))
            return list(loop.results)
        # One activation scale for a whole block: it is applied once, to sums that wait in the nearest cache.
        waiting = b.stack(4 * self.rows * self.m)
        for number in range(self.m):
            b.store(zeros[0], waiting, 4 * self.rows * number, align=64)
        with b.loop(0, blocks) as loop:
            codes, base, quants_of, words_of = place(loop.index)
            sums = self.pieces(codes, base, quants_of, words_of, zeros)
            if self.paired:
                sums = self.minimums(base, words_of, sums)
            for number in range(self.m):
                where = 4 * self.rows * number
                by = b.load_splat(self.vector, words_of, act.scales + 4 * number)
                before = b.load(self.vector, waiting, where, align=64)
                b.store(b.fma(sums[number], by, before), waiting, where, align=64)
            loop.next()
        return [b.load(self.vector, waiting, 4 * self.rows * number, align=64) for number in range(self.m)]

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

    def minimums_are_paired(self) -> bool:
        """Tell whether minimums are integers times one float of the block."""
        offset = self.form.offset
        if offset is None or offset.integer is None:
            return False
        every = self.form.sub in (16, PIECE) and offset.integer.count * self.form.sub == self.form.block
        return self.activation.group > PIECE and every and all(field.count == 1 for field in offset.floats)

    def minimums(self, base: Value, words: Value, sums: list[Value]) -> list[Value]:
        """Add what the minimums of a block give, in 16-bit integers two sub-blocks at a time."""
        b, act, offset = self.builder, self.activation, self.form.offset
        assert offset is not None and offset.integer is not None
        count, step = offset.integer.count, 4 * act.columns
        first = act.pairs32 if self.form.sub == PIECE else act.pairs16
        pairs = []
        for number in range(0, count, 2):
            where = self.layout.minimum_offset + number * self.rows
            low, high = (self.reader.integers(offset.integer, base, where + n * self.rows) for n in (0, 1))
            pairs.append(b.bitor(b.bitand(low, 0xFFFF), b.shl(high, 16)))
        factor = self.reader.factor(offset, self.reader.floats(base), 1.0)
        for number in range(self.m):
            total = b.constant(self.lanes, 0)
            for place, pair in enumerate(pairs):
                by = b.load_splat(self.lanes, words, first + place * step + 4 * number)
                total = b.dot2(total, pair, by)
            sums[number] = b.fma(b.convert(total, "f32"), factor, sums[number])
        return sums

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
        # Read anew for every piece: carried over the pieces they would cost registers that the sums need.
        floats = self.reader.floats(base)
        assert self.form.scale is not None
        factor = self.reader.factor(self.form.scale, floats, self.form.multiplier * 2.0**-self.plan.shift)
        metadata = _Metadata(self, words, index)
        sub = min(self.form.sub, PIECE)
        for start in range(0, PIECE, sub):
            scale = self.sub_factor(self.form.scale, factor, base, layout.scale_offset, index, start)
            beta = self.beta(base, floats, index, start, scale)
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
                        totals |= {column: self.seed(metadata, start, sub, column) for column in columns}
                    self.dots(totals, columns, operands, quants, part.start)
                    if part is not parts[-1]:
                        continue
                    for column in columns:  # at once: a finished total must not hold a register
                        by = metadata.scales[column] if metadata.scales is not None else None
                        own = self.times(scale, by)
                        sums[column] = b.fma(b.convert(totals.pop(column), "f32"), own, sums[column])
                        if beta is None:
                            continue
                        if sub < PIECE:
                            seeds = b.convert(metadata.seeds(start, sub, column), "f32")
                            sums[column] = b.fma(self.times(beta, by), seeds, sums[column])
                        else:
                            sums[column] = b.fma(beta, metadata.totals[column], sums[column])
        return sums

    def times(self, factor: Value, scale: Value | None) -> Value:
        return factor if scale is None else self.builder.mul(factor, scale)

    def sub_factor(
        self, scale: Scale | None, factor: Value, base: Value, where: int, index: Value, start: int
    ) -> Value:
        """The factor of the sub-block that holds element `start` of piece `index`."""
        if scale is None or (scale.integer is None and scale.count == 1):
            return factor
        b = self.builder
        per_piece = max(1, PIECE // self.form.sub)
        number = b.add(b.mul(index, per_piece), start // self.form.sub)
        if self.form.sub > PIECE:
            number = b.div(index, self.form.sub // PIECE)
        return self.reader.sub_factor(scale, factor, base, number, where)

    def beta(
        self, base: Value, floats: dict[str, Value], index: Value, start: int, scale: Value
    ) -> Value | None:
        """What multiplies sum(y): the offset and, for a zero point that is no seed, -zero * scale."""
        b = self.builder
        beta: Value | None = None
        if self.form.offset is not None and not self.paired:
            offset = self.reader.factor(self.form.offset, floats, 1.0)
            where = self.layout.minimum_offset
            beta = self.sub_factor(self.form.offset, offset, base, where, index, start)
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

    def dots(
        self, totals: dict[int, Value], columns: range, operands: list[Value], quants: Value, first: int
    ) -> None:
        """Add the dot products of the operands with the activations from element `first` on to the totals."""
        b, type, count = self.builder, operands[0].type, len(operands)
        codes = {
            column: Spread(b, self.target, type, quants, self.activation.code(column, first), count)
            for column in columns
        }
        link = self.plan.chain or 1
        for start in range(0, count, link):
            steps = range(start, min(start + link, count))
            for column in columns:
                pairs = [(operands[step], codes[column][step]) for step in steps]
                add = self.chained if self.plan.chain else self.dot
                totals[column] = add(totals[column], pairs)

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

    def seed(self, metadata: _Metadata, start: int, sub: int, column: int) -> Value:
        """What an integer sum starts from: the zero point's share, or 0."""
        if self.plan.kind != "seeded":
            return self.builder.constant(self.lanes, 0)
        return self.builder.sar(metadata.seeds(start, sub, column), self.plan.seed_shift)


class _Metadata:
    """What a piece of a panel has beside the codes, of each column in every lane."""

    def __init__(self, tile: IntegerTile, words: Value, index: Value):
        self.builder, self.lanes, act = tile.builder, tile.lanes, tile.activation
        self.activation = act
        self.step = 4 * act.columns
        own = act.group == PIECE
        by_piece = words if own else self.builder.offset(words, self.builder.mul(index, self.step))
        by_half = words if own else self.builder.offset(words, self.builder.mul(index, 2 * self.step))
        self.places = {32: (by_piece, act.seeds32), 16: (by_half, act.seeds16)}
        self.scales = (
            Spread(self.builder, tile.target, tile.vector, words, act.scales, tile.m) if own else None
        )
        self.totals = Spread(self.builder, tile.target, tile.vector, by_piece, act.sums32, tile.m)

    def seeds(self, start: int, sub: int, column: int) -> Value:
        """-128 * the sum of the activations of the sub-block at element `start`."""
        where, first = self.places[sub]
        first += start // sub * self.step if sub < PIECE else 0
        return self.builder.load_splat(self.lanes, where, first + 4 * column)
