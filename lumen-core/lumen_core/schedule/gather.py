"""Sums of a page's values by weight, for the columns of a chunk: sum over tokens of weight * value.

Some columns times some vectors of dimensions are a pass over the page; their sums fill half of the registers.
The others are for what makes weights of the scores (softmax.py) of some tokens while the tokens before meet
their values. Where values have scales, a pass covers the dimensions of one, and the scales multiply weights.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lumen_core.ir.kernel import Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.cache_layout import PAGE
from lumen_core.schedule.cache_read import Fetch, Operands
from lumen_core.schedule.softmax import STATE, Chunk, Softmax
from lumen_core.schedule.value_codes import ValueCodes
from lumen_core.target import Target

WIDTH = 4  # vectors of dimensions of a pass, if a head has so many


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
        self.width = min(WIDTH, self.vectors)
        if isinstance(values, ValueCodes):
            self.width = values.form.sub // self.part.lanes
            while self.width > half:
                self.width //= 2
        self.columns = half // self.width
        self.row = 4 * PAGE // values.group  # bytes of the weights of a column
        self.weights = b.stack(self.columns * self.row)
        self.aside = b.stack(self.columns * softmax.sums)  # sums of weights that nobody asks for

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
        b, width = self.b, self.width
        mine = b.mul(turn, math.ceil(self.vectors / width))
        if isinstance(self.values, ValueCodes):
            block = self.values.form.block // self.part.lanes
            with b.loop(0, self.vectors, block) as first:
                before = b.add(mine, b.div(first.index, width))
                for inside in range(0, block, width):
                    which = b.add(before, inside // width)
                    one = _Pass(self, place, chunk, first.index, width, fetch, which, passes, inside)
                    one.emit(count, weigh=True)
            return
        _Pass(self, place, chunk, b.i64(0), width, fetch, mine, passes).emit(count, weigh=True)
        done = width
        for number, size in even(self.vectors - width, width):
            with b.loop(done, done + number * size, size) as first:
                which = b.add(mine, b.add(b.div(b.sub(first.index, done), size), done // width))
                one = _Pass(self, place, chunk, first.index, size, fetch, which, passes)
                one.emit(count, weigh=False)
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
        self.scale = self.offset = None
        if isinstance(self.values, ValueCodes):
            lane = b.mul(b.add(first, inside), gather.part.lanes)
            self.scale, self.offset = self.values.factors(lane)
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
            total = self.chunk.sums
            if isinstance(self.values, ValueCodes):  # the first pass counts
                start = b.compare("eq", b.add(self.first, self.inside), 0)
                total = b.select(start, self.chunk.sums, gather.aside)
            before = [b.load(gather.vector, total, at, align=4) for at in self.totals]
            if self.offset is not None:
                before += [b.constant(gather.vector, 0.0)] * len(self.totals)
            begin = b.mul(b.div(b.sub(count, 1), lanes), lanes)
            with b.loop(0, begin, lanes, [*sums, *self._weigh(b.i64(0), before)]) as block:
                later = b.add(block.index, lanes)
                before = self._weigh(later, block.values[many:])
                block.next(*self._gather(block.index, later, block.values[:many]), *before)
            sums, more = block.results[:many], block.results[many:]
            for value, at in zip(more, self.totals, strict=False):
                b.store(value, total, at, align=4)
            added = [b.splat(b.reduce("add", value), gather.part.lanes) for value in more[len(self.totals) :]]
        sums = self._gather(begin, count, sums)
        if self.offset is not None:
            sums = [b.add(sum, added[number // self.width]) for number, sum in enumerate(sums)]
        for sum, at in zip(sums, self.where, strict=True):
            b.store(sum, self.sums_at, at, align=4)

    def _weigh(self, token: Value, totals: Sequence[Value]) -> list[Value]:
        """Make the weights of the tokens from `token` on; return the totals with them."""
        b, gather, found, offsets = self.b, self.gather, [], []
        to, place = b.offset(gather.weights, b.mul(token, 4 // self.values.group)), b.mul(token, 4)
        if self.scale is not None:
            scale = b.load(gather.vector, b.offset(self.scale, place), align=4)
        if self.offset is not None:
            offset = b.load(gather.vector, b.offset(self.offset, place), align=4)
        for column in self.columns:
            weight = gather.softmax.weight(self.chunk, column, token)
            found.append(b.add(totals[column], weight))
            if self.offset is not None:
                offsets.append(b.fma(weight, offset, totals[len(self.columns) + column]))
            weight = b.mul(weight, scale) if self.scale is not None else weight
            kept = b.convert(weight, "f32" if self.values.group == 1 else "bf16")
            b.store(kept, to, column * gather.row, align=4 // self.values.group)
        return found + offsets

    def _gather(self, begin: Value, end: Value, sums: Sequence[Value]) -> Sequence[Value]:
        """The sums with the values of the tokens from `begin` to `end`."""
        b, values, group = self.b, self.values, self.values.group
        lanes = self.gather.part.lanes
        place = values.at(self.place, b.mul(self.first, lanes))
        with b.loop(b.div(begin, group), b.div(b.add(end, group - 1), group), 1, sums) as token:
            here = b.offset(place, b.mul(token.index, values.row_bytes))
            weights = b.offset(self.gather.weights, b.mul(token.index, 4))
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
