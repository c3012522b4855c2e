"""The segments of a step: its tokens lie one behind the other, those of a sequence side by side.

The frame's `segments` points to `segment_count` records of 8-byte words: the segment's first token in the
step, how many tokens it has, how many its sequence already has in the cache. Per token the frame has
`positions` (its place in its sequence) and, for every pool of cache pages, `slots` (page * tokens of a page +
place in the page, where its key and value go); per segment it has, for every pool, a pointer in `pages`: the
page of the pool that holds each page of the sequence. A conversation with one user is one segment.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from lumen_core.ir.kernel import I64, Value
from lumen_core.ir.kernel_builder import Builder, Loop

FIRST, TOKENS, POSITION = 0, 8, 16  # bytes into a record
RECORD = 24


def emit_blocks(b: Builder, segments: Value, count: Value, block: int) -> Value:
    """Blocks of at most `block` tokens of one segment each, over all segments."""
    with b.loop(0, count, 1, [b.i64(0)]) as segment:
        tokens = b.load(I64, b.offset(segments, b.mul(segment.index, RECORD)), TOKENS, align=8)
        segment.next(b.add(segment.values[0], _blocks(b, tokens, block)))
    return segment.results[0]


@contextmanager
def share_of_segments(
    b: Builder, segments: Value, count: Value, block: int, times: int, first: Value, last: Value
) -> Iterator[tuple[Value, Value, Loop]]:
    """Loop over the units first .. last of `times` units per block, segment by segment.

    Gives the segment's number, the pointer to its record and the loop over its units, counted from 0.
    """
    with b.loop(0, count, 1, [b.i64(0)]) as segment:
        record = b.offset(segments, b.mul(segment.index, RECORD))
        (start,) = segment.values
        units = b.mul(_blocks(b, b.load(I64, record, TOKENS, align=8), block), times)
        low, high = b.maximum(b.sub(first, start), 0), b.minimum(b.sub(last, start), units)
        with b.loop(low, high) as unit:
            yield segment.index, record, unit
        segment.next(b.add(start, units))


def _blocks(b: Builder, tokens: Value, block: int) -> Value:
    return b.div(b.add(tokens, block - 1), block) if block > 1 else tokens
