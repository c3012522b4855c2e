"""Causal attention over cached keys and values with an online softmax: no row of scores is stored whole.

The query heads that share a key head, times the tokens of a query block, are the columns of one item of work.
A stretch of the cache, a page or a part of one, at a time: scores (lanes are cached tokens), then their
weights (softmax.py), then the weighted sum of values (lanes are dimensions). With a window, stretches before
it are not looked at.

What a column gathers from `PART` cached tokens is a part; parts are merged in order. Where a segment is one
token, its parts are items of their own, so that threads share a long context, and the one that finishes
last merges them: the sums are those of a single thread. Its columns are the query heads, in their order.
"""

from __future__ import annotations

from lumen_core.ir.core import Operation
from lumen_core.ir.kernel import F32, I64, PTR, Kernel, Value
from lumen_core.quant.cache_layout import PAGE, CacheLayout
from lumen_core.schedule.attention_page import PageReader
from lumen_core.schedule.cache import head_shape
from lumen_core.schedule.math import exp2_integer
from lumen_core.schedule.segments import FIRST, POSITION, TOKENS, Items, share_of_items
from lumen_core.schedule.softmax import LOWEST, STATE
from lumen_core.target import Target

PART = 4 * PAGE
COLUMNS = 96  # of an item with many queries: they share what is read of a page


def attention_items(operation: Operation, block: int) -> Items:
    """Return how the segments of a step are cut for a kernel of `block` tokens."""
    _, groups, _ = head_shape(operation)
    return Items(block, groups, PART if block == 1 else 0, int(operation.attribute("window")))


