"""Remove operations whose results nobody reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lumen_core.ir.build import Builder, finished, started
from lumen_core.ir.core import Block, Function, Operation, Value
from lumen_core.passes.base import Pass


@dataclass(frozen=True)
class DeadCode(Pass):
    """Remove operations whose results nobody reads.

    Requires: nothing; no operation has effects beyond its results.
    Establishes: every operation has a result that is read; regions yield and take only what is read.

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
        builder, values = started(function)
        for operation, read in _live(function.body):
            if operation.region is None:
                builder.copy(operation, values)
            else:
                _copy_region(builder, values, operation, read)
        return finished(function, builder, values)


def _live(block: Block) -> list[tuple[Operation, list[Value]]]:
    """Return the operations that are needed, in order, each with its results that are read."""
    needed = set(block.results)
    live = []
    for operation in reversed(block.operations):
        read = [value for value in operation.results if value in needed]
        if read:
            live.append((operation, read))
            needed.update(operation.operands)
    return live[::-1]


def _copy_region(
    builder: Builder, values: dict[Value, Value], operation: Operation, read: list[Value]
) -> None:
    block = operation.region
    assert block is not None
    yielded = dict(zip(operation.results, block.results, strict=True))
    trimmed = Block(block.arguments, block.operations, [yielded[value] for value in read])
    live = _live(trimmed)
    needed = {operand for inner, _ in live for operand in inner.operands} | set(trimmed.results)
    inner, copies, operands = Builder(), dict[Value, Value](), []
    for argument, operand in zip(block.arguments, operation.operands, strict=True):
        if argument in needed:
            copies[argument] = inner.argument(argument.type, argument.name)
            operands.append(values[operand])
    for step, _ in live:
        inner.copy(step, copies)
    inner.block.results = [copies[value] for value in trimmed.results]
    names = [value.name for value in read]
    twin = builder.operation(operation.name, operands, operation.attributes, inner.block, names)
    values.update(zip(read, twin.results, strict=True))
