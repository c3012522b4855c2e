"""The verifier finds what builders and passes can break."""

from __future__ import annotations

import pytest

from lumen_core.ir import Block, Builder, Function, InvalidModule, Operation, RuleError, Value, verify
from lumen_core.ir.operations import DEFINITIONS
from lumen_core.types import TensorType

VECTOR = TensorType.of("f32", "T")


def built() -> tuple[Builder, Value]:
    builder = Builder()
    return builder, builder.argument(VECTOR, "x")


def refused(builder: Builder, message: str) -> None:
    with pytest.raises(InvalidModule, match=message):
        verify(Function("f", builder.block))


def test_use_before_definition():
    builder, x = built()
    builder.emit("neg", builder.emit("neg", x))
    builder.block.operations.reverse()
    refused(builder, "which no earlier step defines")


def test_changed_operand():
    builder, x = built()
    last = builder.emit("neg", x)
    other = builder.argument(TensorType.of("f32", 4), "y")
    last.owner.operands[0] = other
    refused(builder, "declared as")


def test_changed_attribute():
    builder, x = built()
    builder.emit("reshape", x, shape=("T", 1)).owner.attributes["shape"] = ("T", 2)
    refused(builder, r"reshape of T elements to 2\*T")


def test_operation_twice():
    builder, x = built()
    builder.block.operations.append(builder.emit("neg", x).owner)
    refused(builder, "defined twice")


def test_result_of_another_block():
    builder, _ = built()
    builder.block.results = [Value(VECTOR, "stray")]
    refused(builder, "not a value of this block")


def test_arguments_of_one_name():
    builder, _ = built()
    builder.argument(VECTOR, "x")
    refused(builder, "names that differ")


def test_region_that_looks_outside():
    builder, x = built()
    inner = Builder()
    inner.argument(VECTOR, "a")
    inner.block.results = [inner.emit("neg", x)]
    builder.operation("rowwise", [x], {"space": "token"}, inner.block)
    refused(builder, "which no earlier step defines")


def test_nested_regions():
    builder, _ = built()
    middle = Builder()
    middle.operation("rowwise", [], {"space": "token"}, Block())
    with pytest.raises(RuleError, match="cannot stand inside rowwise"):
        builder.operation("rowwise", [], {"space": "token"}, middle.block)


def test_unknown_attribute():
    with pytest.raises(RuleError, match="has no attribute `speed`"):
        Operation(DEFINITIONS["neg"], [Value(VECTOR)], {"speed": 1})
