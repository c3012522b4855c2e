"""Remove operations whose results nobody reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lumen_core.ir.build import finished, started
from lumen_core.ir.core import Function
from lumen_core.passes.base import Pass


@dataclass(frozen=True)
class DeadCode(Pass):
    """Remove operations whose results nobody reads.

    Requires: nothing; no operation has effects beyond its results.
    Establishes: every operation outside of regions has a result that is read.

    Before:
        func @f(%x: tensor<f32, [T]>) -> (tensor<f32, [T]>) {
          %0 = neg %x : tensor<f32, [T]>
          %1 = exp %0 : tensor<f32, [T]>
          %2 = abs %x : tensor<f32, [T]>
          return %2
        }
    After:
        func @f(%x: tensor<f32, [T]>) -> (tensor<f32, [T]>) {
          %0 = abs %x : tensor<f32, [T]>
          return %0
        }
    """

    name: ClassVar[str] = "dead_code"

    def apply(self, function: Function) -> Function:
        needed = set(function.results)
        for operation in reversed(function.operations):
            if needed.intersection(operation.results):
                needed.update(operation.operands)
        builder, values = started(function)
        for operation in function.operations:
            if needed.intersection(operation.results):
                builder.copy(operation, values)
        return finished(function, builder, values)
