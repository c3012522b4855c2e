"""Operations on whole numbers, for what instructions and packed bits mean."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from lumen_core.ir.core import REQUIRED, Definition, Operation
from lumen_core.ir.operations.elementwise import numeric
from lumen_core.ir.operations.values import DTYPES, INTEGERS, Context, broadcast, require
from lumen_core.types import SCALARS, TensorType

WHOLE = INTEGERS - {"i1"}
PREDICATES = {
    "eq": operator.eq, "ne": operator.ne, "lt": operator.lt,
    "le": operator.le, "gt": operator.gt, "ge": operator.ge,
}  # fmt: skip


def _saturate_rule(operation: Operation) -> tuple[TensorType, ...]:
    type, element = operation.operands[0].type, str(operation.attributes["element"])
    require(type.element in WHOLE, f"saturate does not work on elements of type {type.element}")
    require(element in WHOLE, f"saturate cannot make elements of type {element}")
    return (TensorType(element, type.shape),)


def _saturate(context: Context, operation: Operation, arrays: Sequence[Any]) -> tuple:
    dtype = DTYPES[str(operation.attributes["element"])]
    # Python's numbers, because no numpy type holds both i64 and u64
    clipped = np.clip(arrays[0].astype(object), int(np.iinfo(dtype).min), int(np.iinfo(dtype).max))
    return (np.asarray(clipped).astype(dtype),)


def _compare_rule(operation: Operation) -> tuple[TensorType, ...]:
    x, y = (value.type for value in operation.operands)
    predicate = operation.attributes["predicate"]
    require(predicate in PREDICATES, f"compare knows {', '.join(PREDICATES)}, found {predicate}")
    same = x.element == y.element and x.element in SCALARS
    require(same, f"element mismatch in compare: {x.element} is not {y.element}")
    return (TensorType("i1", broadcast("compare", [x.shape, y.shape])),)


def _compare(context: Context, operation: Operation, arrays: Sequence[Any]) -> tuple:
    return (np.asarray(PREDICATES[str(operation.attributes["predicate"])](*arrays)),)


def _shift_left(x: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.left_shift(x.astype(np.int64), count.astype(np.int64))


OPERATIONS = (
    numeric("bitand", 2, np.bitwise_and, INTEGERS, "x & y"),
    numeric("bitor", 2, np.bitwise_or, INTEGERS, "x | y"),
    numeric("bitxor", 2, np.bitwise_xor, INTEGERS, "x ^ y"),
    numeric("bitnot", 1, np.invert, INTEGERS, "~x"),
    numeric("shl", 2, _shift_left, WHOLE, "x << y, the upper bits lost"),
    numeric("shr", 2, np.right_shift, WHOLE, "x >> y, filled with the sign of signed types"),
    Definition(
        "saturate", ("x",), _saturate_rule, _saturate, "elementwise",
        {"element": REQUIRED}, summary="the nearest value that another integer type holds",
    ),
    Definition(
        "compare", ("x", "y"), _compare_rule, _compare, "elementwise",
        {"predicate": REQUIRED}, summary="x against y: eq, ne, lt, le, gt or ge",
    ),
)  # fmt: skip
