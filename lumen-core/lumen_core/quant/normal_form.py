"""The normal form of a quantization format: `w[k] = a[b] * v[k] + beta[b]` (b = sub-block of k).

`quant.analyse` derives it from a declaration; packing, kernels, activation format and overflow proofs
read it and nothing else, so no code past this point knows a format by name.
Bits are numbered within the block: bit i of byte j is `8 * j + i`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant.floats import FLOAT_BYTES, float_values, is_small, packed_element, small_floats
from lumen_core.quant.integers import ZERO, BitField, Combined, Integers, Joined, Lookup, Table, values

__all__ = [
    "ZERO", "BitField", "Combined", "FloatField", "Integers", "Joined", "Lookup", "NormalForm", "Scale",
    "Table",
]  # fmt: skip


@dataclass(frozen=True)
class FloatField:
    """Floats of the block, `count` of them, each over a group; `source` names their bits.

    factor  multiplies a float of one byte: the table of its values takes it in, so nothing is rounded
    """

    name: str
    element: str
    source: BitField
    factor: float = 1.0

    @property
    def count(self) -> int:
        return self.source.count

    @property
    def bytes(self) -> int:
        """Bytes of one of them in the file."""
        return FLOAT_BYTES[self.element]

    @property
    def offset(self) -> int:
        """Byte of the block where they start (meaningful when they lie in whole bytes)."""
        return self.source.sources[0][0] >> 3

    @property
    def whole(self) -> bool:
        """Tell whether they lie side by side in whole bytes of the block."""
        first = 8 * self.offset
        return [bit for source in self.source.sources for bit in source] == list(
            range(first, first + 8 * self.bytes * self.count)
        )

    @property
    def packed(self) -> str:
        """The element type that kernels read."""
        return packed_element(self.element, self.factor)

    def decode(self, blocks: np.ndarray) -> np.ndarray:
        """uint8 [..., block_bytes] -> f32 [..., count]."""
        if is_small(self.element):
            codes = self.source.decode(blocks)
            with np.errstate(over="ignore"):
                return (small_floats(self.element) * self.factor).astype(np.float32)[codes]
        if self.whole:
            raw = blocks[..., self.offset : self.offset + self.bytes * self.count]
            return float_values(np.ascontiguousarray(raw), self.element)
        stored = self.source.decode(blocks).astype(f"<u{self.bytes}")
        return float_values(stored.view(np.uint8), self.element)


@dataclass(frozen=True)
class Scale:
    """A factor that a sub-block shares: constant * product(floats) * (integer of the sub-block)."""

    constant: float
    floats: tuple[FloatField, ...]
    integer: Integers | None = None

    @property
    def count(self) -> int:
        """Sub-blocks with a factor of their own; 1 where the whole block shares it."""
        counts = [field.count for field in self.floats]
        return max([*counts, self.integer.count if self.integer is not None else 1])

    def decode(self, blocks: np.ndarray) -> np.ndarray:
        """f32 [..., sub-blocks or 1]."""
        value = np.ones((*blocks.shape[:-1], self.count), np.float32)
        for field in self.floats:
            value = value * field.decode(blocks).repeat(self.count // field.count, -1)
        if self.integer is not None:
            value = value * self.integer.decode(blocks).astype(np.float32)
        return value if self.constant == 1 else value * np.float32(self.constant)


@dataclass(frozen=True)
class NormalForm:
    """What the compiler knows of a format.

    kind "integer": w = scale * v + offset, where v = multiplier * code - zero, or table[code] with a table
                    of at most 16 values. Codes have at most 8 bits; they are bits of the block, or a tree
                    that is evaluated once, when weights are packed.
    kind "float":   w is stored as `element`; block is 1.
    sub  elements that share a scale and an offset.
    """

    name: str
    block: int
    block_bytes: int
    kind: str
    element: str = ""
    code: Integers | None = None
    table: tuple[int, ...] | None = None
    multiplier: int = 1
    zero: int = 0
    sub: int = 1
    scale: Scale | None = None
    offset: Scale | None = None

    @property
    def bits(self) -> int:
        """Bits of a code; for a float format, of an element."""
        if isinstance(self.code, BitField):
            return self.code.width
        return max(1, self.code.high.bit_length()) if self.code is not None else 8 * self.block_bytes

    @property
    def zero_of_code(self) -> int:
        """The zero point z of unsigned codes u (signed: code - low): v = multiplier * u - z."""
        assert self.code is not None
        return self.zero - self.multiplier * (self.code.low if isinstance(self.code, BitField) else 0)

    @property
    def alphabet(self) -> tuple[int, ...]:
        """Every value v that a weight can have before it is scaled, ascending."""
        assert self.code is not None
        if self.table is not None:
            return tuple(sorted(set(self.table)))
        return tuple(sorted(self.multiplier * code - self.zero for code in values(self.code)))

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.block_bytes / self.block

    @property
    def activation(self) -> str:
        """The activation format whose scales are as fine as the block's, as ggml pairs them."""
        if self.kind == "float":
            return "bf16" if self.element == "bf16" else "f32"
        if self.block == 256:
            return "i8g256"
        return "i8g32s16" if self.sub == 16 else "i8g32"

    def row_bytes(self, columns: int) -> int:
        """Bytes of a row of `columns` weights; raises where it is not a whole number of blocks."""
        if columns % self.block:
            raise UnsupportedFormatError(
                f"a row of {columns} weights is not a whole number of {self.name} blocks of {self.block}"
            )
        return columns // self.block * self.block_bytes

    def decode(self, rows: np.ndarray) -> np.ndarray:
        """Weights of raw rows: uint8 [..., row_bytes] -> f32 [..., K]."""
        if self.kind == "float":
            return float_values(np.ascontiguousarray(rows), self.element)
        assert self.code is not None and self.scale is not None
        blocks = rows.reshape(*rows.shape[:-1], -1, self.block_bytes)
        code = self.code.decode(blocks)
        if self.table is not None:
            value = np.array(self.table, np.float32)[code]
        else:
            value = (code * self.multiplier - self.zero).astype(np.float32)
        value = self.scale.decode(blocks).repeat(self.block // self.scale.count, -1) * value
        if self.offset is not None:
            value = value + self.offset.decode(blocks).repeat(self.block // self.offset.count, -1)
        return value.reshape(*rows.shape[:-1], -1)
