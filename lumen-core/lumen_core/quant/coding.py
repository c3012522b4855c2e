"""The codes that kernels read, chosen for the values that a weight can have.

In: the integers of a format as its declaration writes them, and the multiplier and zero point around them.
Out: codes of as few bits as the values need. Codes that lie in the block as such stay what they are; whatever
else the declaration computes (vectors of a code book, signs, digits) is evaluated once, when weights are
packed, into a number per weight: the place of its value in the sorted alphabet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from lumen_core.quant.integers import BeyondLimits, BitField, Combined, Integers, Lookup, Table, values

TABLE = 16  # entries that machines look up at once
LARGEST_TABLE = 64  # entries that kernels look up, in steps
_LARGEST = 4096  # of an index into an alphabet


class NoCoding(Exception):
    """Values that have no codes of at most 8 bits; str() says why, `help` what to change."""

    def __init__(
        self, message: str, help: str = "codes have at most 8 bits and stand for at most 256 values"
    ):
        super().__init__(message)
        self.help = help


@dataclass(frozen=True)
class Coding:
    """v = multiplier * code - zero, or table[code]."""

    code: Integers
    multiplier: int
    zero: int
    table: tuple[int, ...] | None = None


def choose_coding(node: Integers, multiplier: int, zero: int) -> Coding:
    """Return the codes for v = multiplier * node - zero."""
    if isinstance(node, BitField):
        if node.width > 8:
            raise NoCoding(f"a code of {node.width} bits; codes have at most 8")
        return Coding(node, multiplier, zero)
    if isinstance(node, Lookup) and node.table.dimension == 1 and isinstance(node.index, BitField):
        entries = node.table.array[:, 0]
        if len(entries) <= TABLE and node.index.low == 0:
            return Coding(node.index, 1, 0, tuple(_byte(multiplier * int(v) - zero) for v in entries))
    try:
        found = values(node)
    except BeyondLimits as reason:
        raise NoCoding(str(reason)) from None
    alphabet = sorted({_byte(multiplier * value - zero) for value in found})
    span = found[-1] - found[0]
    if span > _LARGEST:
        raise NoCoding(f"the codes range from {found[0]} to {found[-1]}")
    step = math.gcd(*(value - found[0] for value in found)) or 1
    spread = span // step  # codes 0..spread would do without a table
    if spread.bit_length() == (len(found) - 1).bit_length() or len(found) > LARGEST_TABLE:
        affine = _affine(node, multiplier, zero, found[0], step, spread)
        if affine is not None and (len(found) > TABLE or _seedable(affine)):
            return affine
    if len(alphabet) > LARGEST_TABLE:
        shifted = Combined("-", Combined("*", node, multiplier) if multiplier != 1 else node, zero - 128)
        return Coding(shifted, 1, 128)
    places = np.zeros(span + 1, np.int64)
    for value in found:
        places[value - found[0]] = alphabet.index(multiplier * value - zero)
    index = Combined("-", node, found[0]) if found[0] else node
    return Coding(Lookup(Table.of("alphabet", places), index), 1, 0, tuple(alphabet))


def _affine(node: Integers, multiplier: int, zero: int, lowest: int, step: int, spread: int) -> Coding | None:
    """Codes (node - lowest) / step, where they need no table."""
    if spread > 255:
        return None
    if step == 1:
        code = Combined("-", node, lowest) if lowest else node
    else:
        places = np.arange(spread * step + 1) // step
        code = Lookup(Table.of("steps", places), Combined("-", node, lowest) if lowest else node)
    return Coding(code, multiplier * step, zero - multiplier * lowest)


def _seedable(coding: Coding) -> bool:
    """Tell whether the zero point costs nothing in a sum of products."""
    return (
        coding.zero >= 0
        and not coding.zero & coding.zero - 1
        and not coding.multiplier & coding.multiplier - 1
    )


def _byte(value: int) -> int:
    if not -128 <= value <= 127:
        raise NoCoding(
            f"a weight can be {value} before it is scaled, which does not fit in a signed byte",
            "let codes or tables stand for -128 to 127, and let the scale carry the rest",
        )
    return value
