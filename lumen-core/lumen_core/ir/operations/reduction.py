"""Reductions over the last axis, which stays as size 1."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lumen_core.ir.core import Definition, Operation
from lumen_core.ir.operations.elementwise import NUMBERS, computed
from lumen_core.ir.operations.values import FLOATS, Context, require
from lumen_core.types import Dim, TensorType


def reduction(name: str, meaning: Callable, elements: frozenset[str], summary: str) -> Definition:
    """Define a reduction by numpy's function of the same kind."""

    def rule(operation: Operation) -> tuple[TensorType, ...]:
        type = operation.operands[0].type
        require(type.element in elements, f"{name} does not work on elements of type {type.element}")
        require(len(type.shape) > 0, f"{name} needs an axis to reduce, found a scalar")
        return (TensorType(type.element, (*type.shape[:-1], Dim.of(1))),)

    def reference(context: Context, operation: Operation, arrays: Sequence[Any]) -> tuple:
        element = operation.operands[0].type.element
        return (computed(element, lambda x: meaning(x, axis=-1, keepdims=True), arrays),)

    return Definition(name, ("x",), rule, reference, "reduction", summary=summary)


OPERATIONS = (
    reduction("sum", np.sum, NUMBERS, "the sum of the last axis"),
    reduction("mean", np.mean, FLOATS, "the mean of the last axis"),
    reduction("max", np.max, NUMBERS, "the greatest of the last axis"),
)
