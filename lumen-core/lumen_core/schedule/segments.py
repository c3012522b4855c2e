"""The segments of a step: its tokens lie one behind the other, those of a sequence side by side.

The frame's `segments` points to `segment_count` records of 8-byte words: the segment's first token in the
step, how many tokens it has, how many its sequence already has in the cache. Per token the frame has
`positions` (its place in its sequence) and, for every pool of cache pages, `slots` (page * tokens of a page +
place in the page, where its key and value go); per segment it has, for every pool, a pointer in `pages`: the
page of the pool that holds each page of the sequence. A conversation with one user is one segment.

Where the pages of a sequence are a ring, a step may overwrite nothing that its first token sees. At most
`DIRECT` tokens do not; of a longer segment the pages behind the one it begins in lie in staging, one layer's
memory for all: their numbers are negative, in `slots` as in `pages`. For every such pool `returns` has, as
pairs of i32, the numbers of `return_count` staged pages and of the pages of the pool that they are copied to
when the layer's attention is done.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lumen_core.ir.kernel import I64, Value
from lumen_core.ir.kernel_builder import Builder, Loop
from lumen_core.quant.cache_layout import PAGE

FIRST, TOKENS, POSITION = 0, 8, 16  # bytes into a record
RECORD = 24
TOGETHER = 8  # parts of what a token sees: enough for the threads without a cut by heads
DIRECT = PAGE  # tokens of a segment that go straight into a ring, which has a page more than its window


@dataclass(frozen=True)
class Items:
    """How attention cuts segments into items: blocks of tokens, key heads, and parts of what they see.

    block   tokens of an item: 1 takes the segments of one token, more takes all others
    heads   key heads
    part    cached tokens of an item (0: all)
    window  keys that a token sees (0: all)

    One token's item is a part of one key head. From `TOGETHER` parts on it is a part of all heads: there are
    enough items then, and pages are read front to back.
    """

    block: int
    heads: int
    part: int = 0
    window: int = 0

    def parts(self, b: Builder, record: Value) -> tuple[Value, Value]:
        """The first part of the cache that the segment's first token sees, and how many parts it sees."""
        if not self.part:
            return b.i64(0), b.i64(1)
        position, tokens = (b.load(I64, record, at, align=8) for at in (POSITION, TOKENS))
        first = b.i64(0)
        if self.window:
            first = b.div(b.maximum(b.sub(b.add(position, 1), self.window), 0), self.part)
        end = b.div(b.add(b.add(position, tokens), self.part - 1), self.part)
        return first, b.sub(end, first)

    def together(self, b: Builder, parts: Value) -> Value:
        """Key heads of an item, where a segment of one token sees so many parts."""
        return b.select(b.compare("ge", parts, TOGETHER), b.i64(self.heads), b.i64(1))

    def count(self, b: Builder, record: Value) -> Value:
        """Items of a segment."""
        tokens = b.load(I64, record, TOKENS, align=8)
        if self.block == 1:
            parts = self.parts(b, record)[1]
            shares = b.div(b.i64(self.heads), self.together(b, parts))
            return b.select(b.compare("eq", tokens, 1), b.mul(parts, shares), b.i64(0))
        blocks = b.div(b.add(tokens, self.block - 1), self.block)
        return b.select(b.compare("gt", tokens, 1), b.mul(blocks, self.heads), b.i64(0))


def count_items(b: Builder, segments: Value, count: Value, items: Items) -> Value:
    """Items of all segments."""
    with b.loop(0, count, 1, [b.i64(0)]) as segment:
        record = b.offset(segments, b.mul(segment.index, RECORD))
        segment.next(b.add(segment.values[0], items.count(b, record)))
    return segment.results[0]


@contextmanager
def share_of_items(
    b: Builder, segments: Value, count: Value, items: Items, first: Value, last: Value
) -> Iterator[tuple[Value, Value, Loop]]:
    """Loop over the items first .. last, segment by segment.

    Gives the segment's number, the pointer to its record and the loop over its items, counted from 0.
    """
    with b.loop(0, count, 1, [b.i64(0)]) as segment:
        record = b.offset(segments, b.mul(segment.index, RECORD))
        (start,) = segment.values
        number = items.count(b, record)
        low, high = b.maximum(b.sub(first, start), 0), b.minimum(b.sub(last, start), number)
        with b.loop(low, high) as item:
            yield segment.index, record, item
        segment.next(b.add(start, number))
