"""Writing activations in the packed layout that matmul kernels read: codes, scales, seeds and sums."""

from __future__ import annotations

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.layout import DIGIT, ActivationLayout

PIECE = 32
_MAGIC = 12582912.0  # 1.5 * 2**23: a sum with it holds the rounded integer in its low bits
_MAGIC_BITS = 0x4B400000
_TINY = 1e-30  # below this the scale's inverse would overflow: such a group counts as zero
_ONES = 0x01010101


def column_codes(builder: Builder, layout: ActivationLayout, panel: Value, column: Value) -> Value:
    """Where the codes of a column known at run time start: it lies as column 0 from there on."""
    side = layout.side
    if side == 1:
        return builder.offset(panel, builder.mul(column, PIECE))
    first = builder.mul(builder.div(column, side), side * PIECE)
    return builder.offset(panel, builder.add(first, builder.mul(builder.rem(column, side), layout.run)))


class QuantizedRow:
    """One token's place in an activation buffer; `lanes` is the width of the vectors to work with."""

    def __init__(
        self,
        builder: Builder,
        layout: ActivationLayout,
        panels: Value,
        panel_bytes: Value,
        token: Value,
        lanes: int,
    ):
        self.builder = builder
        self.layout = layout
        self.lanes = lanes
        columns = layout.columns
        number = builder.div(token, columns) if columns > 1 else token
        panel = builder.offset(panels, builder.mul(number, panel_bytes))
        self.words = self.codes = panel  # where this token's column of 4-byte entries and of codes starts
        if columns > 1:
            column = builder.rem(token, columns)
            self.words = builder.offset(panel, builder.mul(column, 4))
            self.codes = column_codes(builder, layout, panel, column)

    def store_plain(self, values: Value, element: Value) -> None:
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

    def finish_plain(self, length: int) -> None:
        """Write what a last pair lacks: no number may stand there."""
        if length % self.layout.group:
            self.store_plain(self.builder.f32(0.0), self.builder.i64(length))

    def _bf16(self, values: Value) -> Value:
        """The upper halves of f32, rounded half to even, as words; what is no number stays so."""
        builder, lanes = self.builder, values.type.lanes
        bits = builder.bitcast(values, Type("i32", lanes))
        even = builder.bitand(builder.shr(bits, 16), 1)
        rounded = builder.shr(builder.add(builder.add(bits, even), 0x7FFF), 16)
        number = builder.compare("eq", values, values)
        word = builder.select(number, rounded, builder.constant(bits.type, 0x7FC0))
        return builder.convert(word, "i16")

    def store_group(self, scratch: Value, group: Value) -> None:
        """Quantize the f32 values at `scratch` as the row's group number `group`."""
        builder, layout = self.builder, self.layout
        where = builder.mul(group, layout.block_bytes)
        words, codes = builder.offset(self.words, where), builder.offset(self.codes, where)
        largest = self._largest(scratch)
        scale = builder.div(largest, 127.0)
        builder.store(scale, words, layout.scales, align=4)
        inverse = builder.div(builder.f32(127.0), largest)
        inverse = builder.select(builder.compare("gt", largest, _TINY), inverse, builder.f32(0.0))
        quads: list[Value] = []
        for piece in range(layout.pieces):
            quads += self._piece(builder.offset(scratch, 4 * PIECE * piece), inverse, codes, piece)
        if layout.group == PIECE:
            self._store_sums([builder.reduce("add", quad) for quad in quads], scale, words)
            return
        halves = self._added(self._added(quads))  # 4 sums of 16 elements in each
        self._store_digits([*halves], codes, layout.digits(16))
        self._store_digits(self._added(halves), codes, layout.digits(PIECE))
        sums = [builder.extract(four, lane) for four in halves for lane in range(4)]
        self._store_sums(sums, scale, words)

    def _added(self, fours: list[Value]) -> list[Value]:
        """The sums of neighbours among the lanes of all vectors, in half as many vectors."""
        builder = self.builder
        return [
            builder.add(*(builder.shuffle(left, right, range(first, 8, 2)) for first in (0, 1)))
            for left, right in zip(fours[::2], fours[1::2], strict=True)
        ]

    def _store_digits(self, fours: list[Value], codes: Value, element: int) -> None:
        """Write sums as codes: high digits, then low ones."""
        builder = self.builder
        digits = [builder.sar(four, DIGIT) for four in fours]
        digits += [builder.bitand(four, (1 << DIGIT) - 1) for four in fours]
        bytes = [builder.convert(digit, "i8") for digit in digits]
        for start in range(0, len(bytes), 4):
            self._store_codes(self._joined(bytes[start : start + 4]), codes, element + 4 * start)

    def _largest(self, scratch: Value) -> Value:
        """The largest magnitude of the group."""
        builder, vector = self.builder, Type("f32", self.lanes)
        count = self.layout.group // self.lanes
        chains: list[Value] = []
        for index in range(count):
            size = builder.abs(builder.load(vector, scratch, 4 * self.lanes * index, align=4))
            if index < 4:
                chains.append(size)
            else:
                chains[index % 4] = builder.maximum(chains[index % 4], size)
        while len(chains) > 1:
            chains.append(builder.maximum(chains.pop(0), chains.pop(0)))
        return builder.reduce("max", chains[0])

    def _piece(self, source: Value, inverse: Value, codes: Value, piece: int) -> list[Value]:
        """Write the codes of 32 elements; return the sums of both halves, each in 4 parts."""
        builder = self.builder
        width = min(self.lanes, 16)
        vector, four = Type("f32", width), Type("i32", 4)
        factor, magic = builder.splat(inverse, width), builder.constant(vector, _MAGIC)
        quads = []
        for half in range(0, PIECE, 16):
            parts = []
            for start in range(half, half + 16, width):
                value = builder.load(vector, source, 4 * start, align=4)
                rounded = builder.bitcast(builder.fma(value, factor, magic), Type("i32", width))
                parts.append(builder.convert(builder.sub(rounded, _MAGIC_BITS), "i8"))
            bytes = self._joined(parts)
            self._store_codes(bytes, codes, PIECE * piece + half)
            quad = builder.bitcast(bytes, four)
            quads.append(builder.dot4(builder.constant(four, 0), builder.constant(four, _ONES), quad))
        return quads

    def _store_sums(self, halves: list[Value], scale: Value, words: Value) -> None:
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

    def _store_codes(self, bytes: Value, codes: Value, element: int) -> None:
        """Write 16 codes from `element` on, as many at once as lie side by side."""
        builder, layout = self.builder, self.layout
        run = min(16, layout.run)
        for start in range(0, 16, run):
            part = bytes if run == 16 else builder.shuffle(bytes, None, range(start, start + run))
            builder.store(part, codes, layout.code(0, element + start), align=4)

    def _joined(self, parts: list[Value]) -> Value:
        while len(parts) > 1:
            lanes = parts[0].type.lanes
            parts = [
                self.builder.shuffle(low, high, range(2 * lanes))
                for low, high in zip(parts[::2], parts[1::2], strict=True)
            ]
        return parts[0]
