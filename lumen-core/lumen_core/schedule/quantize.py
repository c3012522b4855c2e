"""Writing activations in the packed layout that matmul kernels read: codes, scales, seeds and sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.layout import DIGIT, ActivationLayout
from lumen_core.schedule.trees import joined

PIECE = 32
_MAGIC = 12582912.0  # 1.5 * 2**23: a sum with it holds the rounded integer in its low bits
_MAGIC_BITS = 0x4B400000
_TINY = 1e-30  # below this the scale's inverse would overflow: such a group counts as zero
_ONES = 0x01010101

Read: TypeAlias = "Callable[[int, int], Value]"  # a vector of a row of a group, from an element on
TOGETHER = 8  # tokens whose groups are quantized side by side, at most
STRAIGHT = 1024  # elements that are quantized without a loop, at most: more is more to compile, and no faster


def column_codes(builder: Builder, layout: ActivationLayout, panel: Value, column: Value) -> Value:
    """Where the codes of a column known at run time start: it lies as column 0 from there on."""
    side = layout.side
    if side == 1:
        return builder.offset(panel, builder.mul(column, PIECE))
    first = builder.mul(builder.div(column, side), side * PIECE)
    return builder.offset(panel, builder.add(first, builder.mul(builder.rem(column, side), layout.run)))


def column_scale(builder: Builder, layout: ActivationLayout, panel: Value, column: Value) -> Value:
    """The same for its scale."""
    side = layout.side
    first = builder.mul(builder.div(column, side), 4 * side**2) if side > 1 else builder.i64(0)
    own = builder.rem(column, side) if side > 1 else column
    return builder.offset(panel, builder.add(first, builder.mul(own, 4)))


class _Column:
    """A token's place in an activation buffer: where its 4-byte entries, its scale and its codes start."""

    def __init__(
        self, builder: Builder, layout: ActivationLayout, panels: Value, panel_bytes: Value, token: Value
    ):
        self.builder = builder
        self.layout = layout
        columns = layout.columns
        number = builder.div(token, columns) if columns > 1 else token
        panel = builder.offset(panels, builder.mul(number, panel_bytes))
        self.words = self.scales = self.codes = panel
        if columns > 1:
            column = builder.rem(token, columns)
            self.words = builder.offset(panel, builder.mul(column, 4))
            self.scales = column_scale(builder, layout, panel, column)
            self.codes = column_codes(builder, layout, panel, column)


