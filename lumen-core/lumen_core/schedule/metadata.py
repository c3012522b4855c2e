"""What a panel of activations has beside its codes: scales, and sums of codes as integers and as floats."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lumen_core.ir.kernel import Value
from lumen_core.schedule.dots import PIECE

if TYPE_CHECKING:
    from lumen_core.schedule.integer_tile import IntegerTile


class Metadata:
    """What piece `index` of a block of a panel has beside the codes, of each column in every lane.

    It lies at `words`: of a piece with scales of its own its own, else the block's.
    """

    def __init__(self, tile: IntegerTile, words: Value, index: Value):
        self.tile, self.builder, self.lanes, act = tile, tile.builder, tile.lanes, tile.activation
        self.activation = act
        self.step = 4 * act.columns
        own = act.group == PIECE
        by_piece = words if own else self.builder.offset(words, self.builder.mul(index, self.step))
        by_half = words if own else self.builder.offset(words, self.builder.mul(index, 2 * self.step))
        self.places = {32: (by_piece, act.seeds32), 16: (by_half, act.seeds16)}
        self.scales = tile.scales(words) if own else None
        self.totals = tile.spread(tile.vector, by_piece, act.sums32)

    def seeds(self, start: int, sub: int, column: int) -> Value:
        """-128 * the sum of the activations of the sub-block at element `start`."""
        where, first = self.places[sub]
        first += start // sub * self.step if sub < PIECE else 0
        return self.tile.spread(self.lanes, where, first)[column]
