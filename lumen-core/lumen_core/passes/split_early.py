"""Move the split into heads before the elementwise work that it follows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lumen_core.ir.build import finished, started
from lumen_core.ir.core import Function, Operation, Value
from lumen_core.ir.operations.shape import shape_attribute
from lumen_core.passes.base import Pass
from lumen_core.types import Dim

ONE = Dim.of(1)
Shape = tuple[Dim, ...]


def is_split(operation: Operation) -> bool:
    """Tell whether the operation reshapes [T, H * E] to [T, H, E]."""
    if operation.name != "reshape":
        return False
    before, after = operation.operands[0].type.shape, operation.result.type.shape
    return len(before) == 2 and len(after) == 3 and before[0] == after[0] and bool(before[0].symbols)


def _split_shape(shape: Shape, whole: Shape, heads: Shape) -> Shape | None:
    """Return the shape that an operand of a [T, H * E] result takes in head space, None if it has none."""
    if shape == whole:
        return heads
    if shape == whole[1:]:
        return heads[1:]
    if shape == (whole[0], ONE):
        return (whole[0], ONE, ONE)
    return shape if shape in ((), (ONE,)) else None


@dataclass(frozen=True)
class SplitEarly(Pass):
    """Move the split into heads before the elementwise work that it follows.

    Requires: dead_code (a value read once has one reader).
    Establishes: a bias is added per head, in the same space as the norm and rope after it.
    The elementwise steps that became unread stay until dead_code; in the example it has run.

    Before:
        func @f(%x: tensor<f32, [T, 8]>, %bias: tensor<f32, [8]>) -> (tensor<f32, [T, 2, 4]>) {
          %0 = add %x, %bias : tensor<f32, [T, 8]>
          %1 = reshape %0 {shape = ["T", 2, 4]} : tensor<f32, [T, 2, 4]>
          return %1
        }
    After:
        func @f(%x: tensor<f32, [T, 8]>, %bias: tensor<f32, [8]>) -> (tensor<f32, [T, 2, 4]>) {
          %0 = reshape %x {shape = ["T", 2, 4]} : tensor<f32, [T, 2, 4]>
          %1 = reshape %bias {shape = [2, 4]} : tensor<f32, [2, 4]>
          %2 = add %0, %1 : tensor<f32, [T, 2, 4]>
          return %2
        }
    """

    name: ClassVar[str] = "split_early"

    def apply(self, function: Function) -> Function:
        builder, values = started(function)
        uses = function.body.uses()

        def split(value: Value, whole: Shape, heads: Shape) -> Value:
            """Return the old `value` as a new one in head space."""
            shape = _split_shape(value.type.shape, whole, heads)
            assert shape is not None
            if shape == value.type.shape:
                return values[value]
            owner = value.owner
            if shape == heads and owner is not None and movable(owner, whole, heads):
                operands = [split(operand, whole, heads) for operand in owner.operands]
                return builder.operation(owner.name, operands, owner.attributes).result
            return builder.emit("reshape", values[value], shape=shape_attribute(shape))

        def movable(owner: Operation, whole: Shape, heads: Shape) -> bool:
            alone = len(uses[owner.result]) == 1 and owner.result not in function.results
            shapes = [_split_shape(operand.type.shape, whole, heads) for operand in owner.operands]
            return owner.family == "elementwise" and alone and None not in shapes

        for operation in function.operations:
            if is_split(operation):
                (operand,) = operation.operands
                values[operation.result] = split(operand, operand.type.shape, operation.result.type.shape)
                values[operation.result].name = values[operation.result].name or operation.result.name
            else:
                builder.copy(operation, values)
        return finished(function, builder, values)
