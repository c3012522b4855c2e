"""What attention does with a page of the cache: scores, their exponentials, weighted sums.

attention.py says what the columns are, and which pages they see.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lumen_core.ir.core import Operation
from lumen_core.ir.kernel import F32, I32, I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.cache_layout import PAGE, CacheLayout
from lumen_core.schedule.cache import emit_page, head_shape, score_tiles
from lumen_core.schedule.cache_read import Fetch, Operands, fetcher, nothing_ahead
from lumen_core.schedule.math import LOG2_E, exp2_negative
from lumen_core.target import Target

STATE = 8  # bytes of a column's maximum and sum of exponentials
ROW = 4 * PAGE  # bytes of a column's scores, and then of its weights


def _chunks(count: int, limit: int) -> Iterator[range]:
    """Cut range(count) into as few parts of at most `limit` as possible, of nearly equal size."""
    parts = -(-count // limit)
    for part in range(parts):
        yield range(count * part // parts, count * (part + 1) // parts)


class PageReader:
    """The values that the pages of an item are taken into; the subclass sets what is about the item.

    sums, state      of the part at hand: [column][dimension], and a maximum and a sum per column
    queries, scores  [column][dimension] as products take them, [column][token of the page]
    low, high        the item's columns: all that there are, or the query heads of some key heads
    begin, seen      the cached tokens that the item's queries see
    """

    queries: Value
    scores: Value
    sums: Value
    state: Value
    position: Value
    tokens: Value
    start: Value
    first_head: Value
    last_head: Value
    low: Value
    high: Value
    begin: Value
    seen: Value
    pages: Value

    def __init__(self, operation: Operation, layout: CacheLayout, target: Target, block: int, name: str):
        self.operation = operation
        self.target = target
        self.block = block
        self.heads, self.groups, self.size = head_shape(operation)
        self.shared = self.heads // self.groups  # query heads per key head
        self.columns = self.shared * block
        self.scale = float(operation.attributes["scale"]) * LOG2_E  # type: ignore[arg-type]
        self.window = int(operation.attribute("window"))  # keys that a query sees, 0: all
        self.layout = layout
        self.vector = Type("f32", target.lanes)
        self.part = Type("f32", math.gcd(self.size, target.lanes))  # dimensions that are handled together
        parameters = [("queries", PTR), ("output", PTR), ("stride", I64), ("cache", PTR), ("staging", PTR)]
        parameters += [
            ("pages", PTR),
            ("partials", PTR),
            ("parts", I64),
            ("arrivals", PTR),
            ("segments", PTR),
        ]
        parameters += [(label, I64) for label in ("segment_count", "first", "last")]
        heads = f"{self.heads} query heads over {self.groups} key/value heads of {self.size}"
        doc = f"{heads}, {block} token{'s' * (block > 1)} at a time"
        self.kernel = Kernel(name, parameters, doc=doc)
        self.given = {value.name: value for value in self.kernel.parameters}
        self.b = Builder(self.kernel)
        self._choose_tiles()

    def _choose_tiles(self) -> None:
        """How many accumulators a score tile and a tile of weighted sums have."""
        registers = self.target.registers
        self.tiles = score_tiles(self.columns, self.target)
        self.score_chunks = list(_chunks(self.columns, (registers - 2 - self.tiles) // self.tiles))
        parts = self.size // self.part.lanes
        self.wide = min(4, parts) if registers >= 32 else min(2, parts)
        if self.columns * parts <= registers - 8:
            self.wide = parts
        limit = (registers - 3) // self.wide if self.block == 1 else (registers - 2 - self.wide) // self.wide
        self.sum_chunks = list(_chunks(self.columns, limit))
        self.keys = Operands(
            self.b, self.layout, self.target, "keys", self.target.lanes, len(self.score_chunks) > 1
        )
        self.values = Operands(
            self.b, self.layout, self.target, "values", self.part.lanes, len(self.sum_chunks) > 1
        )

    def _token(self, column: Value) -> Value:
        """The token of the segment that a column belongs to; the last block repeats the last token."""
        b = self.b
        if self.block == 1:
            return self.start
        return b.minimum(b.add(self.start, b.div(column, self.shared)), b.sub(self.tokens, 1))

    # -------------------------------------------------------------------- pages

    def _take_page(self, first: Value) -> None:
        """Take the cached tokens of a page, from `first` on, into every column."""
        b = self.b
        count = b.minimum(b.sub(self.seen, first), PAGE)
        later = b.add(first, PAGE)
        later = b.select(b.compare("lt", later, self.seen), later, first)
        with self._heads("keys", first, first) as (column, keys, fetch):
            self._score_page(count, column, keys, fetch)
        last = b.minimum(b.add(self.start, self.block), self.tokens)
        whole = b.compare("le", b.add(first, PAGE), b.add(b.add(self.position, self.start), 1))
        if self.window:
            inside = b.compare("le", b.sub(b.add(self.position, last), self.window), first)
            whole = b.bitand(inside, whole)
        for masked, met in ((False, whole), (True, b.bitxor(whole, 1))):
            with b.when(met), b.loop(self.low, self.high) as column:
                self._soften(column.index, first, masked)
        with self._heads("values", first, later) as (column, values, fetch):
            self._gather_page(count, column, values, fetch)

    @contextmanager
    def _heads(self, kind: str, first: Value, later: Value) -> Iterator[tuple[Value, Value, Fetch]]:
        """The item's key heads in the page of cached token `first`.

        Gives the first of a head's columns, where its keys or values are, and what fetches those that are
        read behind them, in the end those of the other kind in the page of `later`: memory, not arithmetic,
        is what a single token waits for.
        """
        b = self.b
        own, other = (self.keys, self.values) if kind == "keys" else (self.values, self.keys)
        start = self._page_of(own, first)
        if self.block > 1:
            yield b.i64(0), b.offset(start, b.mul(self.first_head, own.head_bytes)), nothing_ahead
            return
        behind = b.offset(self._page_of(other, later), b.mul(self.first_head, other.head_bytes))
        with b.loop(self.first_head, self.last_head) as head:
            here = b.offset(start, b.mul(head.index, own.head_bytes))
            last = b.compare("eq", b.add(head.index, 1), self.last_head)
            ahead = b.select(last, behind, b.offset(here, own.head_bytes))
            yield b.mul(head.index, self.shared), here, fetcher(b, ahead)

    def _page_of(self, operands: Operands, first: Value) -> Value:
        """Pointer to the keys or values in the page of cached token `first`."""
        b, layout = self.b, self.layout
        number = b.load(I32, self.pages, b.mul(b.div(first, PAGE), 4), align=4)
        cache, staging = self.given["cache"], self.given["staging"]
        page = emit_page(b, layout, cache, staging, b.convert(number, "i64"))
        return b.offset(page, layout.value_offset if operands is self.values else 0)

    def _score_page(self, count: Value, column: Value, keys: Value, fetch: Fetch) -> None:
        b = self.b
        near = self.keys.place(keys, count, fetch)
        queries = b.offset(self.queries, b.mul(column, 4 * self.size // self.keys.group))
        to = b.offset(self.scores, b.mul(column, ROW))
        with b.loop(0, count, self.tiles * self.vector.lanes) as tile:
            for chunk, columns in enumerate(self.score_chunks):
                alone = chunk == 0 and not self.keys.near
                self._score(near, queries, tile.index, columns, to, fetch if alone else nothing_ahead)

    def _gather_page(self, count: Value, column: Value, values: Value, fetch: Fetch) -> None:
        b = self.b
        near = self.values.place(values, count, fetch)
        weights = b.offset(self.scores, b.mul(column, ROW))
        sums = b.offset(self.sums, b.mul(column, 4 * self.size))
        for turn, dimensions in enumerate(_chunks(self.size // self.part.lanes, self.wide)):
            for chunk, columns in enumerate(self.sum_chunks):
                alone = turn == chunk == 0 and not self.values.near
                ahead = fetch if alone else nothing_ahead
                self._gather(near, count, dimensions, columns, weights, sums, ahead)

    def _key_lane(self, token: Value, steps: int) -> Value:
        """The first of a token's lanes; those of a tile's tokens lie side by side in each step."""
        b, rows = self.b, self.layout.rows
        if self.tiles * self.vector.lanes % rows == 0:  # tokens begin with a tile
            return b.mul(token, steps)
        return b.add(b.mul(b.div(token, rows), rows * steps), b.rem(token, rows))

    def _score(self, keys: Value, queries: Value, first: Value, columns: range, to: Value,
               fetch: Fetch) -> None:  # fmt: skip
        """scores[column][token] = query . key for some tiles of tokens."""
        b, reads, rows, tiles = self.b, self.keys, self.layout.rows, self.tiles
        steps, lanes = self.size // reads.group, self.vector.lanes
        base = b.offset(keys, b.mul(self._key_lane(first, steps), reads.lane_bytes))
        places = [tile * lanes // rows * steps * rows + tile * lanes % rows for tile in range(tiles)]
        unroll = next(count for count in (4, 2, 1) if steps % count == 0)
        zero = b.constant(self.vector, 0.0)
        with b.loop(0, steps, unroll, [zero] * (len(columns) * tiles)) as loop:
            sums = list(loop.values)
            inside = b.mul(loop.index, rows * reads.lane_bytes)
            here = b.offset(base, inside)
            query = b.offset(queries, b.mul(loop.index, 4))
            for tile in range(0, tiles * lanes, rows):
                start = b.mul(b.add(first, tile), steps * reads.lane_bytes)
                fetch(b.add(start, inside), unroll * rows * reads.lane_bytes)
            for step in range(unroll):
                operands = [reads.load(here, step * rows + place) for place in places]
                for number, column in enumerate(columns):
                    factor = reads.spread(query, 4 * (column * steps + step))
                    for tile, operand in enumerate(operands):
                        place = number * tiles + tile
                        sums[place] = reads.product(operand, factor, sums[place])
            loop.next(*sums)
        to = b.offset(to, b.mul(first, 4))
        for number, column in enumerate(columns):
            for tile in range(tiles):
                where = column * ROW + 4 * tile * lanes
                b.store(loop.results[number * tiles + tile], to, where, align=4)

    def _soften(self, column: Value, first: Value, masked: bool) -> None:
        """Turn a column's scores of the page into weights; update its maximum and sum, and rescale.

        masked  some tokens of the page are not for this column to see
        """
        b, lanes = self.b, self.vector.lanes
        scores = b.offset(self.scores, b.mul(column, ROW))
        state = b.offset(self.state, b.mul(column, STATE))
        values = [b.load(self.vector, scores, 4 * at, align=4) for at in range(0, PAGE, lanes)]
        if masked:
            values = self._masked(values, column, first)
        before = b.load(F32, state, 0, align=4)
        largest = b.maximum(b.reduce("max", self._tree(b.maximum, values)), before)
        shift = b.splat(largest, lanes)
        group = self.values.group
        powers = [exp2_negative(b, b.sub(value, shift), rough=group == 2) for value in values]
        for number, power in enumerate(powers):
            kept = power if group == 1 else b.convert(power, "bf16")
            b.store(kept, scores, 4 // group * number * lanes, align=4 // group)
        total = b.reduce("add", self._tree(b.add, powers))
        with b.when(b.compare("gt", largest, before)):
            factor = exp2_negative(b, b.sub(before, largest))
            b.store(largest, state, 0, align=4)
            b.store(b.mul(b.load(F32, state, 4, align=4), factor), state, 4, align=4)
            sums, spread = b.offset(self.sums, b.mul(column, 4 * self.size)), b.splat(factor, self.part.lanes)
            for at in range(0, 4 * self.size, self.part.bytes):
                b.store(b.mul(b.load(self.part, sums, at, align=4), spread), sums, at, align=4)
        b.store(b.add(b.load(F32, state, 4, align=4), total), state, 4, align=4)

    def _masked(self, values: list[Value], column: Value, first: Value) -> list[Value]:
        """Scores of the page, minus infinity for tokens that the column's token does not see."""
        b, lanes = self.b, self.vector.lanes
        seen = b.sub(b.add(b.add(self.position, self._token(column)), 1), first)
        limit = b.splat(b.convert(seen, "i32"), lanes)
        gone = b.splat(b.convert(b.sub(seen, self.window), "i32"), lanes)  # the window begins here
        hidden = b.constant(self.vector, -math.inf)
        found = []
        for at, value in zip(range(0, PAGE, lanes), values, strict=True):
            places = b.vector_constant(Type("i32", lanes), range(at, at + lanes))
            value = b.select(b.compare("lt", places, limit), value, hidden)
            if self.window:
                value = b.select(b.compare("lt", places, gone), hidden, value)
            found.append(value)
        return found

    @staticmethod
    def _tree(combine: Callable[[Value, Value], Value], values: list[Value]) -> Value:
        while len(values) > 1:
            values = [combine(left, right) for left, right in zip(values[::2], values[1::2], strict=True)]
        return values[0]

    def _gather(self, values: Value, count: Value, dimensions: range, columns: range, weights: Value,
                into: Value, fetch: Fetch) -> None:  # fmt: skip
        """into[column] += sum over tokens of weight * value, for some dimensions."""
        b, reads, bytes = self.b, self.values, self.part.bytes
        width = len(dimensions)
        start = [
            b.load(self.part, into, 4 * column * self.size + part * bytes, align=4)
            for column in columns
            for part in dimensions
        ]
        with b.loop(0, b.div(b.add(count, reads.group - 1), reads.group), 1, start) as token:
            sums = list(token.values)
            inside = b.mul(token.index, self.size * reads.lane_bytes)
            here = b.offset(values, inside)
            by = b.offset(weights, b.mul(token.index, 4))
            fetch(inside, self.size * reads.lane_bytes)
            for index, part in enumerate(dimensions):
                operand = reads.load(here, part * self.part.lanes)
                for number, column in enumerate(columns):
                    weight = reads.spread(by, column * ROW)
                    place = number * width + index
                    sums[place] = reads.product(operand, weight, sums[place])
            token.next(*sums)
        for number, column in enumerate(columns):
            for index, part in enumerate(dimensions):
                where = 4 * column * self.size + part * bytes
                b.store(token.results[number * width + index], into, where, align=4)
