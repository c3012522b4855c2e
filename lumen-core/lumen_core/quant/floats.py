"""Element types of stored floats: their bits, and what the bits stand for.

Types of one byte are tables of 256 values: `e8m0` is a power of two, 2^(code - 127); `ue4m3` has 4 bits of
exponent and 3 of mantissa and no sign (its highest bit is not read), and 0x7F, where others have a NaN, is 0.
`e4m3` and `e5m2` are OCP's 8-bit floats, with a sign: the first has NaN at 0x7F and 0xFF and no infinity.
"""

from __future__ import annotations

from functools import cache

import numpy as np

FLOAT_BYTES = {"f16": 2, "bf16": 2, "f32": 4, "e8m0": 1, "ue4m3": 1, "e4m3": 1, "e5m2": 1}
# Kernels read a number of these types as the f16 of the same sign, exponent and mantissa bits; it is so often
# less than the number meant, and what it is multiplied with in the end is multiplied by it once.
KERNEL_UNITS = {"e4m3": 2.0**8, "ue4m3": 2.0**8}
# Bits of a number's significand, with the one that is not stored.
SIGNIFICAND = {"f16": 11, "bf16": 8, "f32": 24, "e8m0": 1, "ue4m3": 4, "e4m3": 4, "e5m2": 3}


def is_small(element: str) -> bool:
    """Tell whether a type has so few codes that a table holds all their values."""
    return FLOAT_BYTES[element] == 1


@cache
def small_floats(element: str) -> np.ndarray:
    """The 256 values of a type of one byte, f64."""
    codes = np.arange(256)
    if element == "e8m0":
        return np.exp2(codes - 127.0)
    if element == "e5m2":
        return (codes.astype("<u2") << 8).view("<f2").astype(np.float64)
    exponent, mantissa = codes >> 3 & 15, codes & 7
    normal = (1 + mantissa / 8) * np.exp2(exponent - 7.0)
    found = np.where(exponent == 0, mantissa * 2.0**-9, normal)
    if element == "e4m3":
        found = np.where(codes < 128, found, -found)
        found[[0x7F, 0xFF]] = np.nan
        return found
    found[0x7F] = 0
    return found


def float_values(raw: np.ndarray, element: str) -> np.ndarray:
    """Little-endian floats as f32: uint8 [..., n * bytes] -> f32 [..., n]."""
    if element == "f32":
        return raw.view("<f4").astype(np.float32)
    if element == "f16":
        return raw.view("<f2").astype(np.float32)
    if element == "bf16":
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32)
    return small_floats(element)[raw].astype(np.float32)


def fits_bf16(element: str) -> bool:
    """Tell whether bf16 holds every number of a type."""
    return SIGNIFICAND[element] <= SIGNIFICAND["bf16"]


@cache
def plain_codes(element: str) -> np.ndarray | None:
    """For each code of a type of one byte the one that kernels read in its place; None: the same."""
    if element != "ue4m3":
        return None
    codes = np.arange(256, dtype=np.uint8) & 0x7F
    codes[0x7F] = 0  # where the highest bit is set it is a number
    return codes
