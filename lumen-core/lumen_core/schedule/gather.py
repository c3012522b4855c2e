"""Sums of a page's values by weight, for the columns of a chunk: sum over tokens of weight * value.

Some columns times some vectors of dimensions are a pass over the page; their sums fill half of the registers.
The others are for what makes weights of the scores (softmax.py) of some tokens while the tokens before meet
their values in the first pass; the passes behind it find them. Where values have scales, a pass covers
dimensions of one, and there are as many weights of a token, each multiplied by its scale.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lumen_core.ir.kernel import Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.cache_layout import PAGE
from lumen_core.schedule.cache_read import Fetch, Operands
from lumen_core.schedule.softmax import STATE, Chunk, Softmax
from lumen_core.target import Target


def even(count: int, limit: int) -> list[tuple[int, int]]:
    """Cut `count` into as few parts of at most `limit` as possible: how many there are of which size."""
    if not count:
        return []
    parts = -(-count // limit)
    size, larger = divmod(count, parts)
    return [(number, of) for number, of in ((larger, size + 1), (parts - larger, size)) if number]


class Gather:
    """Adds a page's values to a chunk's sums."""

    def __init__(self, b: Builder, values: Operands, softmax: Softmax, target: Target, size: int):
        self.b = b
        self.values = values
        self.softmax = softmax
        self.vector = softmax.vector
        self.part = softmax.part
        self.vectors = size // self.part.lanes  # of a head
        half = target.registers // 2
        self.width, self.span = values.widths(self.vectors, half)
        self.columns = half // self.width
        self.row = softmax.row // values.group  # bytes of the weights of a column
        self.rows = self.columns * self.row  # and of all columns, for one sub-block
        self.weights = b.stack(values.subs * self.rows)
        self.offsets = b.stack(values.subs * self.columns * self.vector.bytes) if values.shifted else None

    def take(self, place: Value, chunk: Chunk, count: Value, fetch: Fetch) -> None:
        """Add the first `count` tokens' values to the sums, and their weights to the sums of weights."""
        b, softmax, begin, done = self.b, self.softmax, 0, 0
        parts = even(chunk.size, self.columns)
        passes = sum(number for number, _ in parts) * math.ceil(self.vectors / self.width)
        for number, size in parts:
            end = begin + number * size
            with b.loop(begin, end, size) as first:
                state, scores, sums = (
                    b.offset(pointer, b.mul(first.index, bytes))
                    for pointer, bytes in (
                        (chunk.state, STATE),
                        (chunk.scores, softmax.row),
                        (chunk.sums, softmax.sums),
                    )
                )
                some = chunk._replace(size=size, state=state, scores=scores, sums=sums)
                turn = b.add(b.div(b.sub(first.index, begin), size), done)
                self._all_dimensions(place, some, count, fetch, turn, passes)
            begin, done = end, done + number

    def _all_dimensions(self, place: Value, chunk: Chunk, count: Value, fetch: Fetch, turn: Value,
                        passes: int) -> None:  # fmt: skip
        """The same for columns whose sums fit the registers."""
        b, width, span = self.b, self.width, self.span
        mine = b.mul(turn, math.ceil(self.vectors / width))

        def block(first: Value, number: Value, size: int, weigh: bool = False) -> None:
            for inside in range(0, size, width):
                which = b.add(number, inside // width)
                one = _Pass(self, place, chunk, first, min(width, size), fetch, which, passes, inside)
                one.emit(count, weigh and inside == 0)

        block(b.i64(0), mine, span, weigh=True)
        done = span
        for number, size in even(self.vectors - span, span):
            with b.loop(done, done + number * size, size) as first:
                before = b.div(b.sub(first.index, done), min(width, size))
                block(first.index, b.add(mine, b.add(before, done // width)), size)
            done += number * size


class _Pass:
    """The tokens of a page for some columns and `width` vectors of dimensions.

    They begin with number `first` + `inside`; `first` begins a block where values have blocks.
    """

    def __init__(self, gather: Gather, place: Value, chunk: Chunk, first: Value, width: int, fetch: Fetch,
                 number: Value, passes: int, inside: int = 0):  # fmt: skip
        """number: of this pass, out of `passes`, each of which asks for a share of the lines ahead."""
        self.b = b = gather.b
        self.gather = gather
        self.values = gather.values
        self.place = place
        self.chunk = chunk
        self.first = first
        self.inside = inside
        self.width = width
        self.fetch = fetch
        pairs = PAGE // gather.values.group
        self.share = -(-gather.values.head_bytes // (pairs * passes * 64)) * 64
        self.ahead = b.mul(number, self.share * pairs)
        softmax = gather.softmax
        self.columns = range(chunk.size)
        self.sums_at = b.offset(chunk.sums, b.mul(first, gather.part.bytes))
        self.sub = self.values.sub_block(b.mul(b.add(first, inside), gather.part.lanes))
        self.totals = [column * softmax.sums + softmax.lanes for column in self.columns]
        self.where = [
            column * softmax.sums + (inside + part) * gather.part.bytes
            for column in self.columns
            for part in range(width)
        ]

    def emit(self, count: Value, weigh: bool) -> None:
        """weigh: make the weights, too, some tokens ahead; else they are there."""
        b, gather, lanes = self.b, self.gather, self.gather.vector.lanes
        sums: Sequence[Value] = [b.load(gather.part, self.sums_at, at, align=4) for at in self.where]
        begin, many = b.i64(0), len(self.where)
        if weigh:
            self._clear_offsets()
            before = [b.load(gather.vector, self.chunk.sums, at, align=4) for at in self.totals]
            begin = b.mul(b.div(b.sub(count, 1), lanes), lanes)
            with b.loop(0, begin, lanes, [*sums, *self._weigh(b.i64(0), before)]) as block:
                later = b.add(block.index, lanes)
                before = self._weigh(later, block.values[many:])
                block.next(*self._gather(block.index, later, block.values[:many]), *before)
            sums = block.results[:many]
            for value, at in zip(block.results[many:], self.totals, strict=True):
                b.store(value, self.chunk.sums, at, align=4)
        sums = self._gather(begin, count, sums)
        if gather.offsets is not None:
            mine = b.offset(gather.offsets, b.mul(self.sub, gather.vector.bytes))
            stride = self.values.subs * gather.vector.bytes
            found = [b.load(gather.vector, mine, column * stride, align=64) for column in self.columns]
            added = [b.splat(b.reduce("add", value), gather.part.lanes) for value in found]
            sums = [b.add(sum, added[number // self.width]) for number, sum in enumerate(sums)]
        for sum, at in zip(sums, self.where, strict=True):
            b.store(sum, self.sums_at, at, align=4)

    def _clear_offsets(self) -> None:
        b, gather = self.b, self.gather
        if gather.offsets is not None:
            for place in range(self.values.subs * len(self.columns)):
                b.store(b.constant(gather.vector, 0.0), gather.offsets, place * gather.vector.bytes, align=64)

    def _weigh(self, token: Value, totals: Sequence[Value]) -> list[Value]:
        """Make the weights of the tokens from `token` on, for all sub-blocks; return the totals with them."""
        b, gather, values, found = self.b, self.gather, self.values, []
        to = b.offset(gather.weights, b.mul(token, 4 // values.group))
        scales, offsets = values.factors(gather.vector, token)
        for column, total in zip(self.columns, totals, strict=True):
            weight = gather.softmax.weight(self.chunk, column, token)
            found.append(b.add(total, weight))
            for sub, offset in enumerate(offsets):
                assert gather.offsets is not None
                place = (column * values.subs + sub) * gather.vector.bytes
                sum = b.fma(weight, offset, b.load(gather.vector, gather.offsets, place, align=64))
                b.store(sum, gather.offsets, place, align=64)
            for sub, scale in enumerate(scales):
                scaled = weight if scale is None else b.mul(weight, scale)
                kept = b.convert(scaled, "f32" if values.group == 1 else "bf16")
                b.store(kept, to, sub * gather.rows + column * gather.row, align=4 // values.group)
        return found

    def _gather(self, begin: Value, end: Value, sums: Sequence[Value]) -> Sequence[Value]:
        """The sums with the values of the tokens from `begin` to `end`."""
        b, values, group = self.b, self.values, self.values.group
        lanes = self.gather.part.lanes
        place = values.at(self.place, b.mul(self.first, lanes))
        own = b.offset(self.gather.weights, b.mul(self.sub, self.gather.rows))
        with b.loop(b.div(begin, group), b.div(b.add(end, group - 1), group), 1, sums) as token:
            here = b.offset(place, b.mul(token.index, values.row_bytes))
            weights = b.offset(own, b.mul(token.index, 4))
            self.fetch.begin([b.add(self.ahead, b.mul(token.index, self.share))], self.share, len(sums))
            operands = values.some(here, self.inside * lanes, self.width)
            new: list[Value] = []
            for column in self.columns:
                weight = values.spread(weights, column * self.gather.row)
                for operand in operands:
                    new.append(values.product(operand, weight, token.values[len(new)]))
                    self.fetch.made()
            token.next(*new)
        return token.results
