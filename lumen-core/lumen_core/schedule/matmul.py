"""The fused matmul: unpack, dequantize and multiply in one kernel, for any format in normal form.

Lanes are weight rows; an activation is broadcast to all of them. A tile is one row group (R rows) times m
token columns; its accumulators live in registers over the whole row. Per sub-block the codes meet the
activations in integer dot products, then one conversion and one fused multiply-add apply the scales.
The same packed bytes serve m = 1 (decode) and the wide tiles (prefill).
"""

from __future__ import annotations

from dataclasses import dataclass

from lumen_core.ir.kernel import I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.floats import FLOAT_BYTES, WEIGHT_UNITS
from lumen_core.quant.layout import ActivationLayout, WeightLayout
from lumen_core.quant.normal_form import NormalForm, Scale
from lumen_core.schedule.spread import Spread
from lumen_core.schedule.weights import DotPlan, WeightReader, emit_group_bytes, load_float
from lumen_core.target import Target

PIECE = 32  # elements of a loop iteration
# Bytes ahead of the codes in use that a tile fetches: what a processor fetches by itself does not keep
# enough on the way. Measured: 1.2 to 2.2 times the speed of few columns, and twice that of the first panel
# that wide tiles multiply with weights from memory.
AHEAD = 8192
FEW_COLUMNS = 8  # columns of the tile for a handful of tokens, at most


@dataclass(frozen=True)
class MatmulTile:
    """What is fixed when a matmul kernel is compiled.

    columns     token columns of the tile: a panel of the activation layout
    accumulate  add to what the output holds instead of overwriting it
    """

    columns: int
    accumulate: bool = False


def tile_columns(target: Target) -> int:
    """Columns of the wide tile: as many accumulators as leave room for a sub-block's operands."""
    return target.tile_columns or (16 if target.registers >= 32 else 4)


def few_columns(target: Target) -> int:
    """Columns of the tile for a handful of tokens: a wide tile would mostly compute padding."""
    return min(FEW_COLUMNS, tile_columns(target))


def build_matmul(form: NormalForm, target: Target, tile: MatmulTile, name: str = "matmul") -> Kernel:
    """Build `name(weights, activations, output, stride, length, first, last, tokens)`.

    output[token][row] += or = sum over k of weight[row][k] * activation[token][k], f32, for the row groups
    first <= g < last and all tokens; `stride` is the output's bytes per token, `length` the row's
    elements. Output rows are padded to whole row groups.
    """
    return _Matmul(form, target, tile, name).build()


