"""The normal form of a quantization format: `w[k] = a[b] * v[k] + beta[b]` (b = sub-block of k).

`quant.analyse` derives it from a declaration; packing, kernels, activation format and overflow proofs
read it and nothing else, so no code past this point knows a format by name.
Bits are numbered within the block: bit i of byte j is `8 * j + i`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lumen_core.errors import UnsupportedFormatError

ZERO = -1  # a bit source that is constant 0


@dataclass(frozen=True)
class BitField:
    """`count` integers of `width` bits plus `add`; `sources[i][j]` is the block's bit for bit j of integer i.

    A signed field is two's complement of that width.
    """

    sources: tuple[tuple[int, ...], ...]
    signed: bool = False
    add: int = 0

    @property
    def count(self) -> int:
        return len(self.sources)

    @property
    def width(self) -> int:
        return len(self.sources[0])

    @property
    def low(self) -> int:
        return self.add - ((1 << (self.width - 1)) if self.signed else 0)

    @property
    def high(self) -> int:
        return self.low + (1 << self.width) - 1

    def decode(self, blocks: np.ndarray) -> np.ndarray:
        """Integers of raw blocks: uint8 [..., block_bytes] -> int32 [..., count]."""
        sources = np.array(self.sources, np.int64)
        result = np.full((*blocks.shape[:-1], self.count), self.add, np.int32)
        for position in range(self.width):
            bit = sources[:, position]
            taken = (blocks[..., np.maximum(bit, 0) >> 3] >> (np.maximum(bit, 0) & 7).astype(np.uint8)) & 1
            weight = -(1 << position) if self.signed and position == self.width - 1 else 1 << position
            result += np.where(bit >= 0, taken, 0).astype(np.int32) * weight
        return result


_FLOAT_BYTES = {"f16": 2, "bf16": 2, "f32": 4}


@dataclass(frozen=True)
class FloatField:
    """One float of the block, stored at a byte offset."""

    name: str
    element: str
    offset: int

    @property
    def bytes(self) -> int:
        return _FLOAT_BYTES[self.element]

    def decode(self, blocks: np.ndarray) -> np.ndarray:
        """uint8 [..., block_bytes] -> f32 [..., 1]."""
        raw = np.ascontiguousarray(blocks[..., self.offset : self.offset + self.bytes])
        return float_values(raw, self.element)


def float_values(raw: np.ndarray, element: str) -> np.ndarray:
    """Little-endian floats as f32: uint8 [..., n * bytes] -> f32 [..., n]."""
    if element == "f32":
        return raw.view("<f4").astype(np.float32)
    if element == "f16":
        return raw.view("<f2").astype(np.float32)
    return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)


@dataclass(frozen=True)
class Scale:
    """A factor that a sub-block shares: constant * product(floats) * (integer of the sub-block)."""

    constant: float
    floats: tuple[FloatField, ...]
    integer: BitField | None = None

    def decode(self, blocks: np.ndarray) -> np.ndarray:
        """f32 [..., sub-blocks or 1]."""
        value = np.ones((*blocks.shape[:-1], 1), np.float32)
        for field in self.floats:
            value = value * field.decode(blocks)
        if self.integer is not None:
            value = value * self.integer.decode(blocks).astype(np.float32)
        return value if self.constant == 1 else value * np.float32(self.constant)


@dataclass(frozen=True)
class NormalForm:
    """What the compiler knows of a format.

    kind "integer": w = scale * (multiplier * code - zero) + offset.
    kind "float":   w is stored as `element`; block is 1.
    sub  elements that share a scale and an offset.
    """

    name: str
    block: int
    block_bytes: int
    kind: str
    element: str = ""
    code: BitField | None = None
    multiplier: int = 1
    zero: int = 0
    sub: int = 1
    scale: Scale | None = None
    offset: Scale | None = None

    @property
    def bits(self) -> int:
        """Bits of a code; for a float format, of an element."""
        return self.code.width if self.code is not None else 8 * self.block_bytes

    @property
    def zero_of_code(self) -> int:
        """The zero point z of unsigned codes u (signed: code - low): v = multiplier * u - z."""
        assert self.code is not None
        return self.zero - self.multiplier * self.code.low

    @property
    def bits_per_weight(self) -> float:
        return 8 * self.block_bytes / self.block

    @property
    def activation(self) -> str:
        """The activation format whose scales are as fine as the block's, as ggml pairs them."""
        if self.kind == "float":
            return "f32"
        return "i8g256" if self.block == 256 else "i8g32"

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
        value = (self.code.decode(blocks) * self.multiplier - self.zero).astype(np.float32)
        value = self.scale.decode(blocks).repeat(self.block // self._groups(self.scale), -1) * value
        if self.offset is not None:
            value = value + self.offset.decode(blocks).repeat(self.block // self._groups(self.offset), -1)
        return value.reshape(*rows.shape[:-1], -1)

    @staticmethod
    def _groups(scale: Scale) -> int:
        return scale.integer.count if scale.integer is not None else 1
