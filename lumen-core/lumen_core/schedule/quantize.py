"""Writing activations in the packed layout that matmul kernels read: codes, scales, seeds and sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.layout import DIGIT, ActivationLayout

PIECE = 32
_MAGIC = 12582912.0  # 1.5 * 2**23: a sum with it holds the rounded integer in its low bits
_MAGIC_BITS = 0x4B400000
_TINY = 1e-30  # below this the scale's inverse would overflow: such a group counts as zero
_ONES = 0x01010101

Row: TypeAlias = "Sequence[Callable[[], Value]]"
Rows: TypeAlias = "Sequence[Row]"
TOGETHER = 8  # tokens whose groups are quantized side by side


def column_codes(builder: Builder, layout: ActivationLayout, panel: Value, column: Value) -> Value:
    """Where the codes of a column known at run time start: it lies as column 0 from there on."""
    side = layout.side
    if side == 1:
        return builder.offset(panel, builder.mul(column, PIECE))
    first = builder.mul(builder.div(column, side), side * PIECE)
    return builder.offset(panel, builder.add(first, builder.mul(builder.rem(column, side), layout.run)))


class _Column:
    """A token's place in an activation buffer: where its column of 4-byte entries and of codes starts."""

    def __init__(
        self, builder: Builder, layout: ActivationLayout, panels: Value, panel_bytes: Value, token: Value
    ):
        self.builder = builder
        self.layout = layout
        columns = layout.columns
        number = builder.div(token, columns) if columns > 1 else token
        panel = builder.offset(panels, builder.mul(number, panel_bytes))
        self.words = self.codes = panel
        if columns > 1:
            column = builder.rem(token, columns)
            self.words = builder.offset(panel, builder.mul(column, 4))
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
    """Rows of some tokens side by side in a panel, the first of which is a multiple of how many there are.

    What the rows have beside their codes is worked out and stored in vectors with a lane for each. A row's
    group is given as functions that load its vectors in order.
    """

    def __init__(
        self,
        builder: Builder,
        layout: ActivationLayout,
        panels: Value,
        panel_bytes: Value,
        token: Value,
        lanes: int,
    ):
        """lanes  of the target's vectors"""
        super().__init__(builder, layout, panels, panel_bytes, token)
        self.lanes = lanes

    def store_scales(self, rows: Rows, group: Value, inverses: Value) -> None:
        """Write the scales of group number `group`, and what makes codes of its values to `inverses`."""
        builder = self.builder
        words = builder.offset(self.words, builder.mul(group, self.layout.block_bytes))
        found = [self._largest(row) for row in rows]
        largest = self._joined(over_runs(builder, "max", found, found[0].type.lanes))
        builder.store(builder.mul(largest, 1 / 127), words, self.layout.scales, align=4)
        inverse = builder.div(builder.constant(largest.type, 127.0), largest)
        zero = builder.constant(largest.type, 0.0)
        inverse = builder.select(builder.compare("gt", largest, _TINY), inverse, zero)
        builder.store(inverse, inverses, align=4)

    def store_codes(self, rows: Rows, group: Value, inverses: Value) -> None:
        """Write the codes, seeds and sums of a group whose scales are written."""
        builder, layout, count = self.builder, self.layout, len(rows)
        where = builder.mul(group, layout.block_bytes)
        words, codes = builder.offset(self.words, where), builder.offset(self.codes, where)
        quads: list[Value] = []
        for element in range(0, layout.group, PIECE):
            bytes = [self._codes(row, element, inverses, number) for number, row in enumerate(rows)]
            for first in range(0, count, 2):
                self._store_codes(self._joined(bytes[first : first + 2]), codes, first, element, PIECE)
            quads += [self._sums_of_4(vector) for vector in self._in_registers(bytes)]
        # Of every piece, of every row in it, both halves.
        halves = self._joined(over_runs(builder, "add", quads, 4))
        (totals,) = over_runs(builder, "add", [halves], 2)
        if layout.group > PIECE:
            self._store_digits(halves, codes, count, layout.digits(16))
            self._store_digits(totals, codes, count, layout.digits(PIECE))
        scale = builder.load(Type("f32", count), words, layout.scales, align=4)
        self._store_sums(halves, totals, scale, words)

    def _largest(self, row: Row) -> Value:
        """The largest magnitudes of a row's group, by lane."""
        builder = self.builder
        chains: list[Value] = []
        for index, value in enumerate(row):
            size = builder.abs(value())
            if index < 4:
                chains.append(size)
            else:
                chains[index % 4] = builder.maximum(chains[index % 4], size)
        while len(chains) > 1:
            chains.append(builder.maximum(chains.pop(0), chains.pop(0)))
        (found,) = chains
        while (half := found.type.lanes // 2) >= self.lanes:
            low, high = (builder.shuffle(found, None, range(own, own + half)) for own in (0, half))
            found = builder.maximum(low, high)
        return found

    def _codes(self, row: Row, element: int, inverses: Value, number: int) -> Value:
        """The codes of a piece, from `element` on, of row number `number`."""
        builder = self.builder
        each = self.layout.group // len(row)
        parts: list[Value] = []
        for read in row[element // each : (element + PIECE) // each]:
            value = read()
            factor = builder.load_splat(value.type, inverses, 4 * number)
            rounded = builder.fma(value, factor, builder.constant(value.type, _MAGIC))
            bits = builder.bitcast(rounded, value.type.of("i32"))
            parts.append(builder.convert(builder.sub(bits, _MAGIC_BITS), "i8"))
        return self._joined(parts)

    def _in_registers(self, bytes: list[Value]) -> list[Value]:
        """Rows' bytes, one after the other, in vectors of the target."""
        builder, width = self.builder, 4 * self.lanes
        if width >= PIECE:
            together = min(width // PIECE, len(bytes))
            return [
                self._joined(bytes[first : first + together]) for first in range(0, len(bytes), together)
            ]
        starts = range(0, PIECE, width)
        return [builder.shuffle(row, None, range(at, at + width)) for row in bytes for at in starts]

    def _sums_of_4(self, bytes: Value) -> Value:
        four = Type("i32", bytes.type.lanes // 4)
        ones = self.builder.constant(four, _ONES)
        return self.builder.dot4(self.builder.constant(four, 0), ones, self.builder.bitcast(bytes, four))

    def _store_digits(self, sums: Value, codes: Value, count: int, element: int) -> None:
        """Write sums of every piece, of `count` rows in it, as codes: a row's high digits, then low ones."""
        builder, lanes = self.builder, sums.type.lanes
        high = builder.convert(builder.sar(sums, DIGIT), "i8")
        low = builder.convert(builder.bitand(sums, (1 << DIGIT) - 1), "i8")
        each = lanes // (self.layout.pieces * count)
        for first in range(0, count, 2):
            mask = [
                digit + (piece * count + row) * each + own
                for row in range(first, min(first + 2, count))
                for digit in (0, lanes)
                for piece in range(self.layout.pieces)
                for own in range(each)
            ]
            self._store_codes(builder.shuffle(high, low, mask), codes, first, element, 2 * lanes // count)

    def _store_sums(self, halves: Value, totals: Value, scale: Value, words: Value) -> None:
        """Write seeds and sums of the group."""
        builder, layout, count = self.builder, self.layout, scale.type.lanes
        step = 4 * layout.columns
        for piece in range(layout.pieces):
            rows = range(piece * count, (piece + 1) * count)
            for half in range(2 if layout.halves else 0):
                seeds = builder.mul(picked(builder, halves, None, [2 * row + half for row in rows]), -128)
                builder.store(seeds, words, layout.seeds16 + (2 * piece + half) * step, align=4)
            total = picked(builder, totals, None, rows)
            builder.store(builder.mul(total, -128), words, layout.seeds32 + piece * step, align=4)
            weighted = builder.convert(total, "f32")
            if layout.scaled_sums:
                weighted = builder.mul(scale, weighted)
            builder.store(weighted, words, layout.sums32 + piece * step, align=4)

    def _store_codes(self, bytes: Value, codes: Value, first: int, element: int, each: int) -> None:
        """Write the codes from `element` on, `each` of every row from `first` on, as they lie side by side."""
        rows = range(first, first + bytes.type.lanes // each)
        places = [self.layout.code(row, element + own) for row in rows for own in range(each)]
        order = sorted(range(len(places)), key=places.__getitem__)
        while order:
            side = next(
                (n for n in range(1, len(order)) if places[order[n]] != places[order[0]] + n), len(order)
            )
            part = order[:side]
            whole = part == list(range(bytes.type.lanes))
            own = bytes if whole else self.builder.shuffle(bytes, None, part)
            self.builder.store(own, codes, places[part[0]], align=4)
            order = order[side:]

    def _joined(self, parts: Sequence[Value]) -> Value:
        found = list(parts)
        while len(found) > 1:
            lanes = found[0].type.lanes
            found = [
                self.builder.shuffle(low, high, range(2 * lanes))
                for low, high in zip(found[::2], found[1::2], strict=True)
            ]
        return found[0]


def over_runs(builder: Builder, kind: str, vectors: Sequence[Value], run: int) -> list[Value]:
    """The sum (`add`) or largest (`max`) of every `run` lanes of the vectors, one beside the other."""
    combine = {"add": builder.add, "max": builder.maximum}[kind]
    found = list(vectors)
    while run > 1:
        pairs = list(zip(found[::2], found[1::2], strict=True)) if len(found) > 1 else [(found[0], None)]
        lanes = found[0].type.lanes * len(found) // len(pairs)
        masks = range(0, lanes, 2), range(1, lanes, 2)  # neighbours
        found = [combine(*(picked(builder, *pair, mask) for mask in masks)) for pair in pairs]
        run //= 2
    return found


def picked(builder: Builder, low: Value, high: Value | None, lanes: Sequence[int]) -> Value:
    """Lanes of a vector, or of two; one alone is a number."""
    return builder.extract(low, lanes[0]) if len(lanes) == 1 else builder.shuffle(low, high, lanes)
