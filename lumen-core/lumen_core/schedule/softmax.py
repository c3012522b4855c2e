"""The weights of cached tokens: 2 to the power of a score less its column's reference.

The reference is an integer near the largest score that the column has met, an even one: which one it is
changes nothing but the exponents of weights, as halves are rounded to even. It moves only where a weight
would pass 2**SLACK; then what the column has gathered is multiplied by a power of two, which loses no bit. So
the usual way of a stretch has no sum over lanes and no branch that depends on a column. Its scores are kept,
and become weights where the values are read: the exponentials run beside the products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from lumen_core.ir.kernel import F32, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.schedule.math import ROUNDING, exp2_integer, exp2_near

STATE = 4  # bytes of a column's reference, as the shift that `exp2_near` takes
LOWEST = 1e30  # the shift of a reference before any score; finite, so that differences stay numbers
SLACK = 32.0  # far from what f32 and bf16 hold: their precision is the same everywhere
_HIDDEN = -1e30  # the score of a token that is not seen; finite for the same reason


class Chunk(NamedTuple):
    """Columns that are taken through a page together, and what the first of them has.

    state   [column] shift
    scores  [column][token of the stretch], f32
    sums    [column][dimension, then lane] sums of weighted values, then sums of weights
    before  other such sums that have the same references, or None
    """

    size: int
    column: Value
    queries: Value
    state: Value
    scores: Value
    sums: Value
    before: Value | None


class Softmax:
    """Keeps the scores of a stretch, and makes weights of them."""

    def __init__(self, b: Builder, vector: Type, part: Type, size: int, tokens: int, rough: bool):
        """part: vectors of the `size` dimensions; tokens: of a stretch; rough: weights become bf16."""
        self.b = b
        self.vector = vector
        self.part = part
        self.lanes = 4 * size  # bytes of a column's sums before those of its weights
        self.sums = self.lanes + vector.bytes  # bytes of a column's sums
        self.rough = rough
        self.row = 4 * tokens  # bytes of a column's scores

    def keep(self, chunk: Chunk, first: Value, scores: Sequence[Value], excess: Value) -> Value:
        """Keep the scores, [column][vector], of the tokens from place `first` of the stretch on.

        Returns the largest of `excess` and how far they are above their references, in every lane.
        """
        b, tiles = self.b, len(scores) // chunk.size
        to, above = b.offset(chunk.scores, b.mul(first, 4)), []
        for column in range(chunk.size):
            own = scores[column * tiles : (column + 1) * tiles]
            for tile, score in enumerate(own):
                b.store(score, to, column * self.row + tile * self.vector.bytes, align=64)
            shift = b.load_splat(self.vector, chunk.state, column * STATE)
            # what is no number, behind the text, is not taken
            above.append(b.add(self._largest(own), shift))
        while len(above) > 1:
            above = [self._largest(above[at : at + 2]) for at in range(0, len(above), 2)]
        return b.maximum(above[0], excess)

    def settle(self, chunk: Chunk, count: Value, excess: Value, partly: Value,
               seen: Callable[[Value], tuple[Value, Value | None]]) -> None:  # fmt: skip
        """Hide what a column does not see of the stretch's first `count` tokens, and move references.

        partly  some of these tokens are not for every column to see, and some may be no numbers
        seen    gives where, counted from the first of them, the tokens that a column sees end and begin
        """
        b = self.b
        with b.when(partly), b.loop(0, chunk.size) as each:
            self._hide(chunk, each.index, count, *seen(b.add(chunk.column, each.index)))
        above = b.compare("gt", b.reduce("max", excess), ROUNDING + SLACK)
        with b.when(above), b.loop(0, chunk.size) as each:
            self._follow(chunk, each.index, count)

    def _hide(self, chunk: Chunk, column: Value, count: Value, end: Value, begin: Value | None) -> None:
        """Give a column's tokens before `begin` and from `end` on no weight."""
        b, lanes = self.b, self.vector.lanes
        scores = b.offset(chunk.scores, b.mul(column, self.row))
        hidden, places = b.constant(self.vector, _HIDDEN), b.vector_constant(Type("i32", lanes), range(lanes))
        with b.loop(0, count, lanes) as token:
            here = b.offset(scores, b.mul(token.index, 4))
            score = b.load(self.vector, here, align=64)
            last = b.splat(b.convert(b.sub(end, token.index), "i32"), lanes)
            score = b.select(b.compare("lt", places, last), score, hidden)
            if begin is not None:
                gone = b.splat(b.convert(b.sub(begin, token.index), "i32"), lanes)
                score = b.select(b.compare("lt", places, gone), hidden, score)
            b.store(score, here, align=64)

    def _follow(self, chunk: Chunk, column: Value, count: Value) -> None:
        """Move a column's reference if its scores ask for that, and scale what it has gathered."""
        b = self.b
        scores = b.offset(chunk.scores, b.mul(column, self.row))
        with b.loop(0, count, self.vector.lanes, [b.constant(self.vector, _HIDDEN)]) as token:
            score = b.load(self.vector, b.offset(scores, b.mul(token.index, 4)), align=64)
            token.next(b.maximum(score, token.values[0]))
        top = b.reduce("max", token.results[0])
        state = b.offset(chunk.state, b.mul(column, STATE))
        before = b.load(F32, state, align=4)
        with b.when(b.compare("gt", b.add(top, before), ROUNDING + SLACK)):
            shift = b.sub(b.f32(ROUNDING), b.mul(b.rint(b.mul(top, 0.5)), 2.0))
            b.store(shift, state, align=4)
            with b.when(b.compare("lt", before, LOWEST)):  # else there are no sums yet
                factor = b.splat(exp2_integer(b, b.sub(shift, before)), self.part.lanes)
                for base in (chunk.sums, chunk.before):
                    if base is None:
                        continue
                    sums = b.offset(base, b.mul(column, self.sums))
                    for at in range(0, self.sums, self.part.bytes):
                        b.store(b.mul(b.load(self.part, sums, at, align=4), factor), sums, at, align=4)

    def weight(self, chunk: Chunk, column: int, first: Value) -> Value:
        """The weights of a column's tokens from place `first` on."""
        b = self.b
        here = b.offset(chunk.scores, b.mul(first, 4))
        score = b.load(self.vector, here, column * self.row, align=64)
        shift = b.load_splat(self.vector, chunk.state, column * STATE)
        return exp2_near(b, score, shift, self.rough)

    def _largest(self, values: Sequence[Value]) -> Value:
        """Of every lane; of a number and none the number, if that comes first."""
        largest = values[0]
        for value in values[1:]:
            largest = self.b.maximum(value, largest)
        return largest
