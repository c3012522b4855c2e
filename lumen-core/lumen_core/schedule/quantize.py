"""Writing activations in the packed layout that matmul kernels read: codes, scales, seeds and sums."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.layout import DIGIT, ActivationLayout

PIECE = 32
_MAGIC = 12582912.0  # 1.5 * 2**23: a sum with it holds the rounded integer in its low bits
_MAGIC_BITS = 0x4B400000
_TINY = 1e-30  # below this the scale's inverse would overflow: such a group counts as zero
_ONES = 0x01010101
TOGETHER = 4  # tokens whose groups are quantized side by side


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
    """Rows of one token, or of TOGETHER in a panel, the first of which is a multiple of that.

    What the rows have beside their codes is worked out and stored in vectors with a lane for each.
    """

    def store_group(self, rows: Sequence[Sequence[Callable[[], Value]]], group: Value) -> None:
        """Quantize f32 values as group number `group`: of every row, vectors in order.

        A vector is asked for anew each time that it is needed.
        """
        builder, layout = self.builder, self.layout
        where = builder.mul(group, layout.block_bytes)
        words, codes = builder.offset(self.words, where), builder.offset(self.codes, where)
        largest = over_lanes(builder, "max", [self._largest(row) for row in rows])
        scale = builder.mul(largest, 1 / 127)
        builder.store(scale, words, layout.scales, align=4)
        inverse = builder.div(builder.constant(largest.type, 127.0), largest)
        zero = builder.constant(largest.type, 0.0)
        inverse = builder.select(builder.compare("gt", largest, _TINY), inverse, zero)
        quads = [self._store_row(row, number, inverse, codes) for number, row in enumerate(rows)]
        if layout.group == PIECE:
            halves = [over_lanes(builder, "add", own) for own in zip(*quads, strict=True)]
            self._store_sums(halves, scale, words)
            return
        fours = [self._added(self._added(own)) for own in quads]  # 4 sums of 16 elements in each
        for number, own in enumerate(fours):
            self._store_digits([*own], codes, number, layout.digits(16))
            self._store_digits(self._added(own), codes, number, layout.digits(PIECE))
        sums = [half for own in zip(*fours, strict=True) for half in by_lane(builder, own)]
        self._store_sums(sums, scale, words)

    def _added(self, fours: list[Value]) -> list[Value]:
        """The sums of neighbours among the lanes of all vectors, in half as many vectors."""
        builder = self.builder
        return [
            builder.add(*(builder.shuffle(left, right, range(first, 8, 2)) for first in (0, 1)))
            for left, right in zip(fours[::2], fours[1::2], strict=True)
        ]

    def _store_digits(self, fours: list[Value], codes: Value, row: int, element: int) -> None:
        """Write sums as codes: high digits, then low ones."""
        builder = self.builder
        digits = [builder.sar(four, DIGIT) for four in fours]
        digits += [builder.bitand(four, (1 << DIGIT) - 1) for four in fours]
        bytes = [builder.convert(digit, "i8") for digit in digits]
        for start in range(0, len(bytes), 4):
            self._store_codes(self._joined(bytes[start : start + 4]), codes, row, element + 4 * start)

    def _largest(self, row: Sequence[Callable[[], Value]]) -> Value:
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
        return chains[0]

    def _store_row(
        self, row: Sequence[Callable[[], Value]], number: int, inverse: Value, codes: Value
    ) -> list[Value]:
        """Write the codes of a row's group; return the sums of every 16 of them, each in 4 parts."""
        builder, four = self.builder, Type("i32", 4)
        factor = builder.extract(inverse, number)
        quads: list[Value] = []
        parts: list[Value] = []
        for read in row:
            value = read()
            lanes = value.type.lanes
            rounded = builder.fma(value, builder.splat(factor, lanes), builder.constant(value.type, _MAGIC))
            bits = builder.bitcast(rounded, Type("i32", lanes))
            parts.append(builder.convert(builder.sub(bits, _MAGIC_BITS), "i8"))
            if len(parts) * lanes < 16:
                continue
            bytes = self._joined(parts)
            parts = []
            for start in range(0, bytes.type.lanes, 16):
                own = builder.shuffle(bytes, None, range(start, start + 16)) if lanes > 16 else bytes
                self._store_codes(own, codes, number, 16 * len(quads))
                quad = builder.bitcast(own, four)
                quads.append(builder.dot4(builder.constant(four, 0), builder.constant(four, _ONES), quad))
        return quads

    def _store_sums(self, halves: Sequence[Value], scale: Value, words: Value) -> None:
        """Write seeds and sums of the group, from the sums of 16 elements."""
        builder, layout = self.builder, self.layout
        step = 4 * layout.columns
        if layout.halves:
            for half, value in enumerate(halves):
                builder.store(builder.mul(value, -128), words, layout.seeds16 + half * step, align=4)
        for piece, pair in enumerate(zip(halves[::2], halves[1::2], strict=True)):
            total = builder.add(*pair)
            builder.store(builder.mul(total, -128), words, layout.seeds32 + piece * step, align=4)
            weighted = builder.convert(total, "f32")
            if layout.scaled_sums:
                weighted = builder.mul(scale, weighted)
            builder.store(weighted, words, layout.sums32 + piece * step, align=4)

    def _store_codes(self, bytes: Value, codes: Value, row: int, element: int) -> None:
        """Write 16 codes of a row from `element` on, as many at once as lie side by side."""
        builder, layout = self.builder, self.layout
        run = min(16, layout.run)
        for start in range(0, 16, run):
            part = bytes if run == 16 else builder.shuffle(bytes, None, range(start, start + run))
            builder.store(part, codes, layout.code(row, element + start), align=4)

    def _joined(self, parts: list[Value]) -> Value:
        while len(parts) > 1:
            lanes = parts[0].type.lanes
            parts = [
                self.builder.shuffle(low, high, range(2 * lanes))
                for low, high in zip(parts[::2], parts[1::2], strict=True)
            ]
        return parts[0]


def over_lanes(builder: Builder, kind: str, vectors: Sequence[Value]) -> Value:
    """The sum (`add`) or largest (`max`) over each vector's lanes: one number, or a lane for each of 4."""
    if len(vectors) == 1:
        return builder.reduce(kind, vectors[0])
    combine = {"add": builder.add, "max": builder.maximum}[kind]

    def folded(left: Value, right: Value | None, low: range, high: range) -> Value:
        return combine(builder.shuffle(left, right, low), builder.shuffle(left, right, high))

    found = list(vectors)
    while (half := found[0].type.lanes // 2) >= 4:
        found = [folded(vector, None, range(half), range(half, 2 * half)) for vector in found]
    while len(found) > 1:
        pairs = zip(found[::2], found[1::2], strict=True)
        found = [folded(left, right, range(0, 8, 2), range(1, 8, 2)) for left, right in pairs]
    return found[0]


def by_lane(builder: Builder, vectors: Sequence[Value]) -> list[Value]:
    """What one vector, or each of four, has in its first lane, its second, its third, its fourth."""
    if len(vectors) == 1:
        return [builder.extract(vectors[0], lane) for lane in range(4)]
    first, second, third, fourth = vectors
    halves = [
        [builder.shuffle(a, b, mask) for a, b in ((first, second), (third, fourth))]
        for mask in ((0, 4, 1, 5), (2, 6, 3, 7))
    ]
    return [builder.shuffle(a, b, mask) for a, b in halves for mask in ((0, 1, 4, 5), (2, 3, 6, 7))]
