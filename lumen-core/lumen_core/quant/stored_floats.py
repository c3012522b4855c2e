"""What a float field of a block can hold: the nearest numbers to a wish, and how to store them."""

from __future__ import annotations

from functools import cache

import numpy as np

from lumen_core.quant.floats import FLOAT_BYTES, is_small, small_floats
from lumen_core.quant.normal_form import FloatField
from lumen_core.quant.store import float_bytes, store_bits

_LARGEST = {"f16": 65504.0, "bf16": 3.3895313892515355e38, "f32": 3.4028234663852886e38}
SMALLEST = {"f16": 2.0**-24, "bf16": 2.0**-133, "f32": 2.0**-149}


@cache
def held(element: str) -> tuple[np.ndarray, np.ndarray]:
    """The finite f32 numbers of a type of one byte, ascending, and the code of each."""
    with np.errstate(over="ignore", invalid="ignore"):
        numbers = small_floats(element).astype(np.float32)
    usable = np.flatnonzero(np.isfinite(numbers))
    found, first = np.unique(numbers[usable], return_index=True)
    return found, usable[first]


def largest(element: str, factor: float = 1.0) -> float:
    """The largest finite number of an element."""
    return float(held(element)[0][-1]) * factor if is_small(element) else _LARGEST[element]


def signed(element: str) -> bool:
    return not is_small(element) or bool(held(element)[0][0] < 0)


def coarse(field: FloatField) -> bool:
    """Tell whether neighbours are so far apart that both must be tried."""
    return is_small(field.element)


def octaves(field: FloatField) -> bool:
    """Tell whether each number is twice the one before, or more."""
    if not is_small(field.element):
        return False
    numbers = held(field.element)[0]
    return bool((numbers[1:] >= 2 * numbers[:-1]).all())


def rounded(field: FloatField, values: np.ndarray, up: int = 0) -> np.ndarray:
    """The numbers that the field holds: the nearest, or for a coarse one the `up`-th above the next lower.

    Beyond the largest it is the largest, and nothing but 0 becomes 0.
    """
    values = values.astype(np.float32)
    if is_small(field.element):
        numbers = held(field.element)[0]
        wanted = values / np.float32(field.factor)
        places = np.searchsorted(numbers, wanted, "right") - 1 + up
        return numbers[np.clip(places, 0, len(numbers) - 1)] * np.float32(field.factor)
    limit = np.float32(_LARGEST[field.element])
    kept = np.minimum(np.maximum(values, -limit), limit)
    if field.element == "f16":
        kept = kept.astype(np.float16).astype(np.float32)
    elif field.element == "bf16":
        kept = (float_bytes(kept, "bf16").view("<u2").astype(np.uint32) << 16).view(np.float32)
    lost = (kept == 0) & (values != 0)
    if lost.any():
        kept[lost] = np.copysign(np.float32(SMALLEST[field.element]), values[lost])
    return kept


def nearest(field: FloatField, values: np.ndarray) -> np.ndarray:
    """The nearest numbers that the field holds, of two as near the one whose code is even."""
    if not is_small(field.element):
        return rounded(field, values)
    numbers, codes = held(field.element)
    wanted = (values / np.float32(field.factor)).astype(np.float32)
    middles = ((numbers[1:].astype(np.float64) + numbers[:-1]) / 2).astype(np.float32)  # exact
    places = np.searchsorted(middles, wanted)
    tie = wanted == middles[np.minimum(places, len(middles) - 1)]
    places = np.where(tie & (codes[places] % 2 == 1), np.minimum(places + 1, len(numbers) - 1), places)
    return numbers[places] * np.float32(field.factor)


def store(field: FloatField, values: np.ndarray, blocks: np.ndarray) -> None:
    """Write numbers [count, n] that `rounded` gave into blocks that hold zeros there."""
    if is_small(field.element):
        numbers, codes = held(field.element)
        wanted = values / np.float32(field.factor)
        places = np.searchsorted(numbers, wanted - np.abs(wanted) * np.float32(2**-20))
        store_bits(field.source, codes[np.clip(places, 0, len(numbers) - 1)], blocks)
        return
    size = FLOAT_BYTES[field.element]
    raw = float_bytes(np.ascontiguousarray(values), field.element).reshape(*values.shape, size)
    if field.whole:
        for place in range(field.count * size):
            blocks[field.offset + place] = raw[place // size, :, place % size]
        return
    store_bits(field.source, raw.view(f"<u{size}")[..., 0].astype(np.int64), blocks)


def store_everywhere(field: FloatField, values: np.ndarray, blocks: np.ndarray) -> None:
    """Write one number per block, f32 [n], as nearly as it goes to every place of the field."""
    for source in field.source.sources:
        for bit in source:
            blocks[bit >> 3] &= np.uint8(255 - (1 << (bit & 7)))
    near = rounded(field, values)
    if is_small(field.element):
        above = rounded(field, values, 1)
        near = np.where(np.abs(above - values) < np.abs(near - values), above, near)
    store(field, np.broadcast_to(near, (field.count, len(near))), blocks)