def attention_block(operation: Operation, tokens: int) -> int:
    """Tokens of a query block where segments have several, of a step of at most `tokens`."""
    heads, groups, _ = head_shape(operation)
    return max(2, min(COLUMNS // (heads // groups), tokens // 2))


def partial_bytes(operation: Operation, target: Target) -> int:
    """Bytes that a token needs for each part of the cache, over all heads."""
    heads, _, size = head_shape(operation)
    return heads * (4 * size + 4 * target.lanes + STATE)


def build_attention(
    operation: Operation, layout: CacheLayout, target: Target, block: int = 1, name: str = "attention"
) -> Kernel:
    """Build the kernel of an `attention` for the segments of one token (block = 1), or for all others.

    `schedule/__init__.py` says how it is called.
    """
    return _Attention(operation, layout, target, block, name).build()


class _Attention(PageReader):
    def build(self) -> Kernel:
        b, given = self.b, self.given
        items = attention_items(self.operation, self.block)
        columns = self.heads if self.block == 1 else self.columns
        self.queries = b.stack(columns * self.keys.query_bytes)
        self.total_sums, self.total = b.stack(columns * self.softmax.sums), b.stack(columns * STATE)
        own = b.stack(columns * self.softmax.sums) if self.block > 1 else self.total_sums
        share = (given["segments"], given["segment_count"], items, given["first"], given["last"])
        with share_of_items(b, *share) as (segment, record, item):
            self.position = b.load(I64, record, POSITION, align=8)
            self.pages = b.load(PTR, given["pages"], b.mul(segment, 8), align=8)
            first_part, parts = items.parts(b, record)
            index = b.div(item.index, parts)
            self.first_head = b.rem(index, self.groups)
            self.start = b.mul(b.div(index, self.groups), self.block)
            first = b.load(I64, record, FIRST, align=8)
            self.rows = b.mul(first, given["stride"])
            end = b.minimum(b.add(self.start, self.block), b.load(I64, record, TOKENS, align=8))
            self.seen = b.add(self.position, end)  # cached tokens that the last query sees
            if self.block == 1:
                self.last_head = b.add(self.first_head, items.together(b, parts))
                self.low, self.high = (b.mul(x, self.shared) for x in (self.first_head, self.last_head))
            else:
                self.last_head = b.add(self.first_head, 1)
                self.low, self.high = b.i64(0), b.mul(b.sub(end, self.start), self.shared)
            self._begin()
            self.begin = self._first_token()
            if self.block > 1:
                self._every_part(own)
            else:
                self._one_of_several(first, b.rem(item.index, parts), first_part, parts)
        return self.kernel

    # -------------------------------------------------------------------- parts

    def _every_part(self, own: Value) -> None:
        """Compute all parts, one after the other: the first in the total, the others beside it.

        They follow the references of those before: short of underflow that changes no bit of what `_merge`
        would make.
        """
        b, softmax = self.b, self.softmax
        self.state = self.total
        self._clear_states(self.state)
        start = b.mul(b.div(self.begin, PART), PART)
        with b.loop(start, self.seen, PART) as part:
            first = b.compare("eq", part.index, start)
            self.sums = b.select(first, self.total_sums, own)
            self.before = b.select(first, own, self.total_sums)
            self._part(part.index)
            with b.when(b.bitxor(first, 1)), b.loop(self.low, self.high) as column:
                here, there = (b.offset(x, b.mul(column.index, softmax.sums)) for x in (own, self.total_sums))
                for at in range(0, softmax.sums, self.part.bytes):
                    sum = b.add(*(b.load(self.part, pointer, at, align=4) for pointer in (here, there)))
                    b.store(sum, there, at, align=4)
        self._finish(self.total_sums)

    def _one_of_several(self, token: Value, part: Value, first: Value, parts: Value) -> None:
        """Compute a part of what a token sees; the last of its heads' parts to be done merges them all."""
        b, given = self.b, self.given
        bytes = partial_bytes(self.operation, self.target)
        begin = b.offset(given["partials"], b.mul(b.mul(token, given["parts"]), bytes))
        self.sums = b.offset(begin, b.mul(part, bytes))
        self.state = b.offset(self.sums, self.heads * self.softmax.sums)
        self._clear_states(self.state)
        self._part(b.mul(b.add(part, first), PART))
        with b.when(b.compare("eq", parts, 1)):
            self._finish(self.sums)
        with b.when(b.compare("gt", parts, 1)):
            number = b.add(b.mul(token, self.groups), self.first_head)
            arrivals = b.offset(given["arrivals"], b.mul(number, 8))
            arrived = b.atomic("add", arrivals, b.i64(1))
            with b.when(b.compare("eq", b.add(arrived, 1), parts)):
                b.store(b.i64(0), arrivals, align=8)
                self._clear_states(self.total)
                self._clear_sums(self.total_sums)
                with b.loop(0, parts) as other:
                    sums = b.offset(begin, b.mul(other.index, bytes))
                    self._merge(b.offset(sums, self.heads * self.softmax.sums), sums)
                self._finish(self.total_sums)

    def _part(self, first: Value) -> None:
        """Gather the part that begins with cached token `first`."""
        b = self.b
        self._clear_sums(self.sums)
        stretch = self.stretch
        start = b.mul(b.div(b.maximum(first, self.begin), stretch), stretch)
        with b.loop(start, b.minimum(b.add(first, PART), self.seen), stretch) as loop:
            self._take_stretch(loop.index)

    def _first_token(self) -> Value:
        """The first cached token that the block's first query sees."""
        b = self.b
        if not self.window:
            return b.i64(0)
        return b.maximum(b.sub(b.add(b.add(self.position, self.start), 1), self.window), 0)

    def _clear_sums(self, sums: Value) -> None:
        b = self.b
        with b.loop(self.low, self.high) as column:
            here = b.offset(sums, b.mul(column.index, self.softmax.sums))
            for at in range(0, self.softmax.sums, self.part.bytes):
                b.store(b.constant(self.part, 0.0), here, at, align=4)

    def _clear_states(self, states: Value) -> None:
        b = self.b
        with b.loop(self.low, self.high) as column:
            b.store(b.f32(LOWEST), b.offset(states, b.mul(column.index, STATE)), align=4)

    def _merge(self, state: Value, sums: Value) -> None:
        """Add a part to the total; the first becomes it to the bit, and one that saw nothing adds nothing."""
        b = self.b
        with b.loop(self.low, self.high) as column:
            own, total = (b.offset(base, b.mul(column.index, STATE)) for base in (state, self.total))
            offset = b.mul(column.index, self.softmax.sums)
            here, there = (b.offset(pointer, offset) for pointer in (sums, self.total_sums))
            before, added = (b.load(F32, pointer, align=4) for pointer in (total, own))
            shift = b.minimum(added, before)  # of the larger reference
            b.store(shift, total, align=4)
            keep, take = (
                b.splat(exp2_integer(b, b.sub(shift, value)), self.part.lanes) for value in (before, added)
            )
            for at in range(0, self.softmax.sums, self.part.bytes):
                value = b.mul(b.load(self.part, here, at, align=4), take)
                b.store(b.fma(b.load(self.part, there, at, align=4), keep, value), there, at, align=4)

    # ------------------------------------------------------------------ columns

    def _row(self, buffer: str, column: Value) -> Value:
        """Pointer to a column's query or output."""
        b = self.b
        if self.block > 1:
            head = b.add(b.mul(self.first_head, self.shared), b.rem(column, self.shared))
            token = b.add(self.start, b.div(column, self.shared))
            inside = b.add(b.mul(token, self.given["stride"]), b.mul(head, 4 * self.size))
        else:
            inside = b.mul(column, 4 * self.size)
        return b.offset(self.given[buffer], b.add(self.rows, inside))

    def _begin(self) -> None:
        """Copy the queries as their products with keys take them."""
        b = self.b
        with b.loop(self.low, self.high) as column:
            to = b.offset(self.queries, b.mul(column.index, self.keys.query_bytes))
            self.keys.prepare(self._row("queries", column.index), to)

    def _finish(self, sums: Value) -> None:
        """Write every column's sum over its total weight."""
        b = self.b
        with b.loop(self.low, self.high) as column:
            output = self._row("output", column.index)
            here = b.offset(sums, b.mul(column.index, self.softmax.sums))
            total = b.reduce("add", b.load(self.vector, here, 4 * self.size, align=4))
            inverse = b.splat(b.div(b.f32(1.0), total), self.part.lanes)
            for at in range(0, 4 * self.size, self.part.bytes):
                b.store(b.mul(b.load(self.part, here, at, align=4), inverse), output, at, align=4)
