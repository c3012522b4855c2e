"""Causal attention over cached keys and values with an online softmax: no row of scores is stored whole.

The query heads that share a key head, times the tokens of a query block, are the columns of one item of work.
Two pages of the cache at a time: scores (lanes are cached tokens), then their exponentials and the running
maximum and sum of each column, then the weighted sum of values (lanes are dimensions).
Where a column's maximum moves, what it has gathered so far is rescaled. With a window, pages before it are
not looked at.

What a column gathers from `PART` cached tokens is a part; parts are merged in order. Where a segment is one
token, its parts are items of their own, so that threads share a long context, and the one that finishes
last merges them: the sums are those of a single thread.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from lumen_core.ir.core import Operation
from lumen_core.ir.kernel import F32, I32, I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.cache_layout import PAGE, CacheLayout
from lumen_core.schedule.cache import emit_page
from lumen_core.schedule.cache_read import Fetch, Operands, fetcher, nothing_ahead
from lumen_core.schedule.math import LOG2_E, exp2_negative
from lumen_core.schedule.segments import FIRST, POSITION, TOKENS, Items, share_of_items
from lumen_core.target import Target

SPAN = 2  # pages whose scores are turned into weights together
PART = 8 * PAGE
COLUMNS = 64  # of an item with many queries: more share what is read of a page, but crowd the nearest cache
_LOWEST = -1e30  # a maximum before any score; finite, so that differences stay numbers
_STATE = 8  # bytes of a column's maximum and sum of exponentials
_ROW = 4 * SPAN * PAGE  # bytes of a column's scores, and then of its weights


def attention_items(operation: Operation, block: int) -> Items:
    """Return how the segments of a step are cut for a kernel of `block` tokens."""
    _, groups, _ = _shape(operation)
    return Items(block, groups, PART if block == 1 else 0, int(operation.attribute("window")))


def attention_block(operation: Operation, tokens: int) -> int:
    """Tokens of a query block where segments have several, of a step of at most `tokens`."""
    heads, groups, _ = _shape(operation)
    return max(2, min(COLUMNS // (heads // groups), tokens // 2))


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
        self.scores = b.stack(self.columns * _ROW)
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
            self.begin = self._first_token()
            if self.block > 1:
                self._clear(self.total, self.total_sums)
                start = b.mul(b.div(self.begin, PART), PART)
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
        start = b.mul(b.div(b.maximum(first, self.begin), SPAN * PAGE), SPAN * PAGE)
        with b.loop(start, b.minimum(b.add(first, PART), self.seen), SPAN * PAGE) as span:
            self._span(span.index)

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

    def _span(self, first: Value) -> None:
        """Take the cached tokens of some pages, from `first` on, into every column."""
        b = self.b
        for number in range(SPAN):
            with self._page(first, number) as (start, count):
                self._score_page(start, count, number)
        last = b.minimum(b.add(self.start, self.block), self.tokens)
        whole = b.compare("le", b.add(first, SPAN * PAGE), b.add(b.add(self.position, self.start), 1))
        if self.window:
            inside = b.compare("le", b.sub(b.add(self.position, last), self.window), first)
            whole = b.bitand(inside, whole)
        for masked, met in ((False, whole), (True, b.bitxor(whole, 1))):
            with b.when(met), b.loop(0, self.columns) as column:
                self._soften(column.index, first, masked)
        for number in range(SPAN):
            with self._page(first, number) as (start, count):
                self._gather_page(start, count, number)

    @contextmanager
    def _page(self, first: Value, number: int) -> Iterator[tuple[Value, Value]]:
        """Page `number` of a span, if a query sees some of it: its first token, and how many there are."""
        b = self.b
        start = b.add(first, number * PAGE)
        if number:
            with b.when(b.compare("lt", start, self.seen)):
                yield start, b.minimum(b.sub(self.seen, start), PAGE)
        elif self.window:
            with b.when(b.compare("gt", b.add(start, PAGE), self.begin)):
                yield start, b.minimum(b.sub(self.seen, start), PAGE)
        else:
            yield start, b.minimum(b.sub(self.seen, start), PAGE)

    def _score_page(self, first: Value, count: Value, number: int) -> None:
        b, layout = self.b, self.layout
        keys, values = self._heads_of(first)
        # Memory, not arithmetic, is what a single token waits for: while keys are read, values come.
        fetch = fetcher(b, values) if self.block == 1 else nothing_ahead
        near = self.keys.place(keys, count, fetch)
        to = b.offset(self.scores, 4 * number * PAGE)
        with b.loop(0, count, self.tiles * layout.rows) as tile:
            for chunk, columns in enumerate(self.score_chunks):
                alone = chunk == 0 and not self.keys.near
                self._score(near, tile.index, columns, to, fetch if alone else nothing_ahead)

    def _gather_page(self, first: Value, count: Value, number: int) -> None:
        b = self.b
        values = self._heads_of(first)[1]
        fetch: Fetch = nothing_ahead
        if self.block == 1:
            later = b.add(first, SPAN * PAGE)
            later = b.select(b.compare("lt", later, self.seen), later, first)
            fetch = fetcher(b, self._heads_of(later)[0])
        near = self.values.place(values, count, fetch)
        weights = b.offset(self.scores, 4 * number * PAGE // self.values.group)
        for dimensions in _chunks(self.size // self.part.lanes, self.wide):
            for chunk, columns in enumerate(self.sum_chunks):
                alone = chunk == 0 and not self.values.near
                self._gather(near, count, dimensions, columns, weights, fetch if alone else nothing_ahead)

    def _heads_of(self, first: Value) -> tuple[Value, Value]:
        """Pointers to this head's keys and values in the page of cached token `first`."""
        b, layout = self.b, self.layout
        number = b.load(I32, self.pages, b.mul(b.div(first, PAGE), 4), align=4)
        page = emit_page(b, self.given["cache"], self.given["page_bytes"], b.convert(number, "i64"))
        keys = b.offset(page, b.mul(self.head, layout.key_head_bytes))
        values = b.offset(page, b.add(b.mul(self.head, layout.value_head_bytes), layout.value_offset))
        return keys, values

    def _score(self, keys: Value, first: Value, columns: range, to: Value, fetch: Fetch) -> None:
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
        to = b.offset(to, b.mul(first, 4))
        for number, column in enumerate(columns):
            for tile in range(tiles):
                where = column * _ROW + 4 * tile * rows
                b.store(loop.results[number * tiles + tile], to, where, align=4)

    def _soften(self, column: Value, first: Value, masked: bool) -> None:
        """Turn a column's scores of the span into weights; update its maximum and sum, and rescale.

        masked  some tokens of the span are not for this column to see
        """
        b, lanes = self.b, self.vector.lanes
        scores = b.offset(self.scores, b.mul(column, _ROW))
        state = b.offset(self.state, b.mul(column, _STATE))
        values = [b.load(self.vector, scores, 4 * at, align=4) for at in range(0, SPAN * PAGE, lanes)]
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
        """Scores of the span, minus infinity for tokens that the column's token does not see."""
        b, lanes = self.b, self.vector.lanes
        seen = b.sub(b.add(b.add(self.position, self._token(column)), 1), first)
        limit = b.splat(b.convert(seen, "i32"), lanes)
        gone = b.splat(b.convert(b.sub(seen, self.window), "i32"), lanes)  # the window begins here
        hidden = b.constant(self.vector, -math.inf)
        found = []
        for at, value in zip(range(0, SPAN * PAGE, lanes), values, strict=True):
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
                fetch: Fetch) -> None:  # fmt: skip
        """sums[column] += sum over tokens of weight * value, for some dimensions."""
        b, reads, bytes = self.b, self.values, self.part.bytes
        width = len(dimensions)
        start = [
            b.load(self.part, self.sums, 4 * column * self.size + part * bytes, align=4)
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
                    weight = reads.spread(by, column * _ROW)
                    place = number * width + index
                    sums[place] = reads.product(operand, weight, sums[place])
            token.next(*sums)
        for number, column in enumerate(columns):
            for index, part in enumerate(dimensions):
                where = 4 * column * self.size + part * bytes
                b.store(token.results[number * width + index], self.sums, where, align=4)