class _Matmul:
    def __init__(self, form: NormalForm, target: Target, tile: MatmulTile, name: str):
        self.form = form
        self.target = target
        self.tile = tile
        self.m = tile.columns
        self.rows = target.lanes
        self.layout = WeightLayout(form, self.rows)
        self.activation = ActivationLayout(form.activation, tile.columns)
        parameters = [("weights", PTR), ("activations", PTR), ("output", PTR)]
        parameters += [(label, I64) for label in ("stride", "length", "first", "last", "tokens")]
        added = ", added to the output" if tile.accumulate else ""
        tokens = f"{tile.columns} token{'s' * (tile.columns > 1)} at a time"
        doc = f"{form.name} weights x {form.activation} activations, {tokens}{added}"
        self.kernel = Kernel(name, parameters, doc=doc)
        self.b = Builder(self.kernel)
        self.vector = Type("f32", self.rows)
        self.plan = DotPlan.choose(form, target) if form.kind == "integer" else DotPlan("plain")
        self.reader = WeightReader(self.b, self.layout, self.plan, target)

    def build(self) -> Kernel:
        b = self.b
        weights, activations, output, stride, length, first, last, tokens = self.kernel.parameters
        blocks = b.div(length, self.form.block)
        group_bytes = emit_group_bytes(b, self.layout, blocks)
        if self.m == 1:
            with b.loop(first, last) as group:
                base = b.offset(weights, b.mul(group.index, group_bytes))
                sums = self.row_group(base, activations, length)
                where = b.offset(output, b.mul(group.index, 4 * self.rows))
                self.store(sums[0], where)
            return self.kernel
        panel_bytes = b.mul(b.div(length, self.activation.group), self.activation.block_bytes)
        panels = b.div(b.add(tokens, self.m - 1), self.m)
        # A few row groups share a panel while it is near; their weights stay in the second cache.
        with b.loop(first, last, 4) as outer:
            stop = b.minimum(b.add(outer.index, 4), last)
            with b.loop(0, panels) as panel:
                columns = b.offset(activations, b.mul(panel.index, panel_bytes))
                token = b.mul(panel.index, self.m)
                left = b.sub(tokens, token)
                with b.loop(outer.index, stop) as group:
                    base = b.offset(weights, b.mul(group.index, group_bytes))
                    where = b.offset(output, b.mul(group.index, 4 * self.rows))
                    where = b.offset(where, b.mul(token, stride))
                    for column in range(self.m):  # the sums will not wait for these lines
                        b.prefetch(where, b.mul(stride, column))
                    sums = self.row_group(base, columns, length)
                    for column in range(self.m):
                        with b.when(b.compare("gt", left, column)):
                            self.store(sums[column], b.offset(where, b.mul(stride, column)))
        return self.kernel

    def store(self, value: Value, where: Value) -> None:
        if self.tile.accumulate:
            value = self.b.add(value, self.b.load(self.vector, where, 0, align=4))
        self.b.store(value, where, 0, align=4)

    # ------------------------------------------------------------- accumulation

    def row_group(self, weights: Value, activations: Value, length: Value) -> list[Value]:
        """The m sums of one row group over the whole row."""
        b, form, layout = self.b, self.form, self.layout
        if form.kind == "float":
            sums = self.float_row(weights, activations, length)
        else:
            sums = self.integer_row(weights, activations, length)
        unit = WEIGHT_UNITS.get(form.element, 1.0)
        if form.row is not None:
            where = b.mul(b.div(length, form.block), layout.code_bytes + layout.scale_bytes)
            factor = b.load(self.vector, weights, where, align=4)
            return [b.mul(total, b.mul(factor, unit) if unit != 1 else factor) for total in sums]
        return [b.mul(total, unit) for total in sums] if unit != 1 else sums

    def integer_row(self, weights: Value, activations: Value, length: Value) -> list[Value]:
        b = self.b
        blocks = b.div(length, self.form.block)
        scales = b.offset(weights, b.mul(blocks, self.layout.code_bytes))
        zeros = [b.constant(self.vector, 0.0)] * self.m

        def place(block: Value) -> tuple[Value, Value, Value]:
            codes = b.offset(weights, b.mul(block, self.layout.code_bytes))
            base = b.offset(scales, b.mul(block, self.layout.scale_bytes))
            return codes, base, b.offset(activations, b.mul(block, self.block_stride))

        if self.activation.group == PIECE:
            with b.loop(0, blocks, 1, zeros) as loop:
                sums = self.pieces(*place(loop.index), list(loop.values))
                loop.next(*sums)
            return list(loop.results)
        # One activation scale for a whole block: it is applied once, to sums that wait in the nearest cache.
        waiting = b.stack(4 * self.rows * self.m)
        for column in range(self.m):
            b.store(zeros[0], waiting, 4 * self.rows * column, align=64)
        with b.loop(0, blocks) as loop:
            codes, base, columns = place(loop.index)
            sums = self.pieces(codes, base, columns, zeros)
            for column in range(self.m):
                where = 4 * self.rows * column
                by = b.load_splat(self.vector, columns, self.activation.scales + 4 * column)
                before = b.load(self.vector, waiting, where, align=64)
                b.store(b.fma(sums[column], by, before), waiting, where, align=64)
            loop.next()
        return [b.load(self.vector, waiting, 4 * self.rows * column, align=64) for column in range(self.m)]

    @property
    def block_stride(self) -> int:
        """Bytes of a panel that one block of weights meets."""
        return max(1, self.form.block // self.activation.group) * self.activation.block_bytes

    def pieces(self, codes: Value, base: Value, columns: Value, sums: list[Value]) -> list[Value]:
        """Add a block's products to the sums."""
        b = self.b
        count = self.form.block // PIECE
        if count == 1:
            return self.piece(codes, base, columns, b.i64(0), sums)
        with b.loop(0, count, 1, sums) as piece:
            piece.next(*self.piece(codes, base, columns, piece.index, list(piece.values)))
        return list(piece.results)

    def block_factors(self, base: Value) -> tuple[Value, Value | None]:
        floats = self.reader.floats(base)
        assert self.form.scale is not None
        scale = self.reader.factor(self.form.scale, floats, self.form.multiplier * 2.0**-self.plan.shift)
        offset = None
        if self.form.offset is not None:
            offset = self.reader.factor(self.form.offset, floats, 1.0)
        return scale, offset

    def piece(
        self,
        codes: Value,
        base: Value,
        columns: Value,
        index: Value,
        sums: list[Value],
    ) -> list[Value]:
        """Add the dot products of 32 elements (piece `index` of the block) to the m sums."""
        b, layout, act = self.b, self.layout, self.activation
        units = PIECE // layout.unit
        codes = b.offset(codes, b.mul(index, units * layout.unit_bytes))
        self.fetch_ahead(codes, units * layout.unit_bytes)
        if act.group == PIECE:
            columns = b.offset(columns, b.mul(index, act.block_bytes))
            quants, metadata = columns, columns
        else:
            quants, metadata = b.offset(columns, b.mul(index, PIECE * self.m)), columns
        # Read anew for every piece: carried over the pieces they would cost registers that the sums need.
        factors = self.block_factors(base)
        scales = Spread(b, self.target, self.vector, metadata, act.scales, self.m)
        totals_of: Spread | None = None
        sub = min(self.form.sub, PIECE)
        for start in range(0, PIECE, sub):
            scale = self.sub_factor(self.form.scale, factors[0], base, layout.scale_offset, index, start)
            beta = self.beta(base, index, start, scale, factors[1])
            # With few registers the operands come in portions of four, so that nothing is spilled.
            portion = 4 * (8 if self.target.registers >= 32 else 4)
            end = start + sub
            parts = [range(first, min(first + portion, end)) for first in range(start, end, portion)]
            totals: list[Value | None] = [None] * self.m
            for part in parts:
                operands = self.operands(codes, part)
                for column in range(self.m):
                    total = totals[column] or self.seed(metadata, index, start, sub, column)
                    total = totals[column] = self.dot(total, operands, quants, part.start, column)
                    if part is not parts[-1]:
                        continue
                    # At once: a finished total must not hold a register.
                    factor = b.mul(scale, scales[column]) if act.group == PIECE else scale
                    sums[column] = b.fma(b.convert(total, "f32"), factor, sums[column])
                    if beta is not None and sub < PIECE:
                        by = b.mul(beta, scales[column]) if act.group == PIECE else beta
                        seeds = b.convert(self.seeds(metadata, index, start, sub, column), "f32")
                        sums[column] = b.fma(by, seeds, sums[column])
                    elif beta is not None:
                        if totals_of is None:
                            where = (
                                columns if act.group == PIECE else b.offset(columns, b.mul(index, 4 * self.m))
                            )
                            totals_of = Spread(b, self.target, self.vector, where, act.sums32, self.m)
                        sums[column] = b.fma(beta, totals_of[column], sums[column])
        return sums

    def fetch_ahead(self, weights: Value, bytes: int) -> None:
        for offset in range(0, bytes, 64):
            self.b.prefetch(weights, AHEAD + offset)

    def sub_factor(
        self, scale: Scale | None, factor: Value, base: Value, where: int, index: Value, start: int
    ) -> Value:
        """The factor of the sub-block that holds element `start` of piece `index`."""
        if scale is None or (scale.integer is None and scale.count == 1):
            return factor
        b = self.b
        per_piece = max(1, PIECE // self.form.sub)
        number = b.add(b.mul(index, per_piece), start // self.form.sub)
        if self.form.sub > PIECE:
            number = b.div(index, self.form.sub // PIECE)
        return self.reader.sub_factor(scale, factor, base, number, where)

    def beta(self, base: Value, index: Value, start: int, scale: Value, offset: Value | None) -> Value | None:
        """What multiplies sum(y): the offset and, for a zero point that is no seed, -zero * scale."""
        b = self.b
        beta: Value | None = None
        if offset is not None:
            beta = self.sub_factor(self.form.offset, offset, base, self.layout.minimum_offset, index, start)
        if self.plan.kind == "corrected":
            shifted = b.mul(scale, -float(self.plan.zero(self.form)) / self.form.multiplier)
            beta = shifted if beta is None else b.add(beta, shifted)
        if beta is not None and self.form.sub < PIECE:  # the sums of 16 are had from their seeds
            beta = b.mul(beta, -1.0 / 128)
        return beta

    def operands(self, codes: Value, part: range) -> list[Value]:
        """Operand vectors of the elements `part` of the piece, which lie in one unit."""
        unit, inside = divmod(part.start, self.layout.unit)
        unit_base = self.b.offset(codes, unit * self.layout.unit_bytes)
        return self.reader.operands(unit_base, range(inside // 4, (inside + len(part)) // 4))

    def dot(self, total: Value, operands: list[Value], quants: Value, first: int, column: int) -> Value:
        """total + the dot products of the operands with a column's activations from element `first` on."""
        b, type = self.b, operands[0].type
        start = self.activation.code(column, first)
        codes = Spread(b, self.target, type, quants, start, len(operands))
        if not self.plan.chain:
            for step, operand in enumerate(operands):
                total = self.dot_step(total, operand, codes[step])
            return total
        for link in range(0, len(operands), self.plan.chain):
            steps = range(link, min(link + self.plan.chain, len(operands)))
            total = self.chained(total, [(operands[step], codes[step]) for step in steps])
        return total

    def chained(self, total: Value, pairs: list[tuple[Value, Value]]) -> Value:
        """total + the dot products of the pairs, whose products add up in 16 bits."""
        b, bytes = self.b, Type("i8", 4 * self.rows)
        products: Value | None = None
        for pair in pairs:
            left, right = (b.convert(b.bitcast(value, bytes), "i16") for value in pair)
            product = b.mul(left, right)
            products = product if products is None else b.add(products, product)
        assert products is not None
        even, odd = (b.shuffle(products, None, range(first, 4 * self.rows, 2)) for first in (0, 1))
        return b.add(total, b.instruction("widen_pairs", (b.add(even, odd),), total.type))

    def dot_step(self, total: Value, operand: Value, activation: Value) -> Value:
        b = self.b
        if self.plan.kind != "magnitude":
            return b.dot4(total, operand, activation, self.plan.left)
        bytes = Type("i8", 4 * self.rows)
        signed = b.bitxor(b.bitcast(operand, bytes), -128)
        magnitude = b.bitcast(b.abs(signed), operand.type)
        turned = b.instruction("sign8", (b.bitcast(activation, bytes), signed), bytes)
        return b.dot4(total, magnitude, b.bitcast(turned, operand.type), self.plan.left)

    def seed(self, metadata: Value, index: Value, start: int, sub: int, column: int) -> Value:
        """What an integer sum starts from: the zero point's share, or 0."""
        b = self.b
        if self.plan.kind != "seeded":
            return b.constant(Type("i32", self.rows), 0)
        return b.sar(self.seeds(metadata, index, start, sub, column), self.plan.seed_shift)

    def seeds(self, metadata: Value, index: Value, start: int, sub: int, column: int) -> Value:
        """-128 * sum of a column's activations over `sub` elements, 32 or 16, in every lane."""
        b, act = self.b, self.activation
        lanes = Type("i32", self.rows)
        if sub == PIECE:
            where = metadata if act.group == PIECE else b.offset(metadata, b.mul(index, 4 * self.m))
            first = act.seeds32
        else:
            where = metadata if act.group == PIECE else b.offset(metadata, b.mul(index, 8 * self.m))
            first = act.seeds16 + start // 16 * 4 * self.m
        return b.load_splat(lanes, where, first + 4 * column)

    # -------------------------------------------------------------------- float

    def float_row(self, weights: Value, activations: Value, length: Value) -> list[Value]:
        """Sums for weights stored as floats, block by block where blocks have a scale."""
        b, form, layout = self.b, self.form, self.layout
        zeros = [b.constant(self.vector, 0.0)] * self.m
        if form.scale is None:
            return self.float_sums(weights, activations, length)
        blocks = b.div(length, form.block)
        scales = b.offset(weights, b.mul(blocks, layout.code_bytes))
        with b.loop(0, blocks, 1, zeros) as loop:
            codes = b.offset(weights, b.mul(loop.index, layout.code_bytes))
            columns = b.offset(activations, b.mul(loop.index, 4 * self.m * form.block))
            found = self.float_sums(codes, columns, b.i64(form.block))
            base = b.offset(scales, b.mul(loop.index, layout.scale_bytes))
            factor = self.reader.factor(form.scale, self.reader.floats(base), 1.0)
            loop.next(*(b.fma(part, factor, total) for part, total in zip(found, loop.values, strict=True)))
        return list(loop.results)

    def float_sums(self, weights: Value, activations: Value, count: Value) -> list[Value]:
        """The m sums over `count` elements: one fused multiply-add per element and column."""
        b = self.b
        chains = 4 if self.m == 1 else 1  # independent sums hide the latency of the additions
        bytes = FLOAT_BYTES[self.form.element] * self.rows
        zero = b.constant(self.vector, 0.0)
        whole = b.mul(b.div(count, chains), chains)

        def step(index: Value, sums: list[Value], count: int) -> list[Value]:
            base = b.offset(weights, b.mul(index, bytes))
            columns = b.offset(activations, b.mul(index, 4 * self.m))
            by = Spread(b, self.target, self.vector, columns, 0, count * self.m)
            for chain in range(count):
                row = load_float(b, self.form.element, self.rows, base, chain * bytes)
                for column in range(self.m):
                    place = chain * self.m + column
                    sums[place] = b.fma(row, by[place], sums[place])
            return sums

        with b.loop(0, whole, chains, [zero] * (self.m * chains)) as main:
            main.next(*step(main.index, list(main.values), chains))
        with b.loop(whole, count, 1, main.results) as rest:
            rest.next(*step(rest.index, list(rest.values), 1))
        sums = list(rest.results)
        if chains == 1:
            return sums
        return [b.add(b.add(sums[0], sums[1]), b.add(sums[2], sums[3]))]
