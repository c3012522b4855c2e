"""The inverse of reading a block: numbers -> the bits and bytes where a block keeps them.

In: integers of a `BitField`, values of a `FloatField`. Out: those bits set in blocks of bytes. Blocks lie
side by side here (uint8 [block_bytes, n]), so that one numpy operation works on the same byte of all.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant.integers import ZERO, BitField


def float_bytes(values: np.ndarray, element: str) -> np.ndarray:
    """f32 values as little-endian bytes of `f16`, `bf16` or `f32` (rounded to nearest even)."""
    values = np.ascontiguousarray(values, np.float32)
    if element == "f32":
        return values.astype("<f4").view(np.uint8)
    if element == "f16":
        return values.astype("<f2").view(np.uint8)
    if element == "bf16":
        bits = values.view(np.uint32)
        rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) >> 16
        return rounded.astype("<u2").view(np.uint8)
    raise UnsupportedFormatError(f"numbers cannot be written as {element}")


def store_bits(field: BitField, contents: np.ndarray, blocks: np.ndarray) -> None:
    """Write what the bits of every integer hold: int [count, n], from 0 up to what the width allows."""
    raw = contents.astype(np.uint8 if field.width <= 8 else np.uint32, copy=False)
    for low, width, shift, integers, bytes in pieces(field):
        part: np.ndarray = raw[integers]
        if low:
            part = part >> low
        if low + width < field.width:
            part = part & ((1 << width) - 1)
        part = part.astype(np.uint8, copy=False)
        blocks[bytes] |= part << shift if shift else part


Rows = slice | np.ndarray


@lru_cache(maxsize=256)
def pieces(field: BitField) -> tuple[tuple[int, int, int, Rows, Rows], ...]:
    """(bit of the integer, width, bit of the byte, integers, bytes): runs of bits that stay in one byte."""
    found: dict[tuple[int, int, int], tuple[list[int], list[int]]] = {}
    for index, source in enumerate(field.sources):
        position = 0
        while position < len(source):
            bit, width = source[position], 1
            while (
                position + width < len(source)
                and bit != ZERO
                and source[position + width] == bit + width
                and (bit + width) >> 3 == bit >> 3
            ):
                width += 1
            if bit != ZERO:
                integers, bytes = found.setdefault((position, width, bit & 7), ([], []))
                integers.append(index)
                bytes.append(bit >> 3)
            position += width
    return tuple((*key, _rows(integers), _rows(bytes)) for key, (integers, bytes) in found.items())


def _rows(places: list[int]) -> Rows:
    """Places as a slice where they are evenly spaced, which numpy reads without a copy."""
    step = places[1] - places[0] if len(places) > 1 else 1
    if step > 0 and places == list(range(places[0], places[0] + step * len(places), step)):
        return slice(places[0], places[-1] + 1, step)
    return np.array(places)
