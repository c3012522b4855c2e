"""The normal form of a quantization format: `w[k] = a[b] * v[k] + beta[b]` (b = sub-block of k).

`quant.analyse` derives it from a declaration; packing, kernels, activation format and overflow proofs
read it and nothing else, so no code past this point knows a format by name.
Bits are numbered within the block: bit i of byte j is `8 * j + i`. What a row stores once, before its blocks,
continues that numbering: to every reader a block is complete, its own bytes and then those of its row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant.floats import (
    FLOAT_BYTES,
    KERNEL_UNITS,
    SIGNIFICAND,
    fits_bf16,
    float_values,
    is_small,
    small_floats,
)
from lumen_core.quant.integers import (
    ZERO,
    BitField,
    Combined,
    Integers,
    Joined,
    Lookup,
    Table,
    bit_sources,
    values,
)

__all__ = [
    "ZERO", "BitField", "Combined", "FloatField", "Integers", "Joined", "Lookup", "NormalForm", "Scale",
    "Table",
]  # fmt: skip


@dataclass(frozen=True)
class FloatField:
    """Floats of the block, `count` of them, each over a group; `source` names their bits.

    factor   multiplies a float of one byte: the table of its values takes it in
    inverse  the value is 1 / the stored float (only where it scales whole rows)
    """

    name: str
    element: str
    source: BitField
    factor: float = 1.0
    inverse: bool = False

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
    def unit(self) -> float:
        """What a number that kernels read is multiplied by."""
        return self.factor * KERNEL_UNITS.get(self.element, 1.0)

    def decode(self, blocks: np.ndarray) -> np.ndarray:
        """uint8 [..., block_bytes] -> f32 [..., count]."""
        if self.inverse:
            with np.errstate(divide="ignore"):
                return 1 / replace(self, inverse=False).decode(blocks)
        if is_small(self.element):
            codes = self.source.decode(blocks)
            with np.errstate(over="ignore", invalid="ignore"):
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

    @property
    def unit(self) -> float:
        """What multiplies the product of what kernels read of its floats and integers."""
        return self.constant * prod(field.unit for field in self.floats)

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
                    of at most 64 values. Codes have at most 8 bits; they are bits of the block, or a tree
                    that is evaluated once, when weights are packed.
    kind "float":   w = scale * what is stored as `element`, or that itself without a scale.
    sub  elements that share a scale and an offset.
    row  what multiplies all weights of a row, beside all else: kernels apply it once
    header_bytes  what lies before the blocks of a row
    ordered  columns are sorted by their group: activations must be brought into the same order
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
    stored: FloatField | None = None
    row: Scale | None = None
    header_bytes: int = 0
    ordered: bool = False

    @property
    def bits(self) -> int:
        """Bits of a code; for a float format, of an element."""
        if isinstance(self.code, BitField):
            return self.code.width
        return max(1, self.code.high.bit_length()) if self.code is not None else 8 * FLOAT_BYTES[self.element]

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
        """Without what a row stores once."""
        return 8 * self.block_bytes / self.block

    @property
    def precision(self) -> int:
        """Bits that tell a weight from its neighbours: of a code, or of a stored float's significand."""
        return SIGNIFICAND[self.element] if self.kind == "float" else self.bits

    @property
    def in_pairs(self) -> bool:
        """Tell whether weights are bf16 and nothing else: pairs of them lie as they are multiplied."""
        return self.element == "bf16" and self.block == 1 and self.scale is None and self.row is None

    @property
    def activation(self) -> str:
        """The activation format that the weights are multiplied with.

        Of codes its scales are as fine as the block's, as ggml pairs them. Of floats it is bf16 where bf16
        holds every number that a weight is stored as: a product of pairs then loses nothing of the weights,
        and activations keep as many bits as these have, or more.
        """
        if self.kind == "float":
            pairs = self.block % 2 == 0 or (self.block == 1 and self.scale is None)  # with a scale in common
            return "bf16" if pairs and fits_bf16(self.element) else "f32"
        if self.block == 256:
            return "i8g256"
        return "i8g32s16" if self.sub == 16 else "i8g32"

    @property
    def reads_header(self) -> bool:
        """Tell whether blocks cannot be read without what their row stores once."""
        factors = [scale for scale in (self.scale, self.offset) if scale is not None]
        nodes: list[Integers] = [field.source for scale in factors for field in scale.floats]
        nodes += [scale.integer for scale in factors if scale.integer is not None]
        nodes += [self.code] if self.code is not None else []
        return any(bit >= 8 * self.block_bytes for node in nodes for bit in bit_sources(node))

    def row_bytes(self, columns: int) -> int:
        """Bytes of a row of `columns` weights; raises where it is not a whole number of blocks."""
        if columns % self.block:
            raise UnsupportedFormatError(
                f"a row of {columns} weights is not a whole number of {self.name} blocks of {self.block}"
            )
        return self.header_bytes + columns // self.block * self.block_bytes

    def completed(self, rows: np.ndarray) -> np.ndarray:
        """Raw rows as blocks with what their row stores behind each: [..., blocks, bytes]."""
        blocks = rows[..., self.header_bytes :].reshape(*rows.shape[:-1], -1, self.block_bytes)
        if not self.header_bytes:
            return blocks
        header = np.broadcast_to(
            rows[..., None, : self.header_bytes], (*blocks.shape[:-1], self.header_bytes)
        )
        return np.concatenate([blocks, header], -1)

    def rows(self, blocks: np.ndarray) -> np.ndarray:
        """The raw rows of complete blocks, what a row stores once being that of its first block."""
        own = blocks[..., : self.block_bytes].reshape(*blocks.shape[:-2], -1)
        return np.concatenate([blocks[..., 0, self.block_bytes :], own], -1)

    def columns(self, row_bytes: int) -> int:
        """Weights of a row of so many bytes."""
        return (row_bytes - self.header_bytes) // self.block_bytes * self.block

    @property
    def floats(self) -> tuple[FloatField, ...]:
        """The float fields that scale or shift, each once."""
        scales = [scale for scale in (self.row, self.scale, self.offset) if scale is not None]
        return tuple(dict.fromkeys(field for scale in scales for field in scale.floats))

    def decode(self, rows: np.ndarray) -> np.ndarray:
        """Weights of raw rows: uint8 [..., row_bytes] -> f32 [..., K]."""
        if self.kind == "float" and self.scale is None and self.row is None:
            return float_values(np.ascontiguousarray(rows), self.element)
        blocks = self.completed(rows)
        row = self.row.decode(blocks) if self.row is not None else None
        value = self._codes(blocks)
        for scale in (self.scale, self.offset):
            if scale is not None:
                factor = scale.decode(blocks)
                factor = factor if row is None else factor * row
                factor = factor.repeat(self.block // scale.count, -1)
                value = factor * value if scale is self.scale else value + factor
        if self.scale is None and row is not None:
            value = row * value
        return value.reshape(*rows.shape[:-1], -1)

    def _codes(self, blocks: np.ndarray) -> np.ndarray:
        """What the codes of complete blocks stand for, f32 [..., block]."""
        if self.kind == "float":
            assert self.stored is not None
            return self.stored.decode(blocks)
        assert self.code is not None
        code = self.code.decode(blocks)
        if self.table is not None:
            return np.array(self.table, np.float32)[code]
        return (code * self.multiplier - self.zero).astype(np.float32)
