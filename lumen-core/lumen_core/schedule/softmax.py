"""The weights of cached tokens: 2 to the power of a score less its column's reference.

The reference is an integer near the largest score that the column has met. It moves only where a weight would
pass 2**SLACK; then what the column has gathered is multiplied by a power of two, which loses no bit. So the
usual way of a tile of scores has no sum over lanes and no branch that depends on a column.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from lumen_core.ir.kernel import F32, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.cache_layout import PAGE
from lumen_core.schedule.math import exp2_negative, exp2_weight

STATE = 8  # bytes of a column's reference and of its sum of weights
LOWEST = -1e30  # a reference before any score; finite, so that differences stay numbers
SLACK = 8.0


class Chunk(NamedTuple):
    """Columns that are taken through a page together, and what the first of them has.

    state    [column] reference and sum of weights; the sum is there when a part is done
    lanes    [column][lane] sums of weights
    weights  [column][token of the page]
    sums     [column][dimension] sums of weighted values
    """

    size: int
    column: Value
    queries: Value
    state: Value
    lanes: Value
    weights: Value
    sums: Value


class Softmax:
    """Makes weights of tiles of scores."""

    def __init__(self, b: Builder, vector: Type, part: Type, size: int, group: int, tiles: int, columns: int):
        """part: vectors of the `size` dimensions; group: weights in 32 bits; columns: that have weights."""
        self.b = b
        self.vector = vector
        self.part = part
        self.size = size
        self.group = group
        self.tiles = tiles
        self.row = 4 * PAGE // group
        self.weights = b.stack(columns * self.row)
        self.scores = b.stack(columns * tiles * vector.bytes)

    def take(self, chunk: Chunk, first: Value, scores: Sequence[Value], partly: Value,
             seen: Callable[[Value], tuple[Value, Value | None]]) -> None:  # fmt: skip
        """Make weights of the scores, [column][vector], of the tokens from place `first` of the page on.

        partly  some tokens of the page are not for every column to see, and some may be no numbers
        seen    gives where, counted from the page's first token, the tokens that a column sees end and begin
        """
        b, tiles, bytes = self.b, self.tiles, self.vector.bytes
        excess = b.constant(self.vector, LOWEST)
        for column in range(chunk.size):
            own = scores[column * tiles : (column + 1) * tiles]
            for tile, value in enumerate(own):
                b.store(value, self.scores, (column * tiles + tile) * bytes, align=64)
            reference = b.load_splat(self.vector, chunk.state, column * STATE)
            # what is no number, behind the text, is not taken
            excess = b.maximum(b.sub(self._largest(own), reference), excess)
        with b.when(partly), b.loop(0, chunk.size) as each:
            self._hide(each.index, first, *seen(b.add(chunk.column, each.index)))
        with b.when(b.compare("gt", b.reduce("max", excess), SLACK)), b.loop(0, chunk.size) as each:
            self._follow(chunk, each.index, first)
        to = b.offset(chunk.weights, b.mul(first, 4 // self.group))
        for column in range(chunk.size):
            self._weigh(chunk, column, to)

    def _weigh(self, chunk: Chunk, column: int, to: Value) -> None:
        b, tiles, bytes = self.b, self.tiles, self.vector.bytes
        reference = b.load_splat(self.vector, chunk.state, column * STATE)
        total = b.load(self.vector, chunk.lanes, column * bytes, align=4)
        for tile in range(tiles):
            score = b.load(self.vector, self.scores, (column * tiles + tile) * bytes, align=64)
            weight = exp2_weight(b, b.sub(score, reference), rough=self.group == 2)
            total = b.add(total, weight)
            self._store(weight, to, column * self.row + tile * bytes // self.group)
        b.store(total, chunk.lanes, column * bytes, align=4)

    def _store(self, weight: Value, to: Value, where: int) -> None:
        b = self.b
        b.store(weight if self.group == 1 else b.convert(weight, "bf16"), to, where, align=4 // self.group)

    def _hide(self, column: Value, first: Value, end: Value, begin: Value | None) -> None:
        """Scores of minus infinity for tokens that the column does not see."""
        b, lanes = self.b, self.vector.lanes
        own = b.offset(self.scores, b.mul(column, self.tiles * self.vector.bytes))
        hidden = b.constant(self.vector, -math.inf)
        end = b.splat(b.convert(b.sub(end, first), "i32"), lanes)
        for tile in range(self.tiles):
            places = b.vector_constant(Type("i32", lanes), range(tile * lanes, (tile + 1) * lanes))
            score = b.load(self.vector, own, tile * self.vector.bytes, align=64)
            score = b.select(b.compare("lt", places, end), score, hidden)
            if begin is not None:
                gone = b.splat(b.convert(b.sub(begin, first), "i32"), lanes)
                score = b.select(b.compare("lt", places, gone), hidden, score)
            b.store(score, own, tile * self.vector.bytes, align=64)

    def _follow(self, chunk: Chunk, column: Value, first: Value) -> None:
        """Move the column's reference if its scores ask for that, and scale what it has gathered."""
        b, bytes = self.b, self.vector.bytes
        own = b.offset(self.scores, b.mul(column, self.tiles * bytes))
        state = b.offset(chunk.state, b.mul(column, STATE))
        scores = [b.load(self.vector, own, tile * bytes, align=64) for tile in range(self.tiles)]
        largest = b.reduce("max", self._largest(scores))
        before = b.load(F32, state, align=4)
        with b.when(b.compare("gt", b.sub(largest, before), SLACK)):
            reference = b.rint(largest)
            b.store(reference, state, align=4)
            factor = exp2_negative(b, b.sub(before, reference))
            lanes = b.offset(chunk.lanes, b.mul(column, bytes))
            spread = b.splat(factor, self.vector.lanes)
            b.store(b.mul(b.load(self.vector, lanes, align=4), spread), lanes, align=4)
            sums = b.offset(chunk.sums, b.mul(column, 4 * self.size))
            part = b.splat(factor, self.part.lanes)
            for at in range(0, 4 * self.size, self.part.bytes):
                b.store(b.mul(b.load(self.part, sums, at, align=4), part), sums, at, align=4)
            weights = b.offset(chunk.weights, b.mul(column, self.row))
            kept = self.vector if self.group == 1 else self.vector.of("bf16")
            with b.loop(0, first, self.vector.lanes) as earlier:
                here = b.offset(weights, b.mul(earlier.index, 4 // self.group))
                weight = b.convert(b.load(kept, here, align=4 // self.group), "f32")
                self._store(b.mul(weight, spread), here, 0)

    def _largest(self, values: Sequence[Value]) -> Value:
        """Of every lane; of a number and none the number, if that comes first."""
        largest = values[0]
        for value in values[1:]:
            largest = self.b.maximum(value, largest)
        return largest
