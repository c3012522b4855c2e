"""Merge the explicit steps of a quantized matmul or row look-up into one operation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lumen_core.ir.build import Builder, finished, started
from lumen_core.ir.core import Function, Operation, Value
from lumen_core.ir.operations.values import unpacked_format
from lumen_core.passes.base import Pass

_ADDING = ("fused_matmul", "blend")  # operations that can add to what is there


def _weight(value: Value) -> Value | None:
    """Return w where `value` is dequantize(unpack(w))."""
    outer = value.owner
    inner = outer.operands[0].owner if outer is not None and outer.name == "dequantize" else None
    return inner.operands[0] if inner is not None and inner.name == "unpack" else None


def _activation(value: Value) -> Value:
    """Return x where `value` is dequantize(x) of activations, else the value."""
    owner = value.owner
    if (
        owner is not None
        and owner.name == "dequantize"
        and not unpacked_format(owner.operands[0].type.element)
    ):
        return owner.operands[0]
    return value


def _matmul(builder: Builder, operation: Operation) -> Value | None:
    # matmul(dequantize(x), dequantize(unpack(w))) -> fused_matmul(x, w)
    x, weight = operation.operands
    source = _weight(weight)
    if source is None:
        return None
    return builder.emit("fused_matmul", _activation(x), source, name=operation.result.name)


def _expert_matmul(builder: Builder, operation: Operation) -> Value | None:
    # expert_matmul(chosen, dequantize(x), dequantize(unpack(w))) -> fused_expert_matmul(chosen, x, w)
    chosen, x, weight = operation.operands
    source = _weight(weight)
    if source is None:
        return None
    return builder.emit("fused_expert_matmul", chosen, _activation(x), source, name=operation.result.name)


def _rows(builder: Builder, operation: Operation) -> Value | None:
    # rows(dequantize(unpack(table)), ids) -> fused_rows(table, ids)
    table, ids = operation.operands
    source = _weight(table)
    return None if source is None else builder.emit("fused_rows", source, ids, name=operation.result.name)


def _accumulated(builder: Builder, operation: Operation, single: set[Value]) -> Value | None:
    # fused_matmul(x, w) + y -> fused_matmul(x, w, y), where y has the type of the sum; so for blend
    left, right = operation.operands
    for product, other in ((left, right), (right, left)):
        owner = product.owner
        if owner is None or owner.name not in _ADDING or len(owner.operands) != 2 or product not in single:
            continue
        if other.type == product.type and other is not product:
            return builder.emit(owner.name, *owner.operands, other, name=operation.result.name)
    return None


@dataclass(frozen=True)
class FuseMatmul(Pass):
    """Merge `unpack`, `dequantize`, `matmul` and a following residual `add` into `fused_matmul`.

    Likewise for the matrices of experts; the sum of their results, `blend`, takes a following `add` along.

    Requires: canonicalize (so that equal `quantize`s are one).
    Establishes: no weight is unpacked as a whole; a row look-up unpacks the rows that it reads.
    The steps that became unread stay until dead_code; in the example it has run.

    Before:
        func @f(%x: tensor<f32, [T, 32]>, %w: tensor<q4_0, [32, 32]>) -> (tensor<f32, [T, 32]>) {
          %0 = quantize %x {activation = "i8g32"} : tensor<i8g32, [T, 32]>
          %1 = dequantize %0 : tensor<f32, [T, 32]>
          %2 = unpack %w : tensor<unpacked<q4_0>, [32, 32]>
          %3 = dequantize %2 : tensor<f32, [32, 32]>
          %4 = matmul %1, %3 : tensor<f32, [T, 32]>
          %5 = add %x, %4 : tensor<f32, [T, 32]>
          return %5
        }
    After:
        func @f(%x: tensor<f32, [T, 32]>, %w: tensor<q4_0, [32, 32]>) -> (tensor<f32, [T, 32]>) {
          %0 = quantize %x {activation = "i8g32"} : tensor<i8g32, [T, 32]>
          %1 = fused_matmul %0, %w, %x : tensor<f32, [T, 32]>
          return %1
        }
    """

    name: ClassVar[str] = "fuse_matmul"

    def apply(self, function: Function) -> Function:
        builder, values = started(function)
        uses = function.body.uses()
        single: set[Value] = set()  # new values that stand for an old one with one reader
        for operation in function.operations:
            twin = builder.copy(operation, values)
            fused: Value | None = None
            if operation.name == "matmul":
                fused = _matmul(builder, twin)
            elif operation.name == "expert_matmul":
                fused = _expert_matmul(builder, twin)
            elif operation.name == "rows":
                fused = _rows(builder, twin)
            elif operation.name == "add":
                fused = _accumulated(builder, twin, single)
            if fused is not None:
                builder.block.operations.remove(twin)
                values[operation.result] = fused
            for old in operation.results:
                if len(uses.get(old, ())) == 1 and old not in function.results:
                    single.add(values[old])
        return finished(function, builder, values)
