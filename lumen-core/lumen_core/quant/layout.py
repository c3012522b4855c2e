"""Where packed bytes lie: weights for the matmul tiles, activations beside them.

Weights ("R layout"): R rows are packed together, R = 32-bit lanes of the target's vectors. A row group
is read front to back, as one stream, which is what memory is fastest at: of every block what scales it, then
its codes. What scales it: the float fields (R values each, of every sub-block that has its own), the integer
sub-scales and sub-offsets (one byte a row, [sub-block][row]). Where that does not fill whole vectors, a span
of blocks has its scales first and then its codes, so that every load of codes is a whole aligned vector.
Behind the blocks lies what multiplies whole rows, an f32 each.
An operand holds the 4 codes of a k-group for each row, in bytes. Packed, a byte holds as many whole codes of
w bits as fit, at bits 0, w, 2w, ..., so that one load yields 8/w operands by shift and mask. Where w does not
divide 8, the bits left at the top of the bytes make up the remaining codes: of 6 bits four codes lie in three
bytes, of 5 bits eight in five.
Where the machine multiplies pairs of rows with pairs of columns, a k-group has 8 codes (the depth): a vector
holds it for the first half of the rows, the next vector for the second half.

Activations: tokens are packed in panels of m columns; a block of a panel holds the codes
[32-element piece][column][32] (at depth 8: [piece][pair of columns][8-element group][column of the pair][8]),
then f32 scales, i32 seeds and f32 sums, [..][column] each (at depth 8 the scales of a pair twice, as products
of pairs are multiplied by them). Sums that meet integers of the weights (group 256) lie behind the codes as
two more pieces, each as two digits: sum = 64 * high + low.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import gcd
from typing import NamedTuple

from lumen_core.quant.floats import FLOAT_BYTES
from lumen_core.quant.normal_form import FloatField, NormalForm

ALIGNMENT = 64
DIGIT = 6  # bits of the low digit of a sum; the high one is within -64..63


class Field(NamedTuple):
    """Bits `bit .. bit + width` of every byte of a vector: a code, or a part of it."""

    vector: int
    bit: int
    width: int


@dataclass(frozen=True)
class WeightLayout:
    """The packed bytes of `rows` rows x one block; `depth` codes of a row lie side by side."""

    form: NormalForm
    rows: int
    depth: int = 4

    @property
    def parts(self) -> int:
        """Vectors that hold a k-group of all rows."""
        return self.depth // 4

    @property
    def run(self) -> int:
        """Elements of a row that one lane of a product takes in a float format; the last may be fewer."""
        return 2 if self.form.activation == "bf16" else 1

    @property
    def ready(self) -> bool:
        """Tell whether a float format's weights lie as products take them: f32, or pairs of bf16."""
        return self.form.in_pairs if self.run == 2 else self.form.element == "f32"

    @cached_property
    def unit(self) -> int:
        """Elements whose codes are packed together: a sub-block, or more where whole bytes need more."""
        return max(min(self.form.sub, 32), 4 * 8 // gcd(8, self.form.bits))

    @cached_property
    def vectors(self) -> int:
        """Vectors of a unit's codes."""
        return self.unit // 4 * self.form.bits // 8

    @cached_property
    def codes(self) -> tuple[tuple[Field, ...], ...]:
        """Where the codes of each operand of a unit lie, from their highest bits down.

        Codes that no byte holds whole take the bits that are left, from the top: as many of a vector as they
        need, of as few vectors as may be, because every field that is joined to another takes an instruction.
        """
        bits = self.form.bits
        above = 8 // bits * bits
        slots = [(vector, bit) for bit in range(0, above, bits) for vector in range(self.vectors)]
        left = [8 - above] * self.vectors
        rest = range(len(slots), self.unit // 4)
        return (*((Field(*slot, bits),) for slot in slots), *(self._taken(left, above) for _ in rest))

    def _taken(self, left: list[int], above: int) -> tuple[Field, ...]:
        """Fields of one more code, taken from what is `left` of every vector's bits from `above` on."""
        fields, missing = [], self.form.bits
        while missing:
            vector = left.index(max(left))
            width = min(missing, left[vector])
            left[vector] -= width
            missing -= width
            fields.append(Field(vector, above + left[vector], width))
        return tuple(fields)

    @cached_property
    def unit_bytes(self) -> int:
        return self.vectors * self.rows * 4

    @cached_property
    def float_offsets(self) -> dict[str, int]:
        """Byte offset of each float field, [sub-block][row]."""
        offsets, offset = {}, 0
        for field in self._floats:
            offsets[field.name] = offset
            offset += FLOAT_BYTES[field.element] * field.count * self.rows
        return offsets

    @property
    def _floats(self) -> list[FloatField]:
        scales = [s for s in (self.form.scale, self.form.offset) if s is not None]
        return list(dict.fromkeys(field for scale in scales for field in scale.floats))

    @property
    def floats(self) -> list[FloatField]:
        """The float fields of the format, in packed order."""
        return self._floats

    @cached_property
    def scale_offset(self) -> int:
        """Byte offset of the integer sub-scales, [sub-block][row]."""
        return sum(FLOAT_BYTES[field.element] * field.count for field in self._floats) * self.rows

    @cached_property
    def minimum_offset(self) -> int:
        """Byte offset of the integer sub-offsets, [sub-block][row]."""
        integer = self.form.scale.integer if self.form.scale else None
        return self.scale_offset + (integer.count * self.rows if integer else 0)

    @cached_property
    def scale_bytes(self) -> int:
        """Bytes of one block's scales and offsets, R rows."""
        integer = self.form.offset.integer if self.form.offset else None
        return self.minimum_offset + (integer.count * self.rows if integer else 0)

    @cached_property
    def code_bytes(self) -> int:
        """Bytes of one block's codes, R rows: in a float format [element][row], bf16 in pairs."""
        if self.form.kind == "float":
            return self.form.block * FLOAT_BYTES[self.form.element] * self.rows
        return self.form.block // self.unit * self.unit_bytes

    @property
    def row_bytes(self) -> int:
        """Bytes of what multiplies whole rows, f32 [row], behind the blocks of the row group."""
        return 4 * self.rows if self.form.row is not None else 0

    @cached_property
    def span(self) -> int:
        """Blocks whose scales lie together, before their codes: as few as fill whole vectors."""
        vector = 4 * self.rows
        return vector // gcd(vector, self.scale_bytes)

    @property
    def span_scale_bytes(self) -> int:
        """Bytes of the scales of a span; a last one of fewer blocks has them too."""
        return self.span * self.scale_bytes

    @property
    def block_bytes(self) -> int:
        """Bytes of one block, R rows."""
        return self.code_bytes + self.scale_bytes

    def places(self, block: int) -> tuple[int, int]:
        """Byte offsets of a block's codes and of its scales within the row group."""
        span, own = divmod(block, self.span)
        scales = span * self.span * self.block_bytes
        return scales + self.span_scale_bytes + own * self.code_bytes, scales + own * self.scale_bytes

    def blocks_bytes(self, blocks: int) -> int:
        """Bytes of the blocks of a row group; where they are single elements, of whole runs."""
        blocks += -blocks % self.run if self.form.block == 1 else 0
        return blocks * self.code_bytes + -(-blocks // self.span) * self.span_scale_bytes

    def group_bytes(self, columns: int) -> int:
        """Bytes of one row group of `columns` weights a row, a multiple of the alignment."""
        bytes = self.blocks_bytes(columns // self.form.block) + self.row_bytes
        return -(-bytes // ALIGNMENT) * ALIGNMENT

    def groups(self, rows: int) -> int:
        return -(-rows // self.rows)

    def matrix_bytes(self, rows: int, columns: int) -> int:
        return self.groups(rows) * self.group_bytes(columns)


@dataclass(frozen=True)
class ActivationLayout:
    """The bytes of one panel of `columns` tokens in an activation format, for weights of a depth.

    seeds  -128 * sum of the codes, i32, per 16 (group 256, and where the name ends in `s16`) and per 32
    sums   sum of the codes, f32, per 32 elements; times the scale where a scale is that fine
    digits sums of the codes per 32 (8 high digits, 8 low ones) and per 16 (16 and 16), as codes (group 256)
    """

    name: str
    columns: int
    depth: int = 4

    @property
    def side(self) -> int:
        """Columns whose codes share vectors; one column alone lies as at depth 4."""
        return self.depth // 4 if self.columns > 1 else 1

    @property
    def run(self) -> int:
        """Codes of a column side by side."""
        return self.depth if self.side > 1 else 32

    @property
    def group(self) -> int:
        """Elements that share a scale; of plain numbers those in 4 bytes."""
        return {"f32": 1, "bf16": 2, "i8g32": 32, "i8g32s16": 32, "i8g256": 256}[self.name]

    @property
    def plain(self) -> bool:
        """Tell whether there are numbers and no scales."""
        return self.group <= 2

    @property
    def halves(self) -> bool:
        """Tell whether there are seeds of 16 elements."""
        return self.group == 256 or self.name.endswith("s16")

    @property
    def pieces(self) -> int:
        return self.group // 32

    @property
    def piece_bytes(self) -> int:
        """Bytes from the codes of 32 elements to those of the next 32."""
        return self.block_bytes if self.group == 32 else 32 * self.columns

    @property
    def scaled_sums(self) -> bool:
        return self.group == 32

    @property
    def has_digits(self) -> bool:
        """Tell whether there are sums as codes."""
        return self.group == 256

    @property
    def codes(self) -> int:
        """Bytes of a column's codes and digits."""
        return self.group + 64 if self.has_digits else self.group

    def digits(self, sub: int) -> int:
        """The place, counted as an element, of the digits of the sums of `sub` elements."""
        return self.group + (0 if sub == 32 else 32)

    @property
    def scales(self) -> int:
        return self.codes * self.columns

    @property
    def seeds16(self) -> int:
        return self.scales + 4 * self.columns * self.side

    @property
    def seeds32(self) -> int:
        return self.seeds16 + (8 * self.pieces * self.columns if self.halves else 0)

    @property
    def sums32(self) -> int:
        return self.seeds32 + 4 * self.pieces * self.columns

    @property
    def block_bytes(self) -> int:
        if self.plain:
            return 4 * self.columns
        return self.sums32 + 4 * self.pieces * self.columns

    def scale(self, column: int) -> int:
        """Byte offset of a column's scale within the block; at depth 8 it stands 8 bytes behind once more."""
        first, own = divmod(column, self.side)
        return self.scales + 4 * (first * self.side**2 + own)

    def code(self, column: int, element: int) -> int:
        """Byte offset of a code within the block."""
        piece, inside = divmod(element, 32)
        first, own = column // self.side * self.side, column % self.side
        place = 32 * first + inside // self.run * self.run * self.side + own * self.run
        return 32 * self.columns * piece + place + inside % self.run

    def panel_bytes(self, length: int) -> int:
        return -(-length // self.group) * self.block_bytes

    def bytes(self, tokens: int, length: int) -> int:
        return -(-tokens // self.columns) * self.panel_bytes(length)
