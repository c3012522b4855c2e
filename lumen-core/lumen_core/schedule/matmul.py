"""The fused matmul: unpack, dequantize and multiply in one kernel, for any format in normal form.

Lanes are weight rows; an activation is broadcast to all of them. A tile is one row group (R rows) times some
token columns; its accumulators live in registers over the whole row (integer_tile.py, float_tile.py).
The same packed bytes serve one token (decoding) and panels of many. What a last panel does not fill is
covered by narrower tiles, so that a step's time grows with its tokens.
"""

from __future__ import annotations

from dataclasses import dataclass

from lumen_core.ir.kernel import I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.floats import WEIGHT_UNITS
from lumen_core.quant.layout import ActivationLayout, WeightLayout
from lumen_core.quant.normal_form import NormalForm
from lumen_core.schedule.float_tile import FloatTile
from lumen_core.schedule.integer_tile import IntegerTile
from lumen_core.schedule.weights import emit_blocks_bytes, emit_group_bytes
from lumen_core.target import Target

SHARED_GROUPS = 8  # row groups that use a panel while it is near, at most


@dataclass(frozen=True)
class MatmulTile:
    """What is fixed when a matmul kernel is compiled.

    columns     token columns of a panel of the activation layout, and of the widest tile
    accumulate  add to what the output holds instead of overwriting it
    """

    columns: int
    accumulate: bool = False

    @property
    def widths(self) -> tuple[int, ...]:
        """Columns of the tiles that cover a panel, widest first."""
        return tuple(dict.fromkeys(max(1, self.columns >> halvings) for halvings in range(3)))


def tile_columns(target: Target) -> int:
    """Columns of the wide tile: as many accumulators as leave room for a sub-block's operands."""
    return target.tile_columns or (16 if target.registers >= 32 else 4)


def build_matmul(form: NormalForm, target: Target, tile: MatmulTile, name: str = "matmul") -> Kernel:
    """Build `name(weights, activations, output, stride, length, first, last, tokens)`.

    output[token][row] += or = sum over k of weight[row][k] * activation[token][k], f32, for the row groups
    first <= g < last and all tokens; `stride` is the output's bytes per token, `length` the row's
    elements. Output rows are padded to whole row groups.
    """
    return _Matmul(form, target, tile, name).build()


