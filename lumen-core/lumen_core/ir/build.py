"""Append operations to a block, and copy blocks with other operands: what lowering and passes build with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lumen_core.ir.core import Attribute, Block, Function, Operation, Value
from lumen_core.ir.operations import DEFINITIONS
from lumen_core.types import TensorType


class Builder:
    """Appends to `block`; result types follow from the operations' rules."""

    def __init__(self, block: Block | None = None):
        self.block = block if block is not None else Block()

    def argument(self, type: TensorType, name: str = "") -> Value:
        value = Value(type, name)
        self.block.arguments.append(value)
        return value

    def operation(
        self,
        kind: str,
        operands: Sequence[Value],
        attributes: Mapping[str, Attribute] | None = None,
        region: Block | None = None,
        names: Sequence[str] = (),
    ) -> Operation:
        """Append an operation and return it."""
        operation = Operation(DEFINITIONS[kind], operands, attributes, region, names)
        self.block.operations.append(operation)
        return operation

    def emit(self, kind: str, *operands: Value, name: str = "", **attributes: Attribute) -> Value:
        """Append an operation with one result and return that."""
        return self.operation(kind, operands, attributes, names=(name,)).result

    def copy(self, operation: Operation, values: dict[Value, Value]) -> Operation:
        """Append `operation` with its operands looked up in `values`; enter its results there."""
        region = copied_block(operation.region, {}) if operation.region is not None else None
        twin = self.operation(
            operation.name,
            [values.get(operand, operand) for operand in operation.operands],
            operation.attributes,
            region,
            [value.name for value in operation.results],
        )
        values.update(zip(operation.results, twin.results, strict=True))
        return twin


def copied_block(block: Block, values: dict[Value, Value]) -> Block:
    """Return a copy of `block`; `values` then maps its values to the copies."""
    builder = Builder()
    for argument in block.arguments:
        values[argument] = builder.argument(argument.type, argument.name)
    for operation in block.operations:
        builder.copy(operation, values)
    builder.block.results = [values[value] for value in block.results]
    return builder.block


def started(function: Function) -> tuple[Builder, dict[Value, Value]]:
    """Return a builder that has the function's arguments, and the map from old values to new ones."""
    builder = Builder()
    values = {old: builder.argument(old.type, old.name) for old in function.arguments}
    return builder, values


def finished(function: Function, builder: Builder, values: Mapping[Value, Value]) -> Function:
    """Return the rebuilt function, its results looked up in `values`."""
    builder.block.results = [values.get(value, value) for value in function.results]
    return Function(function.name, builder.block)
