"""Integers of a block, as trees: fields of bits, rows of a table chosen by an index, and plain arithmetic.

A node gives `count` integers of every block; one with fewer than another repeats each over a group. What a
node can give (`values`) is found by evaluation, so every range and every alphabet past this point is exact
or, where two operands share bits, larger than what occurs.
Bits are numbered within the block: bit i of byte j is `8 * j + i`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TypeAlias

import numpy as np

ZERO = -1  # a bit source that is constant 0
MOST_VALUES = 1 << 16  # different values of a node

OPERATORS: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul,
    "&": operator.and_, "|": operator.or_, "^": operator.xor, "<<": operator.lshift, ">>": operator.rshift,
}  # fmt: skip


class BeyondLimits(Exception):
    """A node with too many different integers, or with larger ones than 32 bits hold; str() says which."""


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

    def of(self, raw: np.ndarray) -> np.ndarray:
        """The integers that the bits `raw` mean."""
        half = 1 << (self.width - 1)
        return (np.where(raw >= half, raw - 2 * half, raw) if self.signed else raw) + self.add

    def raw(self, blocks: np.ndarray) -> np.ndarray:
        """The bits of every integer: uint8 [..., block_bytes] -> int64 [..., count], from 0 up."""
        sources = np.array(self.sources, np.int64)
        result = np.zeros((*blocks.shape[:-1], self.count), np.int64)
        for position in range(self.width):
            bit = sources[:, position]
            taken = (blocks[..., np.maximum(bit, 0) >> 3] >> (np.maximum(bit, 0) & 7).astype(np.uint8)) & 1
            result += np.where(bit >= 0, taken, 0).astype(np.int64) << position
        return result

    def decode(self, blocks: np.ndarray) -> np.ndarray:
        """Integers of raw blocks: uint8 [..., block_bytes] -> int32 [..., count]."""
        return self.of(self.raw(blocks)).astype(np.int32)

    def store(self, blocks: np.ndarray, stored: np.ndarray) -> None:
        """Write the bits of every integer: the inverse of `raw`."""
        for index, source in enumerate(self.sources):
            for position, bit in enumerate(source):
                if bit != ZERO:
                    taken = (stored[..., index].astype(np.int64) >> position & 1).astype(np.uint8)
                    blocks[..., bit >> 3] &= ~np.uint8(1 << (bit & 7))
                    blocks[..., bit >> 3] |= taken << np.uint8(bit & 7)


@dataclass(frozen=True)
class Table:
    """Rows of `dimension` integers; `data` holds them as little-endian int16."""

    name: str
    data: bytes
    dimension: int = 1

    @property
    def array(self) -> np.ndarray:
        return np.frombuffer(self.data, "<i2").reshape(-1, self.dimension)

    @property
    def entries(self) -> int:
        return len(self.data) // 2 // self.dimension

    @staticmethod
    def of(name: str, values: np.ndarray) -> Table:
        return Table(name, values.astype("<i2").tobytes(), values.shape[1] if values.ndim == 2 else 1)


class _Derived:
    """What nodes that are no fields of bits have in common."""

    @property
    def low(self) -> int:
        return values(self)[0]

    @property
    def high(self) -> int:
        return values(self)[-1]

    def decode(self, blocks: np.ndarray) -> np.ndarray:
        """Integers of raw blocks: uint8 [..., block_bytes] -> int32 [..., count]."""
        fields: Iterator[BitField] = leaves(self)  # type: ignore[arg-type]
        contents = {field: np.moveaxis(field.raw(blocks), -1, 0) for field in fields}
        return np.moveaxis(evaluated(self, contents), 0, -1).astype(np.int32)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Lookup(_Derived):
    """For every index its row of a table."""

    table: Table
    index: Integers

    @property
    def count(self) -> int:
        return self.index.count * self.table.dimension


@dataclass(frozen=True)
class Joined(_Derived):
    """The integers of the parts, one part after the other."""

    parts: tuple[Integers, ...]

    @property
    def count(self) -> int:
        return sum(part.count for part in self.parts)


@dataclass(frozen=True)
class Combined(_Derived):
    """`left operator right`, element by element."""

    operator: str
    left: Integers
    right: Integers | int

    @property
    def count(self) -> int:
        return self.left.count if isinstance(self.right, int) else max(self.left.count, self.right.count)


Integers: TypeAlias = BitField | Lookup | Joined | Combined


def leaves(node: Integers | int) -> Iterator[BitField]:
    """The fields of bits that a node reads, with repetitions."""
    match node:
        case BitField():
            yield node
        case Lookup():
            yield from leaves(node.index)
        case Joined():
            for part in node.parts:
                yield from leaves(part)
        case Combined():
            yield from leaves(node.left)
            yield from leaves(node.right)


def evaluated(node: Integers | int, contents: Mapping[BitField, np.ndarray]) -> np.ndarray:
    """The integers of a node, int64 [count, ...], for the bits of its fields, int64 [count, ...] each.

    Where no two integers share bits the fields may hold those of one integer, [1, ...].
    """
    match node:
        case int():
            return np.array(node, np.int64)
        case BitField():
            return node.of(contents[node])
        case Lookup():
            rows = np.moveaxis(node.table.array.astype(np.int64)[evaluated(node.index, contents)], -1, 1)
            return rows.reshape(-1, *rows.shape[2:])
        case Joined():
            return np.concatenate([evaluated(part, contents) for part in node.parts])
    left, right = evaluated(node.left, contents), evaluated(node.right, contents)
    if right.ndim and len(left) != len(right):
        left, right = repeated(left, node.count), repeated(right, node.count)
    return np.asarray(OPERATORS[node.operator](left, right))


def repeated(array: np.ndarray, count: int) -> np.ndarray:
    """Each row of [n, ...] as often as makes `count` of them."""
    return array if len(array) == count else array.repeat(count // len(array), 0)


@cache
def values(node: Integers) -> tuple[int, ...]:
    """Every integer that a node can give, ascending; raises BeyondLimits."""
    found: np.ndarray
    match node:
        case BitField():
            found = np.array([], np.int64)
            for used in {tuple(bit != ZERO for bit in source) for source in node.sources}:
                some = np.array([node.add], np.int64)
                for position, is_used in enumerate(used):
                    weight = -(1 << position) if node.signed and position == node.width - 1 else 1 << position
                    some = np.concatenate([some, some + weight]) if is_used else some
                    _check(len(some))
                found = np.concatenate([found, some])
        case Lookup():
            found = node.table.array[list(values(node.index))].reshape(-1).astype(np.int64)
        case Joined():
            found = np.concatenate([values(part) for part in node.parts])
        case Combined():
            right = [node.right] if isinstance(node.right, int) else values(node.right)
            left = values(node.left)
            _check(len(left) * len(right) // 64)
            pairs = OPERATORS[node.operator](np.array(left, np.int64)[:, None], np.array(right, np.int64))
            found = np.asarray(pairs).reshape(-1)
    found = np.unique(found)
    _check(len(found))
    if not -(1 << 31) <= found[0] <= found[-1] < 1 << 31:
        raise BeyondLimits(f"integers go from {found[0]} to {found[-1]}, which 32 bits do not hold")
    return tuple(int(value) for value in found)


def byte_bias(node: Integers) -> int:
    """What is taken off the integers of a node so that they fit in a byte (as they are, where they do)."""
    fits = 0 <= node.low <= node.high <= 255 or -128 <= node.low <= node.high <= 127
    return 0 if fits else node.low


def _check(count: int) -> None:
    if count > MOST_VALUES:
        raise BeyondLimits(f"an integer takes more than {MOST_VALUES} different values")


def bit_sources(node: Integers | int) -> Iterator[int]:
    """Every bit of the block that a node reads."""
    return (bit for field in leaves(node) for source in field.sources for bit in source if bit != ZERO)
