"""Fold constants, drop steps that change nothing, and compute equal things once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from lumen_core.ir.build import Builder, finished, started
from lumen_core.ir.core import Function, Operation, Value
from lumen_core.ir.interpret import run_block
from lumen_core.ir.operations.values import FLOATS, Context
from lumen_core.passes.base import Pass


def constant_of(value: Value) -> int | float | None:
    """Return the number that a value always is, if it is a scalar constant."""
    owner = value.owner
    if owner is None or owner.name != "constant" or value.type.shape:
        return None
    number = owner.attributes["value"]
    assert isinstance(number, int | float)
    return number


def _folded(builder: Builder, operation: Operation) -> Value | None:
    # f(1, 2) -> 3
    if operation.family != "elementwise" or any(constant_of(value) is None for value in operation.operands):
        return None
    element = operation.result.type.element
    context = Context({}, {}, run_block)
    arrays = []
    for value in operation.operands:
        assert value.owner is not None
        arrays.append(value.owner.definition.reference(context, value.owner, ())[0])
    (result,) = operation.definition.reference(context, operation, arrays)
    number = float(result) if element in FLOATS else int(result)
    if isinstance(number, float) and not np.isfinite(number):
        return None  # leave it visible in the program
    default = {"element": element} if element not in ("f32", "i32") else {}
    return builder.emit("constant", value=number, **default)


def _same_type(builder: Builder, operation: Operation) -> Value | None:
    # dequantize(x: f32) = convert to the own element = reshape to the own shape = x
    (operand,) = operation.operands
    return operand if operand.type == operation.result.type else None


def _reshape(builder: Builder, operation: Operation) -> Value | None:
    # reshape(reshape(x)) = reshape(x)
    inner = operation.operands[0].owner
    if inner is None or inner.name != "reshape":
        return _same_type(builder, operation)
    source = inner.operands[0]
    if source.type == operation.result.type:
        return source
    return builder.emit("reshape", source, shape=operation.attributes["shape"])


def _times_one(builder: Builder, operation: Operation) -> Value | None:
    # x * 1 = x / 1 = x, exactly
    x, y = operation.operands
    if constant_of(y) == 1 and x.type == operation.result.type:
        return x
    if operation.name == "mul" and constant_of(x) == 1 and y.type == operation.result.type:
        return y
    return None


RULES: dict[str, Callable[[Builder, Operation], Value | None]] = {
    "dequantize": _same_type,
    "convert": _same_type,
    "reshape": _reshape,
    "mul": _times_one,
    "div": _times_one,
}


@dataclass(frozen=True)
class Canonicalize(Pass):
    """Fold constants, drop steps that change nothing, and compute equal things once.

    Requires: nothing.
    Establishes: no two operations outside of regions are equal; scalar arithmetic on constants is done;
    three matmuls of one input share one `quantize`.

    Before:
        func @f(%x: tensor<f32, [T, 32]>) -> (tensor<f32, [T, 32]>, tensor<f32, [T, 32]>) {
          %0 = constant {value = 3.0} : tensor<f32, []>
          %1 = constant {value = 3.0} : tensor<f32, []>
          %2 = mul %0, %1 : tensor<f32, []>
          %3 = mul %x, %2 : tensor<f32, [T, 32]>
          %4 = quantize %3 {activation = "i8g32"} : tensor<i8g32, [T, 32]>
          %5 = dequantize %4 : tensor<f32, [T, 32]>
          %6 = quantize %3 {activation = "i8g32"} : tensor<i8g32, [T, 32]>
          %7 = dequantize %6 : tensor<f32, [T, 32]>
          return %5, %7
        }
    After:
        func @f(%x: tensor<f32, [T, 32]>) -> (tensor<f32, [T, 32]>, tensor<f32, [T, 32]>) {
          %0 = constant {value = 9.0} : tensor<f32, []>
          %1 = mul %x, %0 : tensor<f32, [T, 32]>
          %2 = quantize %1 {activation = "i8g32"} : tensor<i8g32, [T, 32]>
          %3 = dequantize %2 : tensor<f32, [T, 32]>
          return %3, %3
        }
    """

    name: ClassVar[str] = "canonicalize"

    def apply(self, function: Function) -> Function:
        builder, values = started(function)
        seen: dict[tuple, Operation] = {}

        def shared() -> Operation:
            """Return the first operation equal to the last one appended; a second one is dropped."""
            last = builder.block.operations[-1]
            if last.region is not None:
                return last
            first = seen.setdefault(_key(last), last)
            if first is not last:
                builder.block.operations.pop()
            return first

        for operation in function.operations:
            count = len(builder.block.operations)
            twin = builder.copy(operation, values)
            rule = RULES.get(operation.name)
            simpler = _folded(builder, twin) or (rule(builder, twin) if rule else None)
            if simpler is not None:
                del builder.block.operations[count]  # the copy; what the rule appended stays
                if len(builder.block.operations) > count:
                    simpler = shared().result
                values[operation.result] = simpler
            else:
                values.update(zip(operation.results, shared().results, strict=True))
        return _without_unread_constants(finished(function, builder, values))


def _key(operation: Operation) -> tuple:
    attributes = tuple((name, repr(value)) for name, value in sorted(operation.attributes.items()))
    return (operation.name, tuple(map(id, operation.operands)), attributes)


def _without_unread_constants(function: Function) -> Function:
    read = {operand for operation in function.operations for operand in operation.operands}
    read.update(function.results)
    kept = [item for item in function.operations if item.name != "constant" or item.result in read]
    function.body.operations[:] = kept
    return function
