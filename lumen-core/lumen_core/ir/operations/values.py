"""What values are in the interpreter: numpy types of elements, quantized arrays, unpacked weights.

A bf16 tensor is held as float32 values that bf16 can represent, since numpy has no such type.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from lumen_core.ir.core import Block, Operation, RuleError
from lumen_core.types import SCALARS, Dim, TensorType

DTYPES: dict[str, np.dtype] = {
    "i1": np.dtype(np.bool_), "i8": np.dtype(np.int8), "u8": np.dtype(np.uint8), "i16": np.dtype(np.int16),
    "u16": np.dtype(np.uint16), "i32": np.dtype(np.int32), "u32": np.dtype(np.uint32),
    "i64": np.dtype(np.int64), "u64": np.dtype(np.uint64), "f16": np.dtype(np.float16),
    "bf16": np.dtype(np.float32), "f32": np.dtype(np.float32), "f64": np.dtype(np.float64),
}  # fmt: skip
MOST_AXES = 6  # of a tensor; together with MOST_TERMS it bounds the work of comparing sizes
MOST_TERMS = 4  # of a size, such as the two of `P + T`
FLOATS = frozenset({"f16", "bf16", "f32", "f64"})
INTEGERS = frozenset(SCALARS) - FLOATS
_ACTIVATION = re.compile(r"i8g([1-9][0-9]{0,4})(?:s16)?")
_UNPACKED = re.compile(r"unpacked<(.+)>")


@dataclass(frozen=True)
class QuantizedArray:
    """Activations in a format `i8g<n>`: codes, one scale per group of n, sums of 16 codes each."""

    codes: np.ndarray  # int8 [..., K]
    scales: np.ndarray  # float32 [..., K / n]
    sums: np.ndarray  # int16 [..., K / 16]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.codes.shape


@dataclass(frozen=True)
class UnpackedRows:
    """A weight after `unpack`: its rows of bytes (or numbers) and how to turn them into float32."""

    rows: np.ndarray
    decode: Callable[[np.ndarray], np.ndarray]

    @property
    def shape(self) -> tuple[int, ...]:
        return self.rows.shape


@dataclass(frozen=True)
class Context:
    """What a reference may ask: numbers of the symbolic sizes, weight formats, and how to run a region.

    observe  is shown every operation with the arrays of its operands before it runs
    """

    sizes: Mapping[str, int]
    formats: Mapping[str, Any]
    run: Callable[[Block, Sequence[Any], Context], list[Any]]
    observe: Callable[[Operation, Sequence[Any]], None] | None = None

    def shape(self, type: TensorType) -> tuple[int, ...]:
        return type.substitute(self.sizes).sizes


def group_of(element: str) -> int | None:
    """Return n for the activation format `i8g<n>` (`i8g<n>s16`: kernels want sums of 16), else None."""
    match = _ACTIVATION.fullmatch(element)
    return int(match[1]) if match else None


def unpacked_format(element: str) -> str | None:
    """Return F for `unpacked<F>`, else None."""
    match = _UNPACKED.fullmatch(element)
    return match[1] if match else None


def is_weight(element: str) -> bool:
    """Tell whether tensors of `element` can be weights: a scalar or a format, not an activation."""
    return group_of(element) is None and unpacked_format(element) is None


def require(condition: bool, message: str) -> None:
    """Raise RuleError unless `condition` holds."""
    if not condition:
        raise RuleError(message)


def broadcast(name: str, shapes: Sequence[tuple[Dim, ...]]) -> tuple[Dim, ...]:
    """Return the shape that numpy's broadcasting gives, or raise RuleError."""
    one = Dim.of(1)
    rank = max(map(len, shapes))
    result = [one] * rank
    for shape in shapes:
        for place, size in enumerate(shape, rank - len(shape)):
            if size != one and result[place] not in (one, size):
                raise RuleError(f"shape mismatch in {name}: {result[place]} is not {size}")
            if size != one:
                result[place] = size
    return tuple(result)


def round_bf16(values: np.ndarray) -> np.ndarray:
    """Return float32 values rounded (half to even) to what bf16 can hold."""
    values = np.asarray(values, np.float32)
    bits = values.view(np.uint32).astype(np.uint64)
    rounded = (bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000
    return np.where(np.isnan(values), values, rounded.astype(np.uint32).view(np.float32))
