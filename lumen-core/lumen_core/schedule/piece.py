"""What 32 elements of a row group's weights give a tile: operands, and what scales and shifts their products.

They are read from the packed weights, or from where they were written unpacked, for several panels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lumen_core.ir.kernel import Type, Value
from lumen_core.schedule.dots import PIECE
from lumen_core.schedule.weights import Block

if TYPE_CHECKING:
    from lumen_core.schedule.integer_tile import IntegerTile


class PackedPiece:
    """Piece `index` of a block."""

    def __init__(self, tile: IntegerTile, block: Block, index: Value):
        b, layout = tile.builder, tile.layout
        self.tile = tile
        self.builder = b
        self.base = block.scales
        self.index = index
        code_bytes = PIECE // layout.unit * layout.unit_bytes
        self.codes = b.offset(b.offset(block.codes, b.mul(index, code_bytes)), block.inside)
        # Read anew for every piece: carried over the pieces it would cost registers that the sums need.
        self.factor = tile.factor(self.base)

    def factors(self, start: int) -> tuple[list[list[Value]], list[Value]]:
        """What scales the totals of the sub-block at element `start`, and what multiplies sum(y), by part.

        The second is the offset and, for a zero point that is no seed, -zero * scale; without either it is
        empty.
        """
        tile, after = self.tile, start + min(self.tile.form.sub, PIECE)
        scale = self.scale(start)
        if tile.totals.goes_on and after < PIECE:
            scale = self.builder.sub(scale, self.scale(after))
        beta = self.beta(start, scale)
        betas = tile.parts(beta) if beta is not None else []
        return [tile.totals.factors(own) for own in tile.parts(scale)], betas

    def scale(self, start: int) -> Value:
        return self.tile.totals.scale(self.sub_block(start), self.factor, self.base)

    def beta(self, start: int, scale: Value) -> Value | None:
        b, tile = self.builder, self.tile
        form, plan = tile.form, tile.plan
        beta: Value | None = None
        if form.offset is not None and not tile.dotted:
            offset = tile.reader.factor(form.offset, tile.reader.floats(self.base), 1.0)
            where = tile.layout.minimum_offset
            number = self.sub_block(start)
            beta = tile.reader.sub_factor(form.offset, offset, self.base, number, where)
        if plan.kind == "corrected":
            shifted = b.mul(scale, -float(plan.zero(form)) / form.multiplier)
            beta = shifted if beta is None else b.add(beta, shifted)
        if beta is not None and form.sub < PIECE:  # the sums of 16 are had from their seeds
            beta = b.mul(beta, -1.0 / 128)
        return beta

    def sub_block(self, start: int) -> Value:
        """The number, in its block, of the sub-block that holds element `start`."""
        b, sub = self.builder, self.tile.form.sub
        if sub > PIECE:
            return b.div(self.index, sub // PIECE)
        return b.add(b.mul(self.index, PIECE // sub), start // sub)

    def operands(self, part: range) -> list[Value]:
        """Operand vectors of the elements `part`: of units, or of a part of one."""
        layout, vectors = self.tile.layout, []
        for first in range(part.start, part.stop, layout.unit):
            unit, inside = divmod(first, layout.unit)
            unit_base = self.builder.offset(self.codes, unit * layout.unit_bytes)
            groups = range(inside // 4, (inside + min(len(part), layout.unit)) // 4)
            vectors += self.tile.reader.operands(unit_base, groups)
        return vectors


class UnpackedPiece:
    """A piece that `write` has left in memory: its operands, then the factors of every sub-block."""

    def __init__(self, tile: IntegerTile, where: Value):
        self.tile = tile
        self.builder = tile.builder
        self.where = where
        self.step = 4 * tile.rows

    @staticmethod
    def bytes(tile: IntegerTile) -> int:
        """Bytes of a piece."""
        sub_blocks = PIECE // min(tile.form.sub, PIECE)
        return 4 * tile.rows * (PIECE // 4 + sub_blocks * len(UnpackedPiece._kinds(tile)))

    @staticmethod
    def _kinds(tile: IntegerTile) -> list[Type]:
        """Types of a sub-block's vectors behind the operands: factors of every part, then betas."""
        return tile.layout.parts * tile.totals.kinds + tile.layout.parts * tile.shifted * [tile.vector]

    def write(self, piece: PackedPiece) -> None:
        """Unpack a piece."""
        sub = min(self.tile.form.sub, PIECE)
        vectors = piece.operands(range(PIECE))
        for start in range(0, PIECE, sub):
            factors, betas = piece.factors(start)
            vectors += [vector for own in factors for vector in own] + betas
        for number, vector in enumerate(vectors):
            self.builder.store(vector, self.where, self.step * number, align=self.step)

    def factors(self, start: int) -> tuple[list[list[Value]], list[Value]]:
        """`PackedPiece.factors`; a second factor is an address: it is read where it is used."""
        tile, kinds = self.tile, self._kinds(self.tile)
        first = PIECE // 4 + start // min(tile.form.sub, PIECE) * len(kinds)
        count, parts = len(tile.totals.kinds), tile.layout.parts

        def read(number: int) -> Value:
            if number < count * parts and number % count > 0:
                return self.builder.offset(self.where, self.step * (first + number))
            return self._load(kinds[number], first + number)

        found = [read(number) for number in range(len(kinds))]
        return [found[count * own : count * (own + 1)] for own in range(parts)], found[count * parts :]

    def operands(self, part: range) -> list[Value]:
        """Operand vectors of the elements `part`."""
        return [self._load(self.tile.lanes, number) for number in range(part.start // 4, part.stop // 4)]

    def _load(self, type: Type, number: int) -> Value:
        return self.builder.load(type, self.where, self.step * number, align=self.step)
