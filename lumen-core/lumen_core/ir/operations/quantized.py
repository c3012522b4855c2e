"""The steps of a quantized matmul, apart and fused.

Weights of a format F are `tensor<F, [N, K]>`, held as rows of bytes; activations of `i8g<n>` are codes in
-127..127 with one float32 scale per n of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lumen_core.ir.core import REQUIRED, Definition, Operation, RuleError
from lumen_core.ir.operations.values import (
    Context,
    QuantizedArray,
    UnpackedRows,
    group_of,
    is_weight,
    require,
    round_bf16,
    unpacked_format,
)
from lumen_core.types import TensorType

PLAIN = ("f32", "bf16")  # activation formats of numbers without scales


def quantized(x: np.ndarray, group: int) -> QuantizedArray:
    """Quantize the last axis of `x` in groups: scale = amax / 127, code = x / scale rounded half to even."""
    groups = np.ascontiguousarray(x, np.float32).reshape(*x.shape[:-1], -1, group)
    scales = np.abs(groups).max(axis=-1, initial=0) / np.float32(127)
    with np.errstate(all="ignore"):
        codes = np.where(scales[..., None] == 0, 0, np.rint(groups / scales[..., None]))
    codes = np.nan_to_num(codes).clip(-127, 127).astype(np.int8).reshape(x.shape)
    sums = codes.reshape(*x.shape[:-1], -1, 16).sum(axis=-1, dtype=np.int16)
    return QuantizedArray(codes, scales.astype(np.float32), sums)


def plain(x: Any) -> np.ndarray:
    """Return what activations stand for, as float32."""
    if not isinstance(x, QuantizedArray):
        return np.asarray(x, np.float32)
    group = x.codes.shape[-1] // max(x.scales.shape[-1], 1)
    return x.codes.astype(np.float32) * np.repeat(x.scales, group, axis=-1)


def decoded(context: Context, rows: np.ndarray, element: str) -> np.ndarray:
    """Return weight rows as float32: numbers are converted, bytes are decoded by their format."""
    if rows.dtype != np.uint8 or element == "u8":
        return rows.astype(np.float32)
    return np.asarray(context.formats[element].decode(rows), np.float32)


def _unpack_rule(operation: Operation) -> tuple[TensorType, ...]:
    type = operation.operands[0].type
    require(is_weight(type.element), f"unpack needs a weight, found {type}")
    return (TensorType(f"unpacked<{type.element}>", type.shape),)


def _unpack(context: Context, operation: Operation, arrays: Sequence[Any]) -> tuple:
    element = operation.operands[0].type.element
    return (UnpackedRows(arrays[0], lambda rows: decoded(context, rows, element)),)


def _dequantize_rule(operation: Operation) -> tuple[TensorType, ...]:
    type = operation.operands[0].type
    known = unpacked_format(type.element) or group_of(type.element) or type.element in PLAIN
    require(bool(known), f"dequantize needs an unpacked weight or quantized activations, found {type}")
    return (TensorType("f32", type.shape),)


def _dequantize(context: Context, operation: Operation, arrays: Sequence[Any]) -> tuple:
    (x,) = arrays
    return (x.decode(x.rows) if isinstance(x, UnpackedRows) else plain(x),)


def _quantize_rule(operation: Operation) -> tuple[TensorType, ...]:
    type, activation = operation.operands[0].type, str(operation.attributes["activation"])
    require(type.element == "f32" and len(type.shape) > 0, f"quantize needs f32 with an axis, found {type}")
    group = group_of(activation)
    require(group is not None or activation in PLAIN, f"`{activation}` is not an activation format")
    size = type.shape[-1].value
    if group is not None:
        require(group % 16 == 0, f"groups of {group} are not whole runs of 16")
        require(size is None or size % group == 0, f"{size} elements are not whole groups of {group}")
    return (TensorType(activation, type.shape),)


def _quantize(context: Context, operation: Operation, arrays: Sequence[Any]) -> tuple:
    activation, (x,) = str(operation.attributes["activation"]), arrays
    group = group_of(activation)
    if group is None:
        return (round_bf16(x) if activation == "bf16" else x,)
    return (quantized(x, group),)


def _reorder_rule(operation: Operation) -> tuple[TensorType, ...]:
    type, order = (value.type for value in operation.operands)
    known = type.element == "f32" and len(type.shape) > 0 and order.element == "i32"
    require(known, f"reorder needs f32 with an axis and i32 places, found {type}, {order}")
    require(order.shape == type.shape[-1:], f"reorder of {type} by {order}")
    return (type,)


def _product_rule(name: str, x: TensorType, weight: TensorType) -> TensorType:
    ranks = len(x.shape) > 0 and len(weight.shape) == 2
    require(ranks, f"{name} needs x[.., K] and w[N, K], found {x}, {weight}")
    if x.shape[-1] != weight.shape[1]:
        raise RuleError(f"shape mismatch in {name}: {x.shape[-1]} is not {weight.shape[1]}")
    return TensorType("f32", (*x.shape[:-1], weight.shape[0]))


def _matmul_rule(operation: Operation) -> tuple[TensorType, ...]:
    x, weight = (value.type for value in operation.operands)
    require(x.element == weight.element == "f32", f"matmul needs f32, found {x.element} and {weight.element}")
    return (_product_rule("matmul", x, weight),)


def product(x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return np.matmul(x, weight.T)


def _fused_matmul_rule(operation: Operation) -> tuple[TensorType, ...]:
    x, weight, *accumulate = (value.type for value in operation.operands)
    known = group_of(x.element) is not None or x.element in PLAIN
    require(known, f"fused_matmul needs activations, found {x}")
    require(is_weight(weight.element), f"fused_matmul needs a weight, found {weight}")
    result = _product_rule("fused_matmul", x, weight)
    for type in accumulate:
        require(type == result, f"fused_matmul of {result} cannot add to {type}")
    return (result,)


def _fused_matmul(context: Context, operation: Operation, arrays: Sequence[Any]) -> tuple:
    x, weight, *accumulate = arrays
    result = product(plain(x), decoded(context, weight, operation.operands[1].type.element))
    return (result + accumulate[0] if accumulate else result,)


def _fused_rows_rule(operation: Operation) -> tuple[TensorType, ...]:
    table, ids = (value.type for value in operation.operands)
    known = is_weight(table.element) and len(table.shape) == 2
    require(known, f"fused_rows needs a table of weights, found {table}")
    require(ids.element == "i32" and len(ids.shape) == 1, f"fused_rows needs ids of type i32, found {ids}")
    return (TensorType("f32", (ids.shape[0], table.shape[1])),)


def _fused_rows(context: Context, operation: Operation, arrays: Sequence[Any]) -> tuple:
    table, ids = arrays
    return (decoded(context, table[ids], operation.operands[0].type.element),)


OPERATIONS = (
    Definition(
        "unpack", ("weight",), _unpack_rule, _unpack, "quantized", summary="a weight's codes and scales",
    ),
    Definition(
        "dequantize", ("x",), _dequantize_rule, _dequantize, "quantized", summary="codes * scales as f32",
    ),
    Definition(
        "quantize", ("x",), _quantize_rule, _quantize, "quantized",
        {"activation": REQUIRED}, summary="f32 as codes and scales of an activation format",
    ),
    Definition(
        "reorder", ("x", "order"), _reorder_rule,
        lambda context, operation, arrays: (arrays[0][..., arrays[1]],), "quantized",
        summary="x[.., order]: activations for a weight whose columns are sorted",
    ),
    Definition(
        "matmul", ("x", "weight"), _matmul_rule,
        lambda context, operation, arrays: (product(*arrays),), "quantized", summary="x @ weight.T",
    ),
    Definition(
        "fused_matmul", ("x", "weight", "?accumulate"), _fused_matmul_rule, _fused_matmul, "quantized",
        summary="dequantize(x) @ dequantize(unpack(weight)).T + accumulate",
    ),
    Definition(
        "fused_rows", ("table", "ids"), _fused_rows_rule, _fused_rows, "quantized",
        summary="rows(dequantize(unpack(table)), ids)",
    ),
)  # fmt: skip
