"""Causal attention over cached keys and values with an online softmax: no row of scores is stored whole.

The query heads that share a key head, times the tokens of a query block, are the columns of one item of work.
A page of the cache at a time: scores (lanes are cached tokens), then their exponentials and the running
maximum and sum of each column, then the weighted sum of values (lanes are dimensions).
A page that moves a column's maximum rescales what the column has gathered so far. With a window, pages
before it are not looked at.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from lumen_core.ir.core import Operation
from lumen_core.ir.kernel import F32, I32, I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.layout import CacheLayout
from lumen_core.schedule.cache import ELEMENT, emit_page
from lumen_core.schedule.math import LOG2_E, exp2_negative
from lumen_core.schedule.segments import FIRST, POSITION, TOKENS, share_of_segments
from lumen_core.target import Target

_LOWEST = -1e30  # a maximum before any score; finite, so that differences stay numbers


def attention_block(operation: Operation, target: Target) -> int:
    """Tokens of a query block that fill the score tile when there are many queries."""
    heads, groups, _ = _shape(operation)
    return max(1, _score_columns(target, 2) // (heads // groups))


def build_attention(operation: Operation, target: Target, block: int = 1, name: str = "attention") -> Kernel:
    """Build the kernel of an `attention` for query blocks of `block` tokens (1 for decoding).

    `schedule/__init__.py` says how it is called; every block of tokens of a segment is one item per
    kv head.
    """
    return _Attention(operation, target, block, name).build()


def _shape(operation: Operation) -> tuple[int, int, int]:
    """Query heads, key heads and elements of a head."""
    queries, keys, values = (operand.type.shape for operand in operation.operands)
    sizes = (queries[1].value, keys[1].value, keys[2].value)
    assert None not in sizes
    assert values[2] == keys[2], "keys and values have one layout"
    return sizes  # type: ignore[return-value]


def _score_columns(target: Target, tiles: int) -> int:
    """Columns of a score tile whose accumulators, keys and one query element fit the registers."""
    return (target.registers - 2 - tiles) // tiles


def _chunks(count: int, limit: int) -> Iterator[range]:
    """Cut range(count) into as few parts of at most `limit` as possible, of nearly equal size."""
    parts = -(-count // limit)
    for part in range(parts):
        yield range(count * part // parts, count * (part + 1) // parts)


class _Attention:
    def __init__(self, operation: Operation, target: Target, block: int, name: str):
        self.target = target
        self.block = block
        self.heads, self.groups, self.size = _shape(operation)
        self.shared = self.heads // self.groups  # query heads per key head
        self.columns = self.shared * block
        self.scale = float(operation.attributes["scale"]) * LOG2_E  # type: ignore[arg-type]
        self.window = int(operation.attribute("window"))  # keys that a query sees, 0: all
        self.layout = CacheLayout(self.groups, self.size, target.lanes)
        self.vector = Type("f32", target.lanes)
        self.part = Type("f32", math.gcd(self.size, target.lanes))  # dimensions that are handled together
        parameters = [("queries", PTR), ("output", PTR), ("stride", I64), ("cache", PTR), ("page_bytes", I64)]
        parameters += [("pages", PTR), ("segments", PTR)]
        parameters += [(label, I64) for label in ("segment_count", "first", "last")]
        heads = f"{self.heads} query heads over {self.groups} key/value heads of {self.size}"
        doc = f"{heads}, {block} token{'s' * (block > 1)} at a time"
        self.kernel = Kernel(name, parameters, doc=doc)
        self.given = {value.name: value for value in self.kernel.parameters}
        self.b = Builder(self.kernel)

    def build(self) -> Kernel:
        b, given = self.b, self.given
        rows = 4 * self.columns * self.size
        self.queries, self.sums = b.stack(rows), b.stack(rows)
        self.scores = b.stack(4 * self.columns * self.layout.page)
        self.state = b.stack(12 * self.columns)  # per column: maximum, sum of exponentials, factor
        share = (given["segments"], given["segment_count"], self.block, self.groups)
        with share_of_segments(b, *share, given["first"], given["last"]) as (segment, record, item):
            self.head = b.rem(item.index, self.groups)
            self.start = b.mul(b.div(item.index, self.groups), self.block)
            first, self.tokens, self.position = (
                b.load(I64, record, at, align=8) for at in (FIRST, TOKENS, POSITION)
            )
            self.rows = b.mul(first, given["stride"])
            self.pages = b.load(PTR, given["pages"], b.mul(segment, 8), align=8)
            self._begin()
            tokens = b.minimum(b.add(self.start, self.block), self.tokens)
            self.seen = b.add(self.position, tokens)  # cached tokens that the last query sees
            with b.loop(self._first_page(), self.seen, self.layout.page) as page:
                self._page(page.index)
            self._finish()
        return self.kernel

    def _first_page(self) -> Value | int:
        """The first cached token of the page where the window of the block's first query begins."""
        if not self.window:
            return 0
        b, page = self.b, self.layout.page
        begin = b.sub(b.add(b.add(self.position, self.start), 1), self.window)
        return b.mul(b.div(b.maximum(begin, 0), page), page)

    def _token(self, column: Value) -> Value:
        """The token of the segment that a column belongs to; the last block repeats the last token."""
        b = self.b
        return b.minimum(b.add(self.start, b.div(column, self.shared)), b.sub(self.tokens, 1))

    def _row(self, buffer: str, column: Value) -> tuple[Value, Value]:
        """Pointers to a column's query or output, and to its row of a scratch buffer."""
        b = self.b
        head = b.add(b.mul(self.head, self.shared), b.rem(column, self.shared))
        outside = b.add(b.mul(self._token(column), self.given["stride"]), b.mul(head, 4 * self.size))
        outside = b.add(self.rows, outside)
        return b.offset(self.given[buffer], outside), b.mul(column, 4 * self.size)

    def _begin(self) -> None:
        """Copy the queries, scaled, and clear what columns gather."""
        b = self.b
        with b.loop(0, self.columns) as column:
            query, inside = self._row("queries", column.index)
            scaled, sums = b.offset(self.queries, inside), b.offset(self.sums, inside)
            for at in range(0, 4 * self.size, self.part.bytes):
                value = b.load(self.part, query, at, align=4)
                b.store(b.mul(value, self.scale), scaled, at, align=4)
                b.store(b.constant(self.part, 0.0), sums, at, align=4)
            state = b.offset(self.state, b.mul(column.index, 12))
            b.store(b.f32(_LOWEST), state, 0, align=4)
            b.store(b.f32(0.0), state, 4, align=4)

    def _page(self, first: Value) -> None:
        """Take the cached tokens first .. first + page into every column."""
        b, layout = self.b, self.layout
        number = b.load(I32, self.pages, b.mul(b.div(first, layout.page), 4), align=4)
        page = emit_page(b, self.given["cache"], self.given["page_bytes"], b.convert(number, "i64"))
        keys = b.offset(page, b.mul(self.head, layout.head_bytes))
        count = b.minimum(b.sub(self.seen, first), layout.page)
        tiles = 4 if self.columns <= _score_columns(self.target, 4) else 2
        with b.loop(0, count, tiles * layout.rows) as tile:
            for columns in _chunks(self.columns, _score_columns(self.target, tiles)):
                self._score(keys, tile.index, tiles, columns)
        with b.loop(0, self.columns) as column:
            self._soften(column.index, first)
        values = b.offset(keys, layout.values)
        parts = self.size // self.part.lanes
        wide = min(4, parts) if self.target.registers >= 32 else min(2, parts)
        if self.columns * parts <= self.target.registers - 8:
            wide = parts
        for dimensions in _chunks(parts, wide):
            for columns in _chunks(self.columns, (self.target.registers - 2 - wide) // wide):
                self._gather(values, count, dimensions, columns)

    def _score(self, keys: Value, first: Value, tiles: int, columns: range) -> None:
        """scores[column][token] = query . key for `tiles` tiles of tokens."""
        b, rows, size = self.b, self.layout.rows, self.size
        tile_bytes = rows * size * ELEMENT
        base = b.offset(keys, b.mul(first, size * ELEMENT))
        unroll = 4 if size % 4 == 0 else 1
        zero = b.constant(self.vector, 0.0)
        with b.loop(0, size, unroll, [zero] * (len(columns) * tiles)) as loop:
            sums = list(loop.values)
            here = b.offset(base, b.mul(loop.index, rows * ELEMENT))
            queries = b.offset(self.queries, b.mul(loop.index, 4))
            for step in range(unroll):
                operands = []
                for tile in range(tiles):
                    halves = b.load(
                        self.vector.of("f16"), here, tile * tile_bytes + step * rows * ELEMENT, align=2
                    )
                    operands.append(b.convert(halves, "f32"))
                for number, column in enumerate(columns):
                    query = b.load_splat(self.vector, queries, 4 * (column * size + step))
                    for tile, operand in enumerate(operands):
                        place = number * tiles + tile
                        sums[place] = b.fma(operand, query, sums[place])
            loop.next(*sums)
        to = b.offset(self.scores, b.mul(first, 4))
        for number, column in enumerate(columns):
            for tile in range(tiles):
                where = 4 * (column * self.layout.page + tile * rows)
                b.store(loop.results[number * tiles + tile], to, where, align=4)

    def _soften(self, column: Value, first: Value) -> None:
        """Turn a column's scores of the page into exponentials; update its maximum, sum and factor."""
        b, lanes = self.b, self.vector.lanes
        scores = b.offset(self.scores, b.mul(column, 4 * self.layout.page))
        state = b.offset(self.state, b.mul(column, 12))
        seen = b.sub(b.add(b.add(self.position, self._token(column)), 1), first)
        limit = b.splat(b.convert(seen, "i32"), lanes)
        gone = b.splat(b.convert(b.sub(seen, self.window), "i32"), lanes)  # the window begins here
        masked = b.constant(self.vector, -math.inf)
        values = []
        for at in range(0, self.layout.page, lanes):
            value = b.load(self.vector, scores, 4 * at, align=4)
            places = b.vector_constant(Type("i32", lanes), range(at, at + lanes))
            value = b.select(b.compare("lt", places, limit), value, masked)
            if self.window:
                value = b.select(b.compare("lt", places, gone), masked, value)
            values.append(value)
        before = b.load(F32, state, 0, align=4)
        largest = b.maximum(b.reduce("max", self._tree(b.maximum, values)), before)
        shift = b.splat(largest, lanes)
        powers = [exp2_negative(b, b.sub(value, shift)) for value in values]
        for number, power in enumerate(powers):
            b.store(power, scores, 4 * number * lanes, align=4)
        factor = exp2_negative(b, b.sub(before, largest))
        total = b.reduce("add", self._tree(b.add, powers))
        b.store(largest, state, 0, align=4)
        b.store(b.fma(b.load(F32, state, 4, align=4), factor, total), state, 4, align=4)
        b.store(factor, state, 8, align=4)

    @staticmethod
    def _tree(combine: Callable[[Value, Value], Value], values: list[Value]) -> Value:
        while len(values) > 1:
            values = [combine(left, right) for left, right in zip(values[::2], values[1::2], strict=True)]
        return values[0]

    def _gather(self, values: Value, count: Value, dimensions: range, columns: range) -> None:
        """sums[column] = sums[column] * factor + sum over tokens of weight * value, for some dimensions."""
        b, bytes = self.b, self.part.bytes
        width = len(dimensions)
        start = []
        for column in columns:
            factor = b.load_splat(self.part, self.state, 12 * column + 8)
            for part in dimensions:
                value = b.load(self.part, self.sums, 4 * column * self.size + part * bytes, align=4)
                start.append(b.mul(value, factor))
        with b.loop(0, count, 1, start) as token:
            sums = list(token.values)
            here = b.offset(values, b.mul(token.index, self.size * ELEMENT))
            weights = b.offset(self.scores, b.mul(token.index, 4))
            operands = []
            for part in dimensions:
                halves = b.load(self.part.of("f16"), here, part * self.part.lanes * ELEMENT, align=2)
                operands.append(b.convert(halves, "f32"))
            for number, column in enumerate(columns):
                weight = b.load_splat(self.part, weights, 4 * column * self.layout.page)
                for index, operand in enumerate(operands):
                    place = number * width + index
                    sums[place] = b.fma(operand, weight, sums[place])
            token.next(*sums)
        for number, column in enumerate(columns):
            for index, part in enumerate(dimensions):
                where = 4 * column * self.size + part * bytes
                b.store(token.results[number * width + index], self.sums, where, align=4)

    def _finish(self) -> None:
        """Write every column's sum over its total weight."""
        b = self.b
        with b.loop(0, self.columns) as column:
            output, inside = self._row("output", column.index)
            sums = b.offset(self.sums, inside)
            total = b.load(F32, b.offset(self.state, b.mul(column.index, 12)), 4, align=4)
            inverse = b.splat(b.div(b.f32(1.0), total), self.part.lanes)
            for at in range(0, 4 * self.size, self.part.bytes):
                b.store(b.mul(b.load(self.part, sums, at, align=4), inverse), output, at, align=4)
