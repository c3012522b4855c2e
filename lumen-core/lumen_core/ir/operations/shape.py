"""Operations that move values without changing them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lumen_core.ir.core import REQUIRED, Attribute, Definition, Operation, RuleError
from lumen_core.ir.operations.values import MOST_AXES, MOST_TERMS, Context, require
from lumen_core.types import SCALARS, Dim, TensorType


def product(shape: Sequence[Dim]) -> Dim:
    """Return how many elements a shape has."""
    total = Dim.of(1)
    for size in shape:
        total = total * size
    return total


LONGEST_SIZE = 200  # characters


def dimension(text: Attribute) -> Dim:
    """Read a size as attributes hold it: a number, or a polynomial as `Dim` prints it."""
    if isinstance(text, int):
        return Dim.of(text)
    if not isinstance(text, str) or len(text) > LONGEST_SIZE:
        raise RuleError(f"`{str(text)[:40]}` is not a size")
    total = Dim.of(0)
    for term in text.replace("- ", "+ -").split("+"):
        factor = Dim.of(-1 if term.strip().startswith("-") else 1)
        for name in term.strip().lstrip("-").split("*"):
            name = name.strip()
            if not (name.isidentifier() or name.isdecimal()):
                raise RuleError(f"`{text}` is not a size")
            factor = factor * (int(name) if name.isdecimal() else name)
        total = total + factor
    require(len(total.terms) <= MOST_TERMS, f"the size `{text}` has more than {MOST_TERMS} terms")
    return total


def shape_attribute(shape: Sequence[Dim]) -> tuple[int | str, ...]:
    """Return a shape as an attribute: numbers where known, text elsewhere."""
    return tuple(str(size) if size.value is None else size.value for size in shape)


def _reshape_rule(operation: Operation) -> tuple[TensorType, ...]:
    type, wanted = operation.operands[0].type, operation.attributes["shape"]
    require(type.element in SCALARS, f"reshape does not work on elements of type {type.element}")
    require(isinstance(wanted, tuple), "reshape needs a list of sizes")
    assert isinstance(wanted, tuple)
    require(len(wanted) <= MOST_AXES, f"reshape to more than {MOST_AXES} axes")
    shape = tuple(dimension(size) for size in wanted)
    before, after = product(type.shape), product(shape)
    require(before == after, f"reshape of {before} elements to {after}")
    return (TensorType(type.element, shape),)


def _reshape(context: Context, operation: Operation, arrays: Sequence[Any]) -> tuple:
    return (np.reshape(arrays[0], context.shape(operation.result.type)),)


def _concat_rule(operation: Operation) -> tuple[TensorType, ...]:
    types = [value.type for value in operation.operands]
    require(len(types) > 0 and len(types[0].shape) > 0, "concat needs operands that have an axis")
    first = types[0]
    total = Dim.of(0)
    for type in types:
        same = type.element == first.element and type.shape[:-1] == first.shape[:-1] and type.shape
        require(bool(same), f"concat of {first} and {type}")
        total = total + type.shape[-1]
    return (TensorType(first.element, (*first.shape[:-1], total)),)


def _slice_rule(operation: Operation) -> tuple[TensorType, ...]:
    type = operation.operands[0].type
    start, stop = operation.attributes["start"], operation.attributes["stop"]
    require(isinstance(start, int) and isinstance(stop, int), "slice needs whole numbers")
    assert isinstance(start, int)
    assert isinstance(stop, int)
    size = type.shape[-1].value if type.shape else None
    require(size is not None and 0 <= start <= stop <= size, f"slice {start}:{stop} of {type}")
    return (TensorType(type.element, (*type.shape[:-1], Dim.of(stop - start))),)


def _take_rule(operation: Operation) -> tuple[TensorType, ...]:
    table, index = (value.type for value in operation.operands)
    fit = table.element == index.element == "u8" and len(table.shape) == len(index.shape) > 0
    require(
        fit and table.shape[:-1] == index.shape[:-1], f"take needs bytes of one shape, found {table}, {index}"
    )
    return (index,)


def _take(context: Context, operation: Operation, arrays: Sequence[Any]) -> tuple:
    table, index = arrays
    return (np.take_along_axis(table, index.astype(np.int64) % table.shape[-1], axis=-1),)


OPERATIONS = (
    Definition(
        "reshape", ("x",), _reshape_rule, _reshape, "shape",
        {"shape": REQUIRED}, summary="the same elements in the same order under another shape",
    ),
    Definition(
        "concat", ("*xs",), _concat_rule,
        lambda context, operation, arrays: (np.concatenate(arrays, axis=-1),), "shape",
        summary="operands one after another along the last axis",
    ),
    Definition(
        "slice", ("x",), _slice_rule,
        lambda context, operation, arrays: (
            arrays[0][..., operation.attributes["start"] : operation.attributes["stop"]],
        ), "shape", {"start": REQUIRED, "stop": REQUIRED}, summary="a part of the last axis",
    ),
    Definition(
        "take", ("table", "index"), _take_rule, _take, "shape",
        summary="elements of the table's last axis by their places, which wrap around",
    ),
)  # fmt: skip
