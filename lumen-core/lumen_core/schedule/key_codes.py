"""Scores over keys of an integer format: products of their codes with queries in words, without unpacking.

Codes of a key enter as words, and so does the query, as 15 bits and a sign with one factor for a head.
That costs nothing to be seen: over the demo's held-out text q8_0 keys and values are 6.12e-5 nats a token
from f32 ones, and 6.13e-5 where keys become f32 first. Products add up in 32 bits over a step of one scale.
Of a lane's four codes the even ones make one pair of words and the odd ones the other; a query has its words
in that order, [step][0, 2, 1, 3, 4, 6, ...].
"""

from __future__ import annotations

from math import gcd

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.cache_layout import CacheLayout
from lumen_core.quant.layout import WeightLayout
from lumen_core.schedule.cache_read import Fetch
from lumen_core.schedule.softmax import Chunk
from lumen_core.schedule.weights import DotPlan, WeightReader, emit_places
from lumen_core.target import Target

_MAGIC = 12582912.0  # 1.5 * 2**23: a sum with it holds the rounded integer in its low bits
_MAGIC_BITS = 0x4B400000
_TINY = 1e-30  # below this the factor's inverse would overflow: such a query counts as zero


class KeyCodes:
    """The keys of a page in an integer format, as `KeyFloats` has those of a float format."""

    near = False

    def __init__(
        self, builder: Builder, layout: CacheLayout, target: Target, tiles: int, columns: int, scale: float
    ):
        """tiles: vectors of tokens taken together; columns: of the largest chunk; scale: of a score"""
        self.b = builder
        self.layout = layout
        self.form = layout.keys
        self.tiles = tiles
        self.scale = scale
        self.head_bytes = layout.key_head_bytes
        self.weights = WeightLayout(self.form, layout.rows)
        self.reader = WeightReader(builder, self.weights, DotPlan("plain", table=self.form.table), target)
        self.vector = Type("f32", layout.rows)
        self.step = min(self.form.sub, self.weights.unit)
        steps = layout.size // self.step
        self.most = min(0x7FFF, (1 << 31) // (512 * self.step))  # so that sums and their seeds fit
        # A query: words, then of every step what its sum begins with and the sum of its words, then a factor.
        self.seeds = 2 * layout.size
        self.totals = self.seeds + 4 * steps
        self.factor = self.totals + 4 * steps
        self.query_bytes = -(-(self.factor + 4) // 64) * 64
        self.sums = builder.stack(columns * tiles * self.vector.bytes)

    def place(self, page: Value, count: Value, fetch: Fetch) -> Value:
        """They are read where they lie."""
        return page

    def prepare(self, query: Value, to: Value) -> None:
        """Write a query, f32, as words."""
        b, size = self.b, self.layout.size
        vector = Type("f32", gcd(self.step, self.vector.lanes))
        count = vector.lanes
        largest = b.abs(b.load(vector, query, align=4))
        for start in range(count, size, count):
            largest = b.maximum(b.abs(b.load(vector, query, 4 * start, align=4)), largest)
        most = b.reduce("max", largest)
        inverse = b.div(b.f32(float(self.most)), most)
        inverse = b.splat(b.select(b.compare("gt", most, _TINY), inverse, b.f32(0.0)), count)
        b.store(b.mul(most, self.scale / self.most), to, self.factor, align=4)
        order = [4 * four + place for four in range(count // 4) for place in (0, 2, 1, 3)]
        for step in range(size // self.step):
            total = b.constant(vector.of("i32"), 0)
            for start in range(step * self.step, (step + 1) * self.step, count):
                rounded = b.fma(
                    b.load(vector, query, 4 * start, align=4), inverse, b.constant(vector, _MAGIC)
                )
                integers = b.sub(b.bitcast(rounded, vector.of("i32")), _MAGIC_BITS)
                total = b.add(total, integers)
                b.store(b.shuffle(b.convert(integers, "i16"), None, order), to, 2 * start, align=2)
            sum = b.reduce("add", total)
            b.store(b.mul(sum, -self._zero), to, self.seeds + 4 * step, align=4)
            b.store(b.convert(sum, "f32"), to, self.totals + 4 * step, align=4)

    @property
    def _zero(self) -> int:
        """What is taken off a code."""
        return self.form.zero_of_code if self.form.table is None else 0

    def scores(self, page: Value, chunk: Chunk, first: Value, fetch: Fetch) -> list[Value]:
        """query . key for some tiles of tokens, [column][tile]."""
        b, weights, bytes = self.b, self.weights, self.vector.bytes
        number = b.div(first, self.layout.rows)
        offsets = [b.mul(b.add(number, tile), self.layout.key_tile_bytes) for tile in range(self.tiles)]
        for place in range(chunk.size * self.tiles):
            b.store(b.constant(self.vector, 0.0), self.sums, place * bytes, align=64)
        unit, in_block = weights.unit, self.form.block // weights.unit
        share = weights.block_bytes // in_block
        with b.loop(0, self.layout.size // unit) as loop:
            block, inside = b.div(loop.index, in_block), b.rem(loop.index, in_block)
            starts = [b.offset(page, offset) for offset in offsets]
            places = [emit_places(b, weights, start, block) for start in starts]
            ahead = [b.add(offset, b.mul(loop.index, share)) for offset in offsets]
            fetch.begin(ahead, share, chunk.size * self.tiles * unit // 2)
            bases = [b.offset(codes, b.mul(inside, weights.unit_bytes)) for codes, _ in places]
            query = b.offset(chunk.queries, b.mul(loop.index, 2 * unit))
            steps = unit // self.step
            words = b.offset(chunk.queries, b.mul(loop.index, 4 * steps))
            for step in range(steps):
                sub = b.div(b.add(b.mul(inside, unit), step * self.step), self.form.sub)
                seeds = b.offset(words, 4 * step)
                totals = self._dots(chunk, bases, query, seeds, step * self.step, fetch)
                for tile, (start, (_, base)) in enumerate(zip(starts, places, strict=True)):
                    scale, minimum = self._factors(start, base, sub)
                    for column in range(chunk.size):
                        where = (column * self.tiles + tile) * bytes
                        value = b.convert(totals[column * self.tiles + tile], "f32")
                        sum = b.fma(value, scale, b.load(self.vector, self.sums, where, align=64))
                        if minimum is not None:
                            place = column * self.query_bytes + self.totals + 4 * step
                            sum = b.fma(b.load_splat(self.vector, words, place), minimum, sum)
                        b.store(sum, self.sums, where, align=64)
        found = []
        for column in range(chunk.size):
            factor = b.load_splat(self.vector, chunk.queries, column * self.query_bytes + self.factor)
            for tile in range(self.tiles):
                where = (column * self.tiles + tile) * bytes
                found.append(b.mul(b.load(self.vector, self.sums, where, align=64), factor))
        return found

    def _dots(
        self, chunk: Chunk, bases: list[Value], query: Value, words: Value, first: int, fetch: Fetch
    ) -> list[Value]:
        """The integer sums of a step that begins with element `first` of the unit."""
        b, lanes = self.b, self.vector.of("i32")
        if self._zero:
            at = [column * self.query_bytes + self.seeds for column in range(chunk.size)]
            totals = [seed for where in at for seed in [b.load_splat(lanes, words, where)] * self.tiles]
        else:
            totals = [b.constant(lanes, 0)] * (chunk.size * self.tiles)
        for element in range(first, first + self.step, 4):
            pairs = [self._pairs(base, element // 4) for base in bases]
            for half in range(2):
                for column in range(chunk.size):
                    where = column * self.query_bytes + 2 * element + 4 * half
                    factor = b.load_splat(lanes, query, where)
                    for tile, pair in enumerate(pairs):
                        place = column * self.tiles + tile
                        totals[place] = b.dot2(totals[place], pair[half], factor)
                        fetch.made()
        return totals

    def _pairs(self, base: Value, group: int) -> tuple[Value, Value]:
        """The codes of a k-group as words, two of every lane: the even ones and the odd ones."""
        b = self.b
        (codes,) = self.reader.operands(base, range(group, group + 1))
        words = b.bitcast(codes, Type("i16", 2 * codes.type.lanes))
        if self.form.table is None:
            even, odd = b.bitand(words, 255), b.shr(words, 8)
            if self.form.multiplier != 1:
                even, odd = (b.mul(part, self.form.multiplier) for part in (even, odd))
        else:
            even, odd = b.sar(b.shl(words, 8), 8), b.sar(words, 8)
        return b.bitcast(even, codes.type), b.bitcast(odd, codes.type)

    def _factors(self, start: Value, base: Value, sub: Value) -> tuple[Value, Value | None]:
        """What multiplies the codes of every token's sub-block, and what its numbers have besides."""
        b, form, weights, reader = self.b, self.form, self.weights, self.reader
        assert form.scale is not None
        floats = reader.floats(base)
        row: Value | None = None
        if form.row is not None:
            blocks = self.layout.size // form.block
            row = b.load(self.vector, start, weights.blocks_bytes(blocks), align=4)
        scale = reader.factor(form.scale, floats, 1.0)
        scale = reader.sub_factor(form.scale, scale, base, sub, weights.scale_offset)
        scale = scale if row is None else b.mul(scale, row)
        if form.offset is None:
            return scale, None
        offset = reader.factor(form.offset, floats, 1.0)
        offset = reader.sub_factor(form.offset, offset, base, sub, weights.minimum_offset)
        return scale, offset if row is None else b.mul(offset, row)
