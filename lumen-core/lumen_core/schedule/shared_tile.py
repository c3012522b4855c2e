"""Row groups times several whole panels: codes are unpacked once for all of them.

Where every vector unit multiplies, unpacking takes turns from the products. So some blocks of a row group are
unpacked into the nearest cache and meet one panel after the other, while the sums of the other panels wait
in memory. What the panels have for these blocks stays near as well, for the next row group.
"""

from __future__ import annotations

from typing import TypeAlias

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.layout import ActivationLayout, WeightLayout
from lumen_core.schedule.blocking import GROUPS, Blocking
from lumen_core.schedule.dots import PIECE, PanelCodes
from lumen_core.schedule.fetch import fetch_ahead
from lumen_core.schedule.integer_tile import IntegerTile
from lumen_core.schedule.metadata import Metadata
from lumen_core.schedule.piece import PackedPiece, UnpackedPiece
from lumen_core.schedule.weights import Block, emit_block
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
        # What the one block has beside its pieces, where sums wait for its end: `IntegerTile.vectors`.
        self.beside: list[tuple[Type, Value]] = []
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
        b, tile = self.builder, self.tile
        with b.loop(*blocks, 1, [self.buffer]) as loop:
            block, where = emit_block(b, tile.layout, group, loop.index), loop.values[0]
            if tile.waits:
                self.beside = [self.near(vector) for vector in tile.vectors(block.scales)]
            if self.own == 1:
                after = self.unpack_piece(block, b.i64(0), where)
            else:
                with b.loop(0, self.own, 1, [where]) as piece:
                    piece.next(self.unpack_piece(block, piece.index, piece.values[0]))
                after = piece.results[0]
            loop.next(after)

    def unpack_piece(self, block: Block, index: Value, where: Value) -> Value:
        """Unpack a piece; gives the place of the next one."""
        b, tile = self.builder, self.tile
        fetch_ahead(b, tile.place(block, index), tile.share)
        UnpackedPiece(tile, where).write(PackedPiece(tile, block, index))
        return b.offset(where, self.piece_bytes)

    def near(self, vector: Value) -> tuple[Type, Value]:
        """A vector in memory of its own: its type and its place."""
        place = self.builder.stack(vector.type.bytes)
        self.builder.store(vector, place, align=vector.type.bytes)
        return vector.type, place

    def pieces(self, blocks: Range) -> Value:
        """How many pieces some blocks have."""
        if self.blocks == 1:
            return self.builder.i64(self.own)
        return self.builder.mul(self.builder.sub(blocks[1], blocks[0]), self.own)

    def add(self, panel: Value, blocks: Range, waiting: Value) -> None:
        """Add the products of the unpacked blocks to the sums that wait; a panel has its share at `panel`."""
        b, tile = self.builder, self.tile
        before = tile.zeros if tile.waits else tile.load(waiting)
        with b.loop(0, self.pieces(blocks), 1, [self.buffer, panel, *before]) as loop:
            codes, quants, *sums = loop.values
            metadata = Metadata(tile, panel if tile.waits else quants, loop.index)
            near = PanelCodes(tile.activation, quants)
            sums = tile.of_group(UnpackedPiece(tile, codes), near, metadata, sums)
            after = b.offset(codes, self.piece_bytes), b.offset(quants, tile.activation.piece_bytes)
            loop.next(*after, *sums)
        sums = list(loop.results[2:])
        if tile.waits:
            vectors = [b.load(type, place, align=type.bytes) for type, place in self.beside]
            tile.add_block([vectors], panel, panel, sums, waiting)
        else:
            tile.store(sums, waiting)

    def finished(self, waiting: Value) -> list[Value]:
        """Sums that waited, as they are stored."""
        return self.tile.finished(self.tile.load(waiting))
