"""Row groups times several whole panels: codes are unpacked once for all of them.

Where every vector unit multiplies, unpacking takes turns from the products. So some blocks of a row group are
unpacked into the nearest cache and meet one panel after the other, while the sums of the other panels wait
in memory. What the panels have for these blocks stays near as well, for the next row group.
"""

from __future__ import annotations

from typing import TypeAlias

from lumen_core.ir.kernel import Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.layout import ActivationLayout, WeightLayout
from lumen_core.schedule.blocking import GROUPS, Blocking
from lumen_core.schedule.dots import PIECE, PanelCodes
from lumen_core.schedule.fetch import fetch_ahead
from lumen_core.schedule.integer_tile import IntegerTile, Metadata
from lumen_core.schedule.piece import PackedPiece, UnpackedPiece
from lumen_core.schedule.weights import emit_block
from lumen_core.target import Target

Range: TypeAlias = tuple[Value, Value]  # from the first to before the last


class SharedTile:
    """A tile of a row group and a panel, for GROUPS groups and `cut.panels` whole panels at most."""

    def __init__(
        self,
        b: Builder,
        layout: WeightLayout,
        activation: ActivationLayout,
        target: Target,
        cut: Blocking,
    ):
        tile = IntegerTile(b, layout, activation, target, activation.columns)
        self.tile = tile
        self.builder = b
        self.panels = cut.panels
        self.own = tile.form.block // PIECE  # pieces of a block
        self.blocks = cut.shared // tile.form.block
        self.piece_bytes = UnpackedPiece.bytes(tile)
        self.buffer = b.stack(self.blocks * self.own * self.piece_bytes)
        self.sums = b.stack(GROUPS * cut.panels * tile.bytes)

    def waiting(self, group: Value, panel: Value) -> Value:
        """Where the sums of a row group and a panel wait."""
        b = self.builder
        return b.offset(self.sums, b.mul(b.add(b.mul(group, self.panels), panel), self.tile.bytes))

    def begin(self, waiting: Value) -> None:
        """Sums of nothing."""
        tile = self.tile
        tile.store([self.builder.constant(tile.vector, 0.0)] * tile.m, waiting)

    def unpack(self, group: Value, blocks: Range) -> None:
        """Unpack some blocks of a row group."""
        b, first = self.builder, blocks[0]
        with b.loop(0, self.pieces(blocks)) as piece:
            block = emit_block(b, self.tile.layout, group, b.add(first, b.div(piece.index, self.own)))
            inside = b.rem(piece.index, self.own)
            fetch_ahead(b, self.tile.place(block, inside), self.tile.share)
            where = b.offset(self.buffer, b.mul(piece.index, self.piece_bytes))
            UnpackedPiece(self.tile, where).write(PackedPiece(self.tile, block, inside))

    def pieces(self, blocks: Range) -> Value:
        """How many pieces some blocks have."""
        if self.blocks == 1:
            return self.builder.i64(self.own)
        return self.builder.mul(self.builder.sub(blocks[1], blocks[0]), self.own)

    def add(self, group: Value, panel: Value, blocks: Range, waiting: Value) -> None:
        """Add the products of the unpacked blocks to the sums that wait; a panel has its share at `panel`."""
        b, tile = self.builder, self.tile
        before = tile.zeros if tile.waits else tile.load(waiting)
        with b.loop(0, self.pieces(blocks), 1, [self.buffer, panel, *before]) as loop:
            codes, quants, *sums = loop.values
            metadata = Metadata(tile, panel if tile.waits else quants, loop.index)
            sums = tile.of_group(
                UnpackedPiece(tile, codes), PanelCodes(tile.activation, quants), metadata, sums
            )
            after = b.offset(codes, self.piece_bytes), b.offset(quants, tile.activation.piece_bytes)
            loop.next(*after, *sums)
        sums = list(loop.results[2:])
        if tile.waits:
            block = emit_block(b, tile.layout, group, blocks[0])
            tile.add_block([block], panel, panel, sums, waiting)
        else:
            tile.store(sums, waiting)

    def finished(self, waiting: Value) -> list[Value]:
        """Sums that waited, as they are stored."""
        return self.tile.finished(self.tile.load(waiting))
