"""The inverse of reading a block: numbers -> the bits and bytes where a block keeps them.

In: integers of a `BitField`, values of a `FloatField`. Out: those bits set in blocks of bytes. Blocks lie
side by side here (uint8 [block_bytes, n]), so that one numpy operation works on the same byte of all.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant.floats import is_small, small_floats
from lumen_core.quant.normal_form import ZERO, BitField, FloatField

_LARGEST = {"f16": 65504.0, "bf16": 3.3895313892515355e38, "f32": 3.4028234663852886e38}


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


_SMALLEST = {"f16": 2.0**-24, "bf16": 2.0**-133, "f32": 2.0**-149}


def smallest(element: str) -> float:
    """The smallest positive number of an element."""
    return _SMALLEST[element]


def largest(element: str) -> float:
    """The largest finite number of an element."""
    if element not in _LARGEST:
        raise UnsupportedFormatError(f"numbers cannot be written as {element}")
    return _LARGEST[element]


def rounded(values: np.ndarray, element: str) -> np.ndarray:
    """The nearest numbers that the element holds, as f32; beyond its largest, the largest."""
    if element == "f32":
        return values
    limit = np.float32(largest(element))
    values = np.clip(values, -limit, limit)
    if element == "f16":
        return values.astype(np.float16).astype(np.float32)
    return (float_bytes(values, element).view("<u2").astype(np.uint32) << 16).view(np.float32)


def store_float(field: FloatField, values: np.ndarray, blocks: np.ndarray) -> None:
    """Write one float per block, to every place of the field: f32 [n] into uint8 [block_bytes, n]."""
    if is_small(field.element) or not field.whole or field.count > 1:
        stored = _nearest(field, values)
        for source in field.source.sources:
            for bit in source:
                blocks[bit >> 3] &= np.uint8(255 - (1 << (bit & 7)))
        store_integers(field.source, np.broadcast_to(stored, (field.count, len(stored))), blocks)
        return
    blocks[field.offset : field.offset + field.bytes] = (
        float_bytes(values, field.element).reshape(-1, field.bytes).T
    )


def _nearest(field: FloatField, values: np.ndarray) -> np.ndarray:
    """The codes of floats as integers; in a type of one byte, of the nearest that is there."""
    if not is_small(field.element):
        return float_bytes(values, field.element).view(f"<u{field.bytes}").astype(np.int64)
    known = small_floats(field.element) * field.factor
    order = np.argsort(known, kind="stable")
    ends = (known[order][1:] + known[order][:-1]) / 2
    return order[np.searchsorted(ends, values)]


def store_integers(field: BitField, values: np.ndarray, blocks: np.ndarray) -> None:
    """Write integers [count, n] (as decode gives them, `add` included) into blocks that hold zeros there."""
    narrow = field.width <= 8
    raw = (values - field.add).astype(np.int32) if field.add else values
    raw = raw.astype(np.int32).astype(np.uint8 if narrow else np.uint32)  # two's complement of the width
    for low, width, shift, integers, bytes in _pieces(field):
        part = raw[integers]
        part = (part >> low) & ((1 << width) - 1) if low or width < field.width or field.signed else part
        part = part.astype(np.uint8) if not narrow else part
        blocks[bytes] |= part << shift if shift else part


Rows = slice | np.ndarray


@lru_cache(maxsize=256)
def _pieces(field: BitField) -> tuple[tuple[int, int, int, Rows, Rows], ...]:
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