class PlainRow(_Column):
    """One token's row of plain numbers."""

    def store(self, values: Value, element: Value) -> None:
        """Write f32 lanes as elements `element`, `element + 1`, ... of a row of plain numbers."""
        builder, group, step = self.builder, self.layout.group, 4 * self.layout.columns
        to = builder.offset(self.words, builder.mul(builder.div(element, group), step))
        if group == 2:
            values = self._bf16(values)
            if values.type.lanes == 1:
                builder.store(values, builder.offset(to, builder.mul(builder.rem(element, 2), 2)), align=2)
                return
            values = builder.bitcast(values, Type("i32", values.type.lanes // 2))
        if step == 4 or values.type.lanes == 1:
            builder.store(values, to, align=4)
            return
        for lane in range(values.type.lanes):
            builder.store(builder.extract(values, lane), to, lane * step, align=4)

    def finish(self, length: int) -> None:
        """Write what a last pair lacks: no number may stand there."""
        if length % self.layout.group:
            self.store(self.builder.f32(0.0), self.builder.i64(length))

    def _bf16(self, values: Value) -> Value:
        """The upper halves of f32, rounded half to even, as words; what is no number stays so."""
        builder, lanes = self.builder, values.type.lanes
        bits = builder.bitcast(values, Type("i32", lanes))
        even = builder.bitand(builder.shr(bits, 16), 1)
        rounded = builder.shr(builder.add(builder.add(bits, even), 0x7FFF), 16)
        number = builder.compare("eq", values, values)
        word = builder.select(number, rounded, builder.constant(bits.type, 0x7FC0))
        return builder.convert(word, "i16")


class QuantizedRows(_Column):
    """`count` rows side by side in a panel, of the tokens from `token` on, a multiple of `count`.

    What the rows have beside their codes is worked out and stored in vectors with a lane for each. Values are
    read anew each time that they are needed.

    lanes  of the target's vectors
    """

    def __init__(
        self,
        builder: Builder,
        layout: ActivationLayout,
        panels: Value,
        panel_bytes: Value,
        token: Value,
        count: int,
        lanes: int,
    ):
        super().__init__(builder, layout, panels, panel_bytes, token)
        self.rows = range(count)
        self.lanes = lanes

    def store_scales(self, read: Read, group: Value, inverses: Value) -> None:
        """Write the scales of group number `group`, and what makes codes of its values to `inverses`."""
        builder = self.builder
        scales = builder.offset(self.scales, builder.mul(group, self.layout.block_bytes))
        found = [self._largest(read, row) for row in self.rows]
        largest = joined(builder, over_runs(builder, "max", found, found[0].type.lanes))
        self._store_scales(builder.mul(largest, 1 / 127), scales)
        inverse = builder.div(builder.constant(largest.type, 127.0), largest)
        zero = builder.constant(largest.type, 0.0)
        inverse = builder.select(builder.compare("gt", largest, _TINY), inverse, zero)
        builder.store(inverse, inverses, align=4)

    def store_codes(self, read: Read, group: Value, inverses: Value) -> None:
        """Write the codes, seeds and sums of a group whose scales are written."""
        builder, layout = self.builder, self.layout
        where = builder.mul(group, layout.block_bytes)
        places = (self.words, self.scales, self.codes)
        words, scales, codes = (builder.offset(place, where) for place in places)
        quads: list[Value] = []
        for element in range(0, layout.group, PIECE):
            bytes = [self._codes(read, row, element, inverses) for row in self.rows]
            for first in self.rows[::2]:
                self._store_codes(joined(builder, bytes[first : first + 2]), codes, first, element)
            quads += [self._sums_of_4(vector) for vector in self._in_registers(bytes)]
        # of every piece and of every row in it: both halves, then the whole
        halves = joined(builder, over_runs(builder, "add", quads, 4))
        (totals,) = over_runs(builder, "add", [halves], 2)
        if layout.has_digits:
            self._store_digits(halves, codes, layout.digits(16))
            self._store_digits(totals, codes, layout.digits(PIECE))
        self._store_sums(halves, totals, words, scales)

    def _largest(self, read: Read, row: int) -> Value:
        """The largest magnitudes of a row's group, by lane."""
        builder, group = self.builder, self.layout.group
        chains = [builder.abs(read(row, 0))]
        lanes = chains[0].type.lanes
        for number, element in enumerate(range(lanes, group, lanes), 1):
            size = builder.abs(read(row, element))
            if number < 4:
                chains.append(size)
            else:
                chains[number % 4] = builder.maximum(chains[number % 4], size)
        while len(chains) > 1:
            chains.append(builder.maximum(chains.pop(0), chains.pop(0)))
        (found,) = chains
        while (half := found.type.lanes // 2) >= self.lanes:
            low, high = (builder.shuffle(found, None, range(own, own + half)) for own in (0, half))
            found = builder.maximum(low, high)
        return found

    def _codes(self, read: Read, row: int, element: int, inverses: Value) -> Value:
        """The codes of a row's piece from `element` on."""
        builder = self.builder
        parts: list[Value] = []
        while (done := sum(part.type.lanes for part in parts)) < PIECE:
            value = read(row, element + done)
            factor = builder.load_splat(value.type, inverses, 4 * row)
            rounded = builder.fma(value, factor, builder.constant(value.type, _MAGIC))
            bits = builder.bitcast(rounded, value.type.of("i32"))
            parts.append(builder.convert(builder.sub(bits, _MAGIC_BITS), "i8"))
        return joined(builder, parts)

    def _in_registers(self, bytes: list[Value]) -> list[Value]:
        """The rows' codes of a piece, one row after the other, in vectors of the target."""
        builder, width = self.builder, 4 * self.lanes
        if width < PIECE:
            parts = [range(at, at + width) for at in range(0, PIECE, width)]
            return [builder.shuffle(row, None, part) for row in bytes for part in parts]
        count = min(width // PIECE, len(bytes))
        return [joined(builder, bytes[row : row + count]) for row in self.rows[::count]]

    def _sums_of_4(self, bytes: Value) -> Value:
        builder, four = self.builder, Type("i32", bytes.type.lanes // 4)
        return builder.dot4(
            builder.constant(four, 0), builder.constant(four, _ONES), builder.bitcast(bytes, four)
        )

    def _store_digits(self, sums: Value, codes: Value, element: int) -> None:
        """Write sums as codes: a row's high digits, then low ones."""
        builder, pieces, rows = self.builder, range(self.layout.pieces), self.rows
        high = builder.convert(builder.sar(sums, DIGIT), "i8")
        low = builder.convert(builder.bitand(sums, (1 << DIGIT) - 1), "i8")
        each = sums.type.lanes // (len(pieces) * len(rows))
        for first in rows[::2]:
            places = [
                digit + (piece * len(rows) + row) * each + own
                for row in rows[first : first + 2]
                for digit in (0, sums.type.lanes)
                for piece in pieces
                for own in range(each)
            ]
            self._store_codes(builder.shuffle(high, low, places), codes, first, element)

    def _store_scales(self, values: Value, scales: Value) -> None:
        """Write the rows' scales, at depth 8 those of each pair twice."""
        builder, layout, count = self.builder, self.layout, len(self.rows)
        if count == 1:
            for copy in range(layout.side):
                builder.store(values, scales, layout.scales + 4 * layout.side * copy, align=4)
            return
        pairs = range(0, count, layout.side)
        lanes = [row for pair in pairs for row in [*range(pair, pair + layout.side)] * layout.side]
        laid = values if layout.side == 1 else builder.shuffle(values, None, lanes)
        builder.store(laid, scales, layout.scales, align=4)

    def _scales(self, scales: Value) -> Value:
        """The rows' scales, read back."""
        builder, layout, count = self.builder, self.layout, len(self.rows)
        if count == 1 or layout.side == 1:
            return builder.load(Type("f32", count), scales, layout.scales, align=4)
        laid = builder.load(Type("f32", count * layout.side), scales, layout.scales, align=4)
        return builder.shuffle(laid, None, [(layout.scale(row) - layout.scales) // 4 for row in self.rows])

    def _store_sums(self, halves: Value, totals: Value, words: Value, scales: Value) -> None:
        """Write seeds and sums of the group."""
        builder, layout, count = self.builder, self.layout, len(self.rows)
        step = 4 * layout.columns
        scale = self._scales(scales)
        for piece in range(layout.pieces):
            places = range(piece * count, (piece + 1) * count)
            for half in range(2 if layout.halves else 0):
                sums = picked(builder, halves, None, [2 * place + half for place in places])
                where = layout.seeds16 + (2 * piece + half) * step
                builder.store(builder.mul(sums, -128), words, where, align=4)
            total = picked(builder, totals, None, places)
            builder.store(builder.mul(total, -128), words, layout.seeds32 + piece * step, align=4)
            weighted = builder.convert(total, "f32")
            if layout.scaled_sums:
                weighted = builder.mul(scale, weighted)
            builder.store(weighted, words, layout.sums32 + piece * step, align=4)

    def _store_codes(self, bytes: Value, codes: Value, first: int, element: int) -> None:
        """Write the codes of one or two rows from `first` on, as many at once as lie side by side."""
        rows = self.rows[first : first + 2]
        each = bytes.type.lanes // len(rows)
        places = [self.layout.code(row, element + own) for row in rows for own in range(each)]
        left = sorted(range(len(places)), key=places.__getitem__)
        while left:
            start = places[left[0]]
            side = [lane for number, lane in enumerate(left) if places[lane] == start + number]
            self.builder.store(self.builder.shuffle(bytes, None, side), codes, start, align=4)
            left = left[len(side) :]


def over_runs(builder: Builder, kind: str, vectors: Sequence[Value], run: int) -> list[Value]:
    """The sum (`add`) or largest (`max`) of every `run` lanes of the vectors, one beside the other."""
    combine = {"add": builder.add, "max": builder.maximum}[kind]
    found = list(vectors)
    while run > 1:
        single = len(found) == 1
        pairs = [(found[0], None)] if single else list(zip(found[::2], found[1::2], strict=True))
        lanes = found[0].type.lanes * (1 if single else 2)
        left, right = range(0, lanes, 2), range(1, lanes, 2)
        found = [
            combine(picked(builder, low, high, left), picked(builder, low, high, right))
            for low, high in pairs
        ]
        run //= 2
    return found


def picked(builder: Builder, low: Value, high: Value | None, lanes: Sequence[int]) -> Value:
    """Lanes of a vector, or of two; one alone is a number."""
    return builder.extract(low, lanes[0]) if len(lanes) == 1 else builder.shuffle(low, high, lanes)
