"""The fused matmul: unpack, dequantize and multiply in one kernel, for any format in normal form.

Lanes are weight rows; an activation is broadcast to all of them. A tile is some row groups (of R rows) times
some token columns; its accumulators live in registers over the whole row, or a part of it (integer_tile.py,
float_tile.py; blocking.py says how tiles and parts are chosen).
The same packed bytes serve one token (decoding) and panels of many. What a last panel does not fill is
covered by narrower tiles, so that a step's time grows with its tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from lumen_core.ir.kernel import I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder, Loop
from lumen_core.quant.floats import KERNEL_UNITS
from lumen_core.quant.layout import ActivationLayout, WeightLayout
from lumen_core.quant.normal_form import NormalForm
from lumen_core.schedule.asking import Asking, Operand
from lumen_core.schedule.blocking import GROUPS, Part, choose_blocking
from lumen_core.schedule.fetch import AHEAD
from lumen_core.schedule.float_tile import FloatOperands, FloatTile
from lumen_core.schedule.integer_tile import IntegerTile
from lumen_core.schedule.shared_tile import Range, SharedTile
from lumen_core.schedule.weights import emit_blocks_bytes, emit_group_bytes
from lumen_core.target import Target

# Up to so many panels read weights that are floats as they lie. Measured, of bf16: for 4 panels parts of the
# rows, of several row groups at once, are 1.02 to 1.15 times as fast.
FEW_PANELS = 2


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
        self.cut = choose_blocking(self.layout, self.activation, target)
        parameters = [("weights", PTR), ("activations", PTR), ("output", PTR)]
        parameters += [(label, I64) for label in ("stride", "length", "first", "last", "tokens")]
        added = ", added to the output" if tile.accumulate else ""
        tokens = f"{tile.columns} token{'s' * (tile.columns > 1)} at a time"
        doc = f"{form.name} weights x {form.activation} activations, {tokens}{added}"
        self.kernel = Kernel(name, parameters, doc=doc)
        self.b = Builder(self.kernel)
        self.vector = Type("f32", target.lanes)
        self.row_bytes = 4 * target.lanes
        self.unpacked: list[Value] | None = None
        self.asked: list[Value] | None = None
        self.asking: Asking | None = None
        self.once = tile.columns == 1  # weights are used for nothing else in the step
        self.scratch = self.b.stack(self.cut.unpacked) if self.cut.unpacked else None

    def tile_of(self, columns: int, groups: int, part: Part | None = None) -> IntegerTile | FloatTile:
        given = (self.b, self.layout, self.activation, self.target, columns, groups)
        if self.form.kind == "integer":
            return IntegerTile(*given, once=self.once)
        return FloatTile(*given, part, self.unpacked, self.asked)

    def build(self) -> Kernel:
        b = self.b
        weights, activations, output, _, length, first, last, tokens = self.kernel.parameters
        self.group_bytes = emit_group_bytes(b, self.layout, b.div(length, self.form.block))
        if self.tile.columns == 1:
            for groups, own in self.in_groups((first, last), self.together()):
                with b.loop(*own, groups) as group:
                    places = [b.add(group.index, number) for number in range(groups)]
                    bases = [b.offset(weights, b.mul(place, self.group_bytes)) for place in places]
                    totals = self.sums(self.tile_of(1, groups), bases, activations, b.i64(0))
                    for place, total in zip(places, totals, strict=True):
                        self.store(total, b.offset(output, b.mul(place, self.row_bytes)))
            return self.kernel
        columns, share = self.tile.columns, self.activation.group
        self.panel_bytes = b.mul(b.div(b.add(length, share - 1), share), self.activation.block_bytes)
        panels = (b.i64(0), b.div(b.add(tokens, columns - 1), columns))
        self.operands = Operand(weights, self.group_bytes), Operand(activations, self.panel_bytes)
        room = b.i64(self.target.cache_bytes[1] // 2)
        if self.cut.part:
            self.past_weights((first, last), panels, room)
        elif self.cut.panels:
            whole = b.div(tokens, columns)
            whole = b.select(b.compare("ge", whole, 2), whole, b.i64(0))
            self.past_unpacked((first, last), (panels[0], whole))
            self.past_panels((first, last), (whole, panels[1]), room)
        else:
            self.past_panels((first, last), panels, room)
        return self.kernel

    def together(self) -> int:
        """Row groups that one column meets at once.

        Where activations take loads and registers of their own, two groups share them.
        """
        shared = self.form.kind == "integer" and not self.target.broadcast_memory
        return 2 if shared and self.target.registers >= 32 else 1

    def in_groups(self, range: Range, together: int) -> Iterator[tuple[int, Range]]:
        """Split a range in what can be done so many `together`, and the rest one by one."""
        b, (first, last) = self.b, range
        if together > 1:
            whole = b.add(first, b.mul(b.div(b.sub(last, first), together), together))
            yield together, (first, whole)
            first = whole
        yield 1, (first, last)

    def past_panels(self, groups: Range, panels: Range, room: Value) -> None:
        """Take the weights past each panel, so many row groups that they stay in `room` for the next one.

        Those that one panel alone meets are used once.
        """
        b = self.b
        alone = b.compare("eq", b.sub(panels[1], panels[0]), 1)
        self.once = True
        with b.when(alone):
            self.row_groups(groups, panels)
        self.once = False
        with b.when(b.bitxor(alone, -1)):
            shared = b.maximum(b.div(room, self.group_bytes), 1)
            with self.shares(groups, shared) as share, b.loop(*panels) as panel:
                self.row_groups(share, (panel.index, b.add(panel.index, 1)))

    def past_unpacked(self, groups: Range, panels: Range) -> None:
        """Unpack some blocks of the weights at a time, for as many whole panels as share them."""
        b, cut, columns = self.b, self.cut, self.tile.columns
        weights, activations, output, stride, length, *_ = self.kernel.parameters
        shared = SharedTile(b, self.layout, self.activation, self.target, cut)
        whole = (b.i64(0), b.div(length, self.form.block))
        with self.shares(panels, b.i64(cut.panels)) as share, self.shares(groups, b.i64(GROUPS)) as own:

            def waiting(group: Loop, panel: Value) -> Value:
                return shared.waiting(b.sub(group.index, own[0]), b.sub(panel, share[0]))

            with b.loop(*own) as group, b.loop(*share) as panel:
                shared.begin(waiting(group, panel.index))
            with self.shares(whole, b.i64(shared.blocks)) as blocks, b.loop(*own) as group:
                base = b.offset(weights, b.mul(group.index, self.group_bytes))
                shared.unpack(base, blocks)
                inside = b.mul(blocks[0], shared.tile.stride)
                codes = b.offset(activations, b.add(b.mul(share[0], self.panel_bytes), inside))
                with b.loop(*share, 1, [codes, waiting(group, share[0])]) as panel:
                    codes, place = panel.values
                    shared.add(codes, blocks, place)
                    panel.next(b.offset(codes, self.panel_bytes), b.offset(place, shared.tile.bytes))
            with b.loop(*own) as group, b.loop(*share) as panel:
                base = b.offset(weights, b.mul(group.index, self.group_bytes))
                place = b.offset(output, b.mul(b.mul(panel.index, columns), stride))
                place = b.offset(place, b.mul(group.index, self.row_bytes))
                sums = shared.finished(waiting(group, panel.index))
                for number, sum in enumerate(self.of_rows(sums, [base])):
                    self.store(sum, b.offset(place, b.mul(stride, number)))

    def past_weights(self, groups: Range, panels: Range, room: Value) -> None:
        """Take the panels past each tile's weights, so many that a part of them stays in `room` for the next.

        Where they are few, the weights come as they lie, a row group after the other.
        """
        b, length = self.b, self.kernel.parameters[4]
        few = b.compare("le", panels[1], FEW_PANELS)
        with b.when(few), b.loop(*groups) as group:
            self.tiles(1, group.index, panels)
        with b.when(b.bitxor(few, -1)):
            part = b.minimum(length, self.cut.part)
            together = b.maximum(b.div(room, b.div(b.mul(self.panel_bytes, part), length)), 1)
            with (
                self.shares(panels, together) as share,
                self.shares((b.i64(0), length), part) as (start, stop),
            ):
                own = Part(start, stop)
                self.asking = Asking(
                    b, self.layout, self.activation, self.operands, (groups, panels), share, own, length
                )
                self.row_groups(groups, share, own)

    @contextmanager
    def shares(self, range: Range, together: Value) -> Iterator[Range]:
        """Go through a range, so many `together`."""
        b = self.b
        with b.loop(*range, together) as share:
            yield share.index, b.minimum(b.add(share.index, together), range[1])

    def row_groups(self, groups: Range, panels: Range, part: Part | None = None) -> None:
        """Multiply (a part of) row groups with panels: as many groups as a tile has, the rest one by one."""
        for together, own in self.in_groups(groups, self.cut.groups):
            with self.b.loop(*own, together) as group:
                self.tiles(together, group.index, panels, part)

    def tiles(self, groups: int, group: Value, panels: Range, part: Part | None = None) -> None:
        """Multiply (a part of) some row groups with panels."""
        b, columns = self.b, self.tile.columns
        weights, activations, output, stride, _, _, _, tokens = self.kernel.parameters
        bases = [b.offset(weights, b.mul(b.add(group, own), self.group_bytes)) for own in range(groups)]
        output = b.offset(output, b.mul(group, self.row_bytes))
        self.unpacked = None
        if part is not None and self.scratch is not None:
            share = self.cut.unpacked // self.cut.groups
            self.unpacked = [b.offset(self.scratch, own * share) for own in range(groups)]
            FloatOperands(b, self.layout).unpack(bases, part, self.unpacked)
        with b.loop(*panels) as panel:
            token = b.mul(panel.index, columns)
            base = b.offset(activations, b.mul(panel.index, self.panel_bytes))
            left = b.minimum(b.sub(tokens, token), columns)
            number = b.sub(panel.index, panels[0])
            first = b.compare("eq", number, 0)
            self.asked = [b.select(first, b.offset(own, AHEAD), own) for own in bases]
            if part is not None:
                assert self.asking is not None
                here = b.offset(bases[0], self.asking.begin) if self.unpacked is None else self.unpacked[0]
                self.of_first, self.of_others = self.asking.places(group, groups, number, here)
            self.cover(bases, base, b.offset(output, b.mul(token, stride)), left, part)

    def cover(
        self, weights: list[Value], panel: Value, output: Value, tokens: Value, part: Part | None
    ) -> None:
        """Multiply row groups with the first `tokens` columns of a panel, by wide tiles and narrower ones."""
        b, widths = self.b, self.widths(len(weights))
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
                    self.multiply(widths[place], weights, panel, output, column, left, part)
                width = b.select(fits, b.i64(widths[place]), width)
            after = b.add(column, width)
            covered.condition = b.compare("lt", after, tokens)
            covered.next(after)

    def multiply(
        self,
        width: int,
        weights: list[Value],
        panel: Value,
        output: Value,
        column: Value,
        left: Value,
        part: Part | None,
    ) -> None:
        """Multiply row groups with `width` columns from `column` on, of which `left` are tokens."""
        b, groups = self.b, len(weights)
        stride = self.kernel.parameters[3]
        output = b.offset(output, b.mul(column, stride))
        places = [b.offset(output, b.mul(stride, number)) for number in range(width)]
        for place in places:  # the sums shall not wait for these lines
            for own in range(groups):
                b.prefetch(place, own * self.row_bytes)
        if part is not None:
            self.asked = [self.of_others]
            if width < self.tile.columns:
                self.asked = [b.select(b.compare("gt", column, 0), self.of_others, self.of_first)]
        sums = self.sums(self.tile_of(width, groups, part), weights, panel, column)
        begun = b.compare("gt", part.start, 0) if part is not None else None
        for number, place in enumerate(places):
            with b.when(b.compare("gt", left, number)):
                for own in range(groups):
                    self.store(sums[own * width + number], b.offset(place, own * self.row_bytes), begun)

    def widths(self, groups: int) -> list[int]:
        """Columns of the tiles of some row groups that cover a panel, widest first."""
        least = self.activation.side
        return [width for width in self.tile.widths if width >= least and width * groups <= self.cut.sums]

    def sums(
        self, tile: IntegerTile | FloatTile, weights: list[Value], panel: Value, column: Value
    ) -> list[Value]:
        """The sums of a tile."""
        return self.of_rows(tile.sums(weights, panel, column, self.kernel.parameters[4]), weights)

    def of_rows(self, sums: list[Value], weights: list[Value]) -> list[Value]:
        """Sums times what multiplies whole rows."""
        b, form, layout, length = self.b, self.form, self.layout, self.kernel.parameters[4]
        unit = KERNEL_UNITS.get(form.element, 1.0)
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

    def store(self, value: Value, where: Value, begun: Value | None = None) -> None:
        """Store a sum; with `begun` its row has sums of parts in the output."""
        b = self.b
        if self.tile.accumulate:
            value = b.add(value, b.load(self.vector, where, 0, align=4))
        elif begun is not None:
            before = b.load(self.vector, where, 0, align=4)
            value = b.select(begun, b.add(value, before), value)
        b.store(value, where, 0, align=4)
