"""Minimums of sub-blocks that are integers times one float of the block: added once per block.

They meet the sums of the activations in byte dot products, as codes meet activations: a sum is two digits,
and the products with the high ones are shifted by what these stand for before the low ones are added.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from lumen_core.ir.kernel import Type, Value
from lumen_core.quant.layout import DIGIT, ActivationLayout, WeightLayout
from lumen_core.quant.normal_form import NormalForm
from lumen_core.schedule.dots import Dots, PanelCodes
from lumen_core.schedule.totals import LARGE, LARGE_BITS, Held, Kept, is_short, kept
from lumen_core.schedule.weights import DotPlan

if TYPE_CHECKING:
    from lumen_core.schedule.integer_tile import IntegerTile

_PIECE = 32  # the longest sub-block whose sums of activations are at hand
_WORD = 0x7FFF  # products of bytes may have to add up in 16 bits


def minimums_are_dotted(form: NormalForm, activation: ActivationLayout) -> bool:
    """Tell whether minimums are integers times one float of the block, and fit byte dot products."""
    offset = form.offset
    if offset is None or offset.integer is None or activation.group <= _PIECE:
        return False
    integer = offset.integer
    every = form.sub in (16, _PIECE) and integer.count * form.sub == form.block == activation.group
    small = integer.low >= 0 and integer.high <= 127
    fits = (integer.high << DIGIT) * 2 * (integer.count // 4) <= _WORD
    return every and small and fits and all(field.count == 1 for field in offset.floats)


class Minimums:
    """What the minimums of a block give the sums of a tile."""

    def __init__(self, tile: IntegerTile):
        b, offset = tile.builder, tile.form.offset
        assert offset is not None and offset.integer is not None
        self.tile = tile
        # At depth 8 one column meets minimums as at depth 4: no column of zeros stands beside it.
        self.layout = tile.layout if tile.activation.side > 1 else replace(tile.layout, depth=4)
        self.dots = Dots(b, self.layout, tile.activation, tile.target, tile.ahead)
        self.offset = offset
        self.integer = offset.integer
        # Where many convert slowly, a total's bits are a float all along (`totals.py`), once it is shifted.
        small = tile.form.block * 127 * self.integer.high < 1 << 22 and is_short(offset, alone=True)
        self.large = small and tile.m > 1 and not tile.target.fast_conversion
        start = b.constant(tile.lanes, LARGE_BITS >> DIGIT if self.large else 0)
        self.start = Kept(b, start, tile.target, tile.totals.loads)
        in_memory = self.large and tile.target.cheap_loads
        self.taken = Held(b, tile.vector, tile.layout.parts if in_memory else 0)

    def vectors(self, base: Value) -> list[Value]:
        """What minimums of the block at `base` are multiplied by, and they as operands.

        First come their factors, by part of the rows, and where totals are floats all along, what these have
        too much, times the factors.
        """
        tile, reader = self.tile, self.tile.reader
        floats, found = reader.floats(base), []
        for extra in (1.0, -LARGE) if self.large else (1.0,):
            found += tile.parts(reader.factor(self.offset, floats, extra))
        return found + _operands(tile, self.layout, base, self.integer.count)

    def of_block(
        self, vectors: Sequence[Value], codes: PanelCodes, sums: Sequence[Value], scales: Sequence[Value]
    ) -> Iterator[Value]:
        """Sums of a block as floats, with what its minimums give for the activations of `codes`.

        `vectors` are those of the block, `scales` what scales the whole of it, by part of the rows.
        """
        tile, b, count, parts = self.tile, self.tile.builder, self.integer.count, len(scales)
        operands = list(vectors[(1 + self.large) * parts :])
        factors, taken = vectors[:parts], vectors[parts : (1 + self.large) * parts]
        taken = [self.taken.held(own, part) for part, own in enumerate(taken)]
        first = tile.activation.digits(tile.form.sub)
        plan = DotPlan("plain", left="small", chain=count // 4 if tile.plan.chain else 0)
        for start in range(0, tile.m, tile.abreast):
            columns = range(start, min(start + tile.abreast, tile.m))
            totals = {number: self.start.read() for number in columns}
            self.dots.add(totals, columns, operands, codes, first, plan)
            totals = {number: b.shl(total, DIGIT) for number, total in totals.items()}
            self.dots.add(totals, columns, operands, codes, first + count, plan)
            for column in columns:
                total, part = totals[column], column % tile.side
                sum, scale, factor = sums[column], scales[part], factors[part]
                if self.large:
                    less = kept(b, tile.vector, taken[part])
                    given = b.fma(b.bitcast(total, tile.vector), factor, less)
                    yield tile.totals.of_block(sum, scale, given)
                else:
                    yield b.fma(b.convert(total, "f32"), factor, tile.totals.of_block(sum, scale))


def _operands(tile: IntegerTile, layout: WeightLayout, base: Value, count: int) -> list[Value]:
    """The minimums as operands of dot products: they lie [sub-block][row] and are needed by row."""
    b, rows = tile.builder, tile.rows
    words, bytes, found = rows // 4, Type("i8", 4 * rows), []
    loaded = [
        b.load(bytes, base, layout.minimum_offset + first * rows, align=1) for first in range(0, count, 4)
    ]
    for first in range(0, len(loaded), layout.parts):
        fours = loaded[first : first + layout.parts]
        by_row = []
        for four in fours:
            # words of 4 rows: those of the same rows side by side, then their bytes are transposed
            if words > 1:
                order = [sub * words + word for word in range(words) for sub in range(4)]
                four = b.bitcast(b.shuffle(b.bitcast(four, tile.lanes), None, order), bytes)
            mask = [16 * (row // 4) + 4 * sub + row % 4 for row in range(rows) for sub in range(4)]
            by_row.append(b.bitcast(b.shuffle(four, None, mask), tile.lanes))
        if layout.parts == 1:
            found += by_row
            continue
        for part in range(layout.parts):  # a row's minimums side by side in half of the rows
            half = [n // 2 + n % 2 * rows + part * rows // 2 for n in range(rows)]
            found.append(b.shuffle(by_row[0], by_row[1], half))
    return found