class _Matmul:
    def __init__(self, form: NormalForm, target: Target, tile: MatmulTile, name: str):
        self.form = form
        self.target = target
        self.tile = tile
        self.layout = WeightLayout(form, target.lanes, target.depth)
        self.activation = ActivationLayout(form.activation, tile.columns, target.depth)
        parameters = [("weights", PTR), ("activations", PTR), ("output", PTR)]
        parameters += [(label, I64) for label in ("stride", "length", "first", "last", "tokens")]
        added = ", added to the output" if tile.accumulate else ""
        tokens = f"{tile.columns} token{'s' * (tile.columns > 1)} at a time"
        doc = f"{form.name} weights x {form.activation} activations, {tokens}{added}"
        self.kernel = Kernel(name, parameters, doc=doc)
        self.b = Builder(self.kernel)
        self.vector = Type("f32", target.lanes)
        self.widths = [width for width in tile.widths if width % self.activation.side == 0]
        self.tiles = {width: self.tile_of(width) for width in self.widths}

    def tile_of(self, columns: int, groups: int = 1) -> IntegerTile | FloatTile:
        if self.form.kind == "integer":
            return IntegerTile(self.b, self.layout, self.activation, self.target, columns, groups)
        return FloatTile(self.b, self.layout, self.activation, self.target, columns)

    def build(self) -> Kernel:
        b = self.b
        weights, activations, output, stride, length, first, last, tokens = self.kernel.parameters
        group_bytes = emit_group_bytes(b, self.layout, b.div(length, self.form.block))
        row_bytes = 4 * self.target.lanes
        if self.tile.columns == 1:
            start = first
            for groups in self.together():
                stop = b.add(start, b.mul(b.div(b.sub(last, start), groups), groups)) if groups > 1 else last
                with b.loop(start, stop, groups) as group:
                    places = [b.add(group.index, number) for number in range(groups)]
                    bases = [b.offset(weights, b.mul(place, group_bytes)) for place in places]
                    totals = self.sums(self.tile_of(1, groups), bases, activations, b.i64(0))
                    for place, total in zip(places, totals, strict=True):
                        self.store(total, b.offset(output, b.mul(place, row_bytes)))
                start = stop
            return self.kernel
        columns = self.tile.columns
        share = self.activation.group
        panel_bytes = b.mul(b.div(b.add(length, share - 1), share), self.activation.block_bytes)
        panels = b.div(b.add(tokens, columns - 1), columns)
        # Their weights stay in half of the second cache until the last panel has met them.
        room = b.div(b.i64(self.target.cache_bytes[1] // 2), group_bytes)
        shared = b.maximum(b.minimum(room, SHARED_GROUPS), 1)
        with b.loop(first, last, shared) as outer:
            stop = b.minimum(b.add(outer.index, shared), last)
            with b.loop(0, panels) as panel:
                token = b.mul(panel.index, columns)
                base = b.offset(activations, b.mul(panel.index, panel_bytes))
                left = b.minimum(b.sub(tokens, token), columns)
                with b.loop(outer.index, stop) as group:
                    where = b.offset(output, b.mul(group.index, row_bytes))
                    where = b.offset(where, b.mul(token, stride))
                    self.cover(b.offset(weights, b.mul(group.index, group_bytes)), base, where, left)
        return self.kernel

    def together(self) -> tuple[int, ...]:
        """Row groups that one column meets at once, and one for the last.

        Where activations take loads and registers of their own, two groups share them.
        """
        shared = self.form.kind == "integer" and not self.target.broadcast_memory
        return (2, 1) if shared and self.target.registers >= 32 else (1,)

    def cover(self, weights: Value, panel: Value, output: Value, tokens: Value) -> None:
        """Multiply a row group with the first `tokens` columns of a panel, by one tile or narrower ones."""
        b, widths = self.b, self.widths
        with b.repeat([b.i64(0)]) as covered:
            (column,) = covered.values
            left = b.sub(tokens, column)
            width = b.i64(widths[-1])
            for place in range(len(widths) - 1, -1, -1):
                least = sum(widths[place + 1 :])  # more columns than the narrower tiles have together
                fits = b.compare("gt", left, least)
                if place > 0:
                    fits = b.bitand(fits, b.compare("le", left, sum(widths[place:])))
                with b.when(fits):
                    self.multiply(widths[place], weights, panel, output, column, left)
                width = b.select(fits, b.i64(widths[place]), width)
            after = b.add(column, width)
            covered.condition = b.compare("lt", after, tokens)
            covered.next(after)

    def multiply(
        self, width: int, weights: Value, panel: Value, output: Value, column: Value, left: Value
    ) -> None:
        """Multiply a row group with `width` columns from `column` on, of which `left` are tokens."""
        b = self.b
        stride = self.kernel.parameters[3]
        output = b.offset(output, b.mul(column, stride))
        places = [b.offset(output, b.mul(stride, number)) for number in range(width)]
        for place in places:  # the sums shall not wait for these lines
            b.prefetch(place)
        sums = self.sums(self.tiles[width], [weights], panel, column)
        for number, place in enumerate(places):
            with b.when(b.compare("gt", left, number)):
                self.store(sums[number], place)

    def sums(
        self, tile: IntegerTile | FloatTile, weights: list[Value], panel: Value, column: Value
    ) -> list[Value]:
        """The sums of a tile, with what multiplies whole rows."""
        b, form, layout, length = self.b, self.form, self.layout, self.kernel.parameters[4]
        sums = tile.sums(weights, panel, column, length)
        unit = WEIGHT_UNITS.get(form.element, 1.0)
        if form.row is not None:
            where = emit_blocks_bytes(b, layout, b.div(length, form.block))
            columns = len(sums) // len(weights)
            for group, base in enumerate(weights):
                factor = b.load(self.vector, base, where, align=4)
                by = b.mul(factor, unit) if unit != 1 else factor
                own = slice(group * columns, (group + 1) * columns)
                sums[own] = [b.mul(total, by) for total in sums[own]]
            return sums
        return [b.mul(total, unit) for total in sums] if unit != 1 else sums

    def store(self, value: Value, where: Value) -> None:
        if self.tile.accumulate:
            value = self.b.add(value, self.b.load(self.vector, where, 0, align=4))
        self.b.store(value, where, 0, align=4)
