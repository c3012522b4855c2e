"""Operations that work element by element, with numpy's broadcasting over trailing axes; and constants."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lumen_core.ir.core import REQUIRED, Definition, Operation, RuleError
from lumen_core.ir.operations.values import DTYPES, FLOATS, INTEGERS, Context, broadcast, require, round_bf16
from lumen_core.types import SCALARS, TensorType

Numeric = Callable[..., np.ndarray]


def numeric(name: str, arity: int, meaning: Numeric, elements: frozenset[str], summary: str) -> Definition:
    """Define an operation whose operands and result share one element type out of `elements`."""

    def rule(operation: Operation) -> tuple[TensorType, ...]:
        types = [value.type for value in operation.operands]
        element = types[0].element
        for type in types:
            require(type.element == element, f"element mismatch in {name}: {element} is not {type.element}")
        require(element in elements, f"{name} does not work on elements of type {element}")
        return (TensorType(element, broadcast(name, [type.shape for type in types])),)

    def reference(context: Context, operation: Operation, arrays: Sequence[Any]) -> tuple:
        return (computed(operation.operands[0].type.element, meaning, arrays),)

    return Definition(name, tuple("xyz"[:arity]), rule, reference, "elementwise", summary=summary)


def computed(element: str, meaning: Numeric, arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Apply `meaning` as a machine would: f16 and bf16 through float32, integers wrapping around."""
    with np.errstate(all="ignore"):
        if element in ("f16", "bf16"):
            arrays = [array.astype(np.float32) for array in arrays]
        result = np.asarray(meaning(*arrays))
        return round_bf16(result) if element == "bf16" else result.astype(DTYPES[element])


def divided(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return x / y if np.issubdtype(x.dtype, np.floating) else x // y


def silu(x: np.ndarray) -> np.ndarray:
    return x / (1 + np.exp(-x))


ANY = frozenset(SCALARS)
NUMBERS = ANY - {"i1"}


def _constant_rule(operation: Operation) -> tuple[TensorType, ...]:
    value = operation.attributes["value"]
    items = value if isinstance(value, tuple) else (value,)
    for item in items:
        require(isinstance(item, int | float), f"constant takes numbers, found {item!r}")
    whole = all(isinstance(item, int) for item in items)
    element = operation.attribute("element") or ("i32" if whole else "f32")
    require(element in SCALARS, f"constant cannot have elements of type {element}")
    require(whole or element in FLOATS, f"constant {value} does not fit elements of type {element}")
    if element in INTEGERS:
        kind = np.iinfo(DTYPES[element]) if element != "i1" else None
        low, high = (kind.min, kind.max) if kind else (0, 1)
        require(all(low <= item <= high for item in items), f"constant {value} does not fit {element}")
    shape = (len(value),) if isinstance(value, tuple) else ()
    return (TensorType.of(element, *shape),)


def _constant(context: Context, operation: Operation, arrays: Sequence[Any]) -> tuple:
    element = operation.result.type.element
    value = np.asarray(operation.attributes["value"]).astype(DTYPES[element])
    return (round_bf16(value) if element == "bf16" else value,)


def _convert_rule(operation: Operation) -> tuple[TensorType, ...]:
    type, element = operation.operands[0].type, str(operation.attributes["element"])
    require(type.element in SCALARS, f"convert does not work on elements of type {type.element}")
    require(element in SCALARS, f"convert cannot make elements of type {element}")
    return (TensorType(element, type.shape),)


def converted(array: np.ndarray, element: str) -> np.ndarray:
    """Return `array` as another type: floats round to nearest, integers wrap, float -> int truncates."""
    with np.errstate(all="ignore"):
        if element == "bf16":
            return round_bf16(array)
        if np.issubdtype(array.dtype, np.floating) and element in INTEGERS and element != "i1":
            return np.trunc(array).astype(np.int64).astype(DTYPES[element])
        return array.astype(DTYPES[element])


def _convert(context: Context, operation: Operation, arrays: Sequence[Any]) -> tuple:
    return (converted(arrays[0], str(operation.attributes["element"])),)


def _select_rule(operation: Operation) -> tuple[TensorType, ...]:
    condition, x, y = (value.type for value in operation.operands)
    require(condition.element == "i1", f"select needs a condition of type i1, found {condition.element}")
    if x.element != y.element:
        raise RuleError(f"element mismatch in select: {x.element} is not {y.element}")
    return (TensorType(x.element, broadcast("select", [condition.shape, x.shape, y.shape])),)


OPERATIONS = (
    Definition(
        "constant", (), _constant_rule, _constant, "constant",
        {"value": REQUIRED, "element": ""}, summary="a number, or a list of numbers as a vector",
    ),
    numeric("add", 2, np.add, NUMBERS, "x + y"),
    numeric("sub", 2, np.subtract, NUMBERS, "x - y"),
    numeric("mul", 2, np.multiply, NUMBERS, "x * y"),
    numeric("div", 2, divided, NUMBERS, "x / y; whole numbers round down"),
    numeric("rem", 2, np.remainder, NUMBERS, "x - y * floor(x / y)"),
    numeric("pow", 2, np.power, FLOATS, "x ** y"),
    numeric("minimum", 2, np.minimum, NUMBERS, "the lesser of x and y"),
    numeric("maximum", 2, np.maximum, NUMBERS, "the greater of x and y"),
    numeric("neg", 1, np.negative, NUMBERS, "-x"),
    numeric("abs", 1, np.abs, NUMBERS, "x without its sign"),
    numeric("sign", 1, np.sign, NUMBERS, "-1, 0 or 1"),
    numeric("exp", 1, np.exp, FLOATS, "e ** x"),
    numeric("sqrt", 1, np.sqrt, FLOATS, "the square root"),
    numeric("rsqrt", 1, lambda x: 1 / np.sqrt(x), FLOATS, "1 / sqrt(x)"),
    numeric("tanh", 1, np.tanh, FLOATS, "the hyperbolic tangent"),
    numeric("silu", 1, silu, FLOATS, "x / (1 + exp(-x))"),
    Definition(
        "convert", ("x",), _convert_rule, _convert, "elementwise",
        {"element": REQUIRED}, summary="the same values as another scalar type",
    ),
    Definition(
        "select", ("condition", "x", "y"), _select_rule,
        lambda context, operation, arrays: (np.where(*arrays),), "elementwise",
        summary="x where condition, else y",
    ),
)  # fmt: skip
