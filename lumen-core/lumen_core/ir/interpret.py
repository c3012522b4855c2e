"""Run a function on numpy arrays, one operation after another: the oracle for everything that is compiled.

In: a function, an array per argument and the weight formats. Out: an array per result.
A weight of a quantized format is given as its rows of bytes, uint8 [N, row_bytes], and `formats[name].decode`
turns them into float32; quantized activations are `QuantizedArray`s. Symbolic sizes take the numbers that the
arrays have. Slow on purpose: every operation runs its definition's `reference` and the result is checked
against its type.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lumen_core.ir.core import Block, Function, Operation, Value
from lumen_core.ir.operations.values import DTYPES, Context, QuantizedArray, UnpackedRows
from lumen_core.types import SCALARS, TensorType


def interpret(
    function: Function,
    arguments: Sequence[Any],
    formats: Mapping[str, Any] | None = None,
    sizes: Mapping[str, int] | None = None,
    observe: Callable[[Operation, Sequence[Any]], None] | None = None,
) -> list[Any]:
    """Return the function's results; `sizes` gives symbols that no argument's shape names.

    `observe` is shown every operation with the arrays of its operands, before it runs.
    """
    if len(arguments) != len(function.arguments):
        count = len(function.arguments)
        raise ValueError(f"@{function.name} takes {count} arguments, found {len(arguments)}")
    arrays = [_prepared(value, array) for value, array in zip(function.arguments, arguments, strict=True)]
    context = Context(_bound(function.arguments, arrays, sizes or {}), formats or {}, run_block, observe)
    return run_block(function.body, arrays, context)


def run_block(block: Block, arrays: Sequence[Any], context: Context) -> list[Any]:
    """Run the operations of `block` on the arrays of its arguments."""
    known: dict[Value, Any] = dict(zip(block.arguments, arrays, strict=True))
    for operation in block.operations:
        operands = [known[value] for value in operation.operands]
        if context.observe is not None:
            context.observe(operation, operands)
        results = operation.definition.reference(context, operation, operands)
        for value, array in zip(operation.results, results, strict=True):
            _check(operation, value.type, array, context)
            known[value] = array
    return [known[value] for value in block.results]


def _prepared(value: Value, array: Any) -> Any:
    """Return an argument as an array of its element's numpy type; bytes of formats stay as they are."""
    if isinstance(array, QuantizedArray) or value.type.element not in SCALARS:
        return array
    array = np.asarray(array)
    if array.dtype == np.uint8 and value.type.element != "u8":
        return array  # rows of bytes of a format that is a plain number
    dtype = DTYPES[value.type.element]
    given = array.astype(dtype, copy=False)
    exact = np.can_cast(array.dtype, dtype, "same_kind") or np.array_equal(given, array)
    if not exact:
        raise ValueError(f"{value} was given an array of {array.dtype}")
    return given


def _sizes_known(type: TensorType, array: Any) -> int:
    """Return how many leading axes of an argument count elements (a weight's last axis counts bytes)."""
    is_bytes = isinstance(array, np.ndarray) and array.dtype == np.uint8 and type.element != "u8"
    return len(type.shape) - 1 if is_bytes else len(type.shape)


def _bound(arguments: Sequence[Value], arrays: Sequence[Any], sizes: Mapping[str, int]) -> dict[str, int]:
    """Return the numbers of the symbols, from every axis whose size is one symbol; check the other axes."""
    bound = dict(sizes)
    for value, array in zip(arguments, arrays, strict=True):
        if len(array.shape) != len(value.type.shape):
            raise ValueError(f"{value} was given an array of shape {array.shape}")
        count = _sizes_known(value.type, array)
        for size, length in zip(value.type.shape[:count], array.shape[:count], strict=True):
            if len(size.terms) == 1 and len(size.terms[0][0]) == 1 and size.terms[0][1] == 1:
                bound.setdefault(size.terms[0][0][0], length)
    for value, array in zip(arguments, arrays, strict=True):
        count = _sizes_known(value.type, array)
        for size, length in zip(value.type.shape[:count], array.shape[:count], strict=True):
            number = size.substitute(bound).value
            if number is None:
                raise ValueError(f"{value}: the size {size} is not known; pass it in `sizes`")
            if number != length:
                raise ValueError(f"{value} was given {array.shape}: {length} is not {size} = {number}")
    return bound


def _check(operation: Operation, type: TensorType, array: Any, context: Context) -> None:
    """Fail if a reference broke its own rule; unpacked rows have no shape of their own to check."""
    if isinstance(array, UnpackedRows):
        return
    if tuple(array.shape) != context.shape(type):
        raise AssertionError(f"{operation} gave shape {array.shape} for {type}")
    if isinstance(array, np.ndarray | np.generic) and array.dtype != DTYPES[type.element]:
        raise AssertionError(f"{operation} gave {array.dtype} for {type}")
