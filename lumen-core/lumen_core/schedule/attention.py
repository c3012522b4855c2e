"""Causal attention over cached keys and values with an online softmax: no row of scores is stored whole.

The query heads that share a key head, times the tokens of a query block, are the columns of one item of work.
A page of the cache at a time: scores (lanes are cached tokens), then their exponentials and the running
maximum and sum of each column, then the weighted sum of values (lanes are dimensions).
A page that moves a column's maximum rescales what the column has gathered so far. With a window, pages
before it are not looked at.

What a column gathers from `PART` cached tokens is a part; parts are merged in order. Where a segment is one
token, its parts are items of their own, so that threads share a long context, and the one that finishes
last merges them: the sums are those of a single thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

from lumen_core.ir.core import Operation
from lumen_core.ir.kernel import F32, I32, I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.cache_layout import PAGE, CacheLayout
from lumen_core.schedule.cache import emit_page
from lumen_core.schedule.cache_read import Fetch, Operands, fetcher, nothing_ahead
from lumen_core.schedule.math import LOG2_E, exp2_negative
from lumen_core.schedule.segments import FIRST, POSITION, TOKENS, Items, share_of_items
from lumen_core.target import Target

PART = 8 * PAGE
COLUMNS = 32  # of an item with many queries: more share what is read of a page, but crowd the nearest cache
_LOWEST = -1e30  # a maximum before any score; finite, so that differences stay numbers
_STATE = 12  # bytes of a column's maximum, sum of exponentials, factor


def attention_items(operation: Operation, block: int) -> Items:
    """Return how the segments of a step are cut for a kernel of `block` tokens."""
    _, groups, _ = _shape(operation)
    return Items(block, groups, PART if block == 1 else 0, int(operation.attribute("window")))


def attention_block(operation: Operation) -> int:
    """Tokens of a query block where segments have many."""
    heads, groups, _ = _shape(operation)
    return max(2, COLUMNS // (heads // groups))


def partial_bytes(operation: Operation) -> int:
    """Bytes that a token needs for each part of the cache, over all heads."""
    heads, _, size = _shape(operation)
    return heads * (4 * size + _STATE)


def build_attention(
    operation: Operation, layout: CacheLayout, target: Target, block: int = 1, name: str = "attention"
) -> Kernel:
    """Build the kernel of an `attention` for the segments of one token (block = 1), or for all others.

    `schedule/__init__.py` says how it is called.
    """
    return _Attention(operation, layout, target, block, name).build()


def _shape(operation: Operation) -> tuple[int, int, int]:
    """Query heads, key heads and elements of a head."""
    queries, keys, values = (operand.type.shape for operand in operation.operands)
    sizes = (queries[1].value, keys[1].value, keys[2].value)
    assert None not in sizes
    assert values[2] == keys[2], "keys and values have one layout"
    return sizes  # type: ignore[return-value]


def _chunks(count: int, limit: int) -> Iterator[range]:
    """Cut range(count) into as few parts of at most `limit` as possible, of nearly equal size."""
    parts = -(-count // limit)
    for part in range(parts):
        yield range(count * part // parts, count * (part + 1) // parts)


class _Attention:
    def __init__(self, operation: Operation, layout: CacheLayout, target: Target, block: int, name: str):
        self.target = target
        self.block = block
        self.heads, self.groups, self.size = _shape(operation)
        self.shared = self.heads // self.groups  # query heads per key head
        self.columns = self.shared * block
        self.scale = float(operation.attributes["scale"]) * LOG2_E  # type: ignore[arg-type]
        self.window = int(operation.attribute("window"))  # keys that a query sees, 0: all
        self.items = attention_items(operation, block)
        self.layout = layout
        self.vector = Type("f32", target.lanes)
        self.part = Type("f32", math.gcd(self.size, target.lanes))  # dimensions that are handled together
        parameters = [("queries", PTR), ("output", PTR), ("stride", I64), ("cache", PTR), ("page_bytes", I64)]
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
        self.tiles = 4 if self.columns <= (registers - 6) // 4 else 2
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

    def build(self) -> Kernel:
        b, given = self.b, self.given
        self.queries = b.stack(4 * self.columns * self.size // self.keys.group)
        self.scores = b.stack(4 * self.columns * PAGE)
        self.weights = b.stack(2 * self.columns * PAGE) if self.values.group == 2 else self.scores
        self.total_sums = b.stack(4 * self.columns * self.size)
        self.total = b.stack(_STATE * self.columns)
        if self.block > 1:
            self.sums, self.state = b.stack(4 * self.columns * self.size), b.stack(_STATE * self.columns)
        share = (given["segments"], given["segment_count"], self.items, given["first"], given["last"])
        with share_of_items(b, *share) as (segment, record, item):
            self.position, self.tokens = (b.load(I64, record, at, align=8) for at in (POSITION, TOKENS))
            self.pages = b.load(PTR, given["pages"], b.mul(segment, 8), align=8)
            first_part, parts = self.items.parts(b, record)
            index, part = b.div(item.index, parts), b.add(b.rem(item.index, parts), first_part)
            self.head = b.rem(index, self.groups)
            self.start = b.mul(b.div(index, self.groups), self.block)
            first = b.load(I64, record, FIRST, align=8)
            self.rows = b.mul(first, given["stride"])
            self._begin()
            tokens = b.minimum(b.add(self.start, self.block), self.tokens)
            self.seen = b.add(self.position, tokens)  # cached tokens that the last query sees
            if self.block > 1:
                self._clear(self.total, self.total_sums)
                start = b.mul(b.div(self._first_token(), PART), PART)
                with b.loop(start, self.seen, PART) as loop:
                    self._part(loop.index)
                    self._merge(self.state, self.sums)
                self._finish(self.total, self.total_sums)
            else:
                number = b.add(b.mul(b.add(first, self.start), self.groups), self.head)
                self._one_of_several(number, part, first_part, parts)
        return self.kernel

    # -------------------------------------------------------------------- parts

    def _one_of_several(self, number: Value, part: Value, first: Value, parts: Value) -> None:
        """Compute a part of item `number`; the last of its parts to be done merges them all."""
        b, given = self.b, self.given
        bytes = self.columns * (4 * self.size + _STATE)
        begin = b.offset(given["partials"], b.mul(b.mul(number, given["parts"]), bytes))
        self.sums = b.offset(begin, b.mul(b.sub(part, first), bytes))
        self.state = b.offset(self.sums, 4 * self.columns * self.size)
        self._part(b.mul(part, PART))
        with b.when(b.compare("eq", parts, 1)):
            self._finish(self.state, self.sums)
        with b.when(b.compare("gt", parts, 1)):
            arrivals = b.offset(given["arrivals"], b.mul(number, 8))
            arrived = b.atomic("add", arrivals, b.i64(1))
            with b.when(b.compare("eq", b.add(arrived, 1), parts)):
                b.store(b.i64(0), arrivals, align=8)
                self._clear(self.total, self.total_sums)
                with b.loop(0, parts) as other:
                    sums = b.offset(begin, b.mul(other.index, bytes))
                    self._merge(b.offset(sums, 4 * self.columns * self.size), sums)
                self._finish(self.total, self.total_sums)

    def _part(self, first: Value) -> None:
        """Gather the part that begins with cached token `first`."""
        b = self.b
        self._clear(self.state, self.sums)
        start = b.mul(b.div(b.maximum(first, self._first_token()), PAGE), PAGE)
        with b.loop(start, b.minimum(b.add(first, PART), self.seen), PAGE) as page:
            self._page(page.index)

    def _first_token(self) -> Value:
        """The first cached token that the block's first query sees."""
        b = self.b
        if not self.window:
            return b.i64(0)
        return b.maximum(b.sub(b.add(b.add(self.position, self.start), 1), self.window), 0)

    def _clear(self, state: Value, sums: Value) -> None:
        b = self.b
        with b.loop(0, self.columns) as column:
            here = b.offset(sums, b.mul(column.index, 4 * self.size))
            for at in range(0, 4 * self.size, self.part.bytes):
                b.store(b.constant(self.part, 0.0), here, at, align=4)
            own = b.offset(state, b.mul(column.index, _STATE))
            b.store(b.f32(_LOWEST), own, 0, align=4)
            b.store(b.f32(0.0), own, 4, align=4)

    def _merge(self, state: Value, sums: Value) -> None:
        """Add a part to the total; the first becomes it to the bit, and one that saw nothing adds nothing."""
        b = self.b
        with b.loop(0, self.columns) as column:
            own, total = (b.offset(base, b.mul(column.index, _STATE)) for base in (state, self.total))
            here, there = (b.offset(x, b.mul(column.index, 4 * self.size)) for x in (sums, self.total_sums))
            before, added = (b.load(F32, pointer, 0, align=4) for pointer in (total, own))
            largest = b.maximum(added, before)
            keep, take = (exp2_negative(b, b.sub(value, largest)) for value in (before, added))
            weight = b.mul(b.load(F32, own, 4, align=4), take)
            b.store(largest, total, 0, align=4)
            b.store(b.fma(b.load(F32, total, 4, align=4), keep, weight), total, 4, align=4)
            keep, take = b.splat(keep, self.part.lanes), b.splat(take, self.part.lanes)
            for at in range(0, 4 * self.size, self.part.bytes):
                value = b.mul(b.load(self.part, here, at, align=4), take)
                b.store(b.fma(b.load(self.part, there, at, align=4), keep, value), there, at, align=4)

    # ------------------------------------------------------------------ columns

    def _token(self, column: Value) -> Value:
        """The token of the segment that a column belongs to; the last block repeats the last token."""
        b = self.b
        return b.minimum(b.add(self.start, b.div(column, self.shared)), b.sub(self.tokens, 1))

    def _row(self, buffer: str, column: Value) -> Value:
        """Pointer to a column's query or output."""
        b = self.b
        head = b.add(b.mul(self.head, self.shared), b.rem(column, self.shared))
        outside = b.add(b.mul(self._token(column), self.given["stride"]), b.mul(head, 4 * self.size))
        return b.offset(self.given[buffer], b.add(self.rows, outside))

    def _begin(self) -> None:
        """Copy the queries, scaled, as their products with keys take them."""
        b = self.b
        element = "bf16" if self.keys.group == 2 else "f32"
        bytes = 4 // self.keys.group
        with b.loop(0, self.columns) as column:
            query = self._row("queries", column.index)
            to = b.offset(self.queries, b.mul(column.index, bytes * self.size))
            for at in range(0, self.size, self.part.lanes):
                value = b.mul(b.load(self.part, query, 4 * at, align=4), self.scale)
                b.store(b.convert(value, element), to, bytes * at, align=bytes)

    def _finish(self, state: Value, sums: Value) -> None:
        """Write every column's sum over its total weight."""
        b = self.b
        with b.loop(0, self.columns) as column:
            output = self._row("output", column.index)
            here = b.offset(sums, b.mul(column.index, 4 * self.size))
            total = b.load(F32, b.offset(state, b.mul(column.index, _STATE)), 4, align=4)
            inverse = b.splat(b.div(b.f32(1.0), total), self.part.lanes)
            for at in range(0, 4 * self.size, self.part.bytes):
                b.store(b.mul(b.load(self.part, here, at, align=4), inverse), output, at, align=4)

    # -------------------------------------------------------------------- pages

    def _page(self, first: Value) -> None:
        """Take the cached tokens first .. first + page into every column."""
        b, layout = self.b, self.layout
        keys, values = self._heads_of(first)
        count = b.minimum(b.sub(self.seen, first), PAGE)
        fetch_values: Fetch = nothing_ahead
        fetch_keys: Fetch = nothing_ahead
        if self.block == 1:  # memory, not arithmetic, is what a single token waits for
            fetch_values = fetcher(b, values)
            more = b.compare("lt", b.add(first, PAGE), self.seen)
            fetch_keys = fetcher(b, self._heads_of(b.select(more, b.add(first, PAGE), first))[0])
        near = self.keys.place(keys, count, fetch_values)
        with b.loop(0, count, self.tiles * layout.rows) as tile:
            for number, columns in enumerate(self.score_chunks):
                alone = number == 0 and not self.keys.near
                self._score(near, tile.index, columns, fetch_values if alone else nothing_ahead)
        with b.loop(0, self.columns) as column:
            self._soften(column.index, first)
        near = self.values.place(values, count, fetch_keys)
        for dimensions in _chunks(self.size // self.part.lanes, self.wide):
            for number, columns in enumerate(self.sum_chunks):
                alone = number == 0 and not self.values.near
                self._gather(near, count, dimensions, columns, fetch_keys if alone else nothing_ahead)

    def _heads_of(self, first: Value) -> tuple[Value, Value]:
        """Pointers to this head's keys and values in the page of cached token `first`."""
        b, layout = self.b, self.layout
        number = b.load(I32, self.pages, b.mul(b.div(first, PAGE), 4), align=4)
        page = emit_page(b, self.given["cache"], self.given["page_bytes"], b.convert(number, "i64"))
        keys = b.offset(page, b.mul(self.head, layout.key_head_bytes))
        values = b.offset(page, b.add(b.mul(self.head, layout.value_head_bytes), layout.value_offset))
        return keys, values

    def _score(self, keys: Value, first: Value, columns: range, fetch: Fetch) -> None:
        """scores[column][token] = query . key for some tiles of tokens."""
        b, reads, rows, tiles = self.b, self.keys, self.layout.rows, self.tiles
        steps = self.size // reads.group
        base = b.offset(keys, b.mul(first, steps * reads.lane_bytes))
        unroll = next(count for count in (4, 2, 1) if steps % count == 0)
        zero = b.constant(self.vector, 0.0)
        with b.loop(0, steps, unroll, [zero] * (len(columns) * tiles)) as loop:
            sums = list(loop.values)
            inside = b.mul(loop.index, rows * reads.lane_bytes)
            here = b.offset(base, inside)
            queries = b.offset(self.queries, b.mul(loop.index, 4))
            for tile in range(tiles):
                start = b.mul(b.add(first, tile * rows), steps * reads.lane_bytes)
                fetch(b.add(start, inside), unroll * rows * reads.lane_bytes)
            for step in range(unroll):
                operands = [reads.load(here, (tile * steps + step) * rows) for tile in range(tiles)]
                for number, column in enumerate(columns):
                    query = reads.spread(queries, 4 * (column * steps + step))
                    for tile, operand in enumerate(operands):
                        place = number * tiles + tile
                        sums[place] = reads.product(operand, query, sums[place])
            loop.next(*sums)
        to = b.offset(self.scores, b.mul(first, 4))
        for number, column in enumerate(columns):
            for tile in range(tiles):
                where = 4 * (column * PAGE + tile * rows)
                b.store(loop.results[number * tiles + tile], to, where, align=4)

    def _soften(self, column: Value, first: Value) -> None:
        """Turn a column's scores of the page into exponentials; update its maximum, sum and factor."""
        b, lanes = self.b, self.vector.lanes
        scores = b.offset(self.scores, b.mul(column, 4 * PAGE))
        state = b.offset(self.state, b.mul(column, _STATE))
        seen = b.sub(b.add(b.add(self.position, self._token(column)), 1), first)
        limit = b.splat(b.convert(seen, "i32"), lanes)
        gone = b.splat(b.convert(b.sub(seen, self.window), "i32"), lanes)  # the window begins here
        masked = b.constant(self.vector, -math.inf)
        values = []
        for at in range(0, PAGE, lanes):
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
        bytes = 4 // self.values.group
        weights = b.offset(self.weights, b.mul(column, bytes * PAGE))
        for number, power in enumerate(powers):
            kept = power if self.values.group == 1 else b.convert(power, "bf16")
            b.store(kept, weights, bytes * number * lanes, align=bytes)
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

    def _gather(self, values: Value, count: Value, dimensions: range, columns: range, fetch: Fetch) -> None:
        """sums[column] = sums[column] * factor + sum over tokens of weight * value, for some dimensions."""
        b, reads, bytes = self.b, self.values, self.part.bytes
        width = len(dimensions)
        start = []
        for column in columns:
            factor = b.load_splat(self.part, self.state, _STATE * column + 8)
            for part in dimensions:
                value = b.load(self.part, self.sums, 4 * column * self.size + part * bytes, align=4)
                start.append(b.mul(value, factor))
        with b.loop(0, b.div(b.add(count, reads.group - 1), reads.group), 1, start) as token:
            sums = list(token.values)
            inside = b.mul(token.index, self.size * reads.lane_bytes)
            here = b.offset(values, inside)
            weights = b.offset(self.weights, b.mul(token.index, 4))
            fetch(inside, self.size * reads.lane_bytes)
            for index, part in enumerate(dimensions):
                operand = reads.load(here, part * self.part.lanes)
                for number, column in enumerate(columns):
                    weight = reads.spread(weights, 4 * column * (PAGE // reads.group))
                    place = number * width + index
                    sums[place] = reads.product(operand, weight, sums[place])
            token.next(*sums)
        for number, column in enumerate(columns):
            for index, part in enumerate(dimensions):
                where = 4 * column * self.size + part * bytes
                b.store(token.results[number * width + index], self.sums, where, align=4)
