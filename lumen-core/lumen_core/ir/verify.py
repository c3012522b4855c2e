"""Check that a module is well formed: what every pass may rely on and must leave behind.

In: a module. Out: nothing, or `InvalidModule` that names the operation and shows the function.
Checked: every operation fits its definition and has the result types that its rule gives; every operand is
an earlier value of the same block; no value is defined twice; results are values of their block.
"""

from __future__ import annotations

from lumen_core.errors import LumenBug
from lumen_core.ir.core import Block, Function, Module, Operation, RuleError, Value
from lumen_core.ir.printer import Names, print_function, print_operation


class InvalidModule(LumenBug):
    """A module that breaks its own rules."""


def verify(module: Module | Function) -> None:
    """Raise InvalidModule at the first fault."""
    for function in [module] if isinstance(module, Function) else module:
        names = [value.name for value in function.arguments]
        if len(set(names)) != len(names) or "" in names:
            raise InvalidModule(f"the arguments of @{function.name} need names that differ: {names}")
        try:
            _check_block(function.body, set())
        except RuleError as error:
            message = f"in @{function.name}: {error}\n{print_function(function)}"
            raise InvalidModule(message) from None


def _check_block(block: Block, seen: set[Value]) -> None:
    visible: set[Value] = set()
    for argument in block.arguments:
        _define(argument, None, visible, seen)
    for operation in block.operations:
        _check_operation(operation, visible, seen)
    for result in block.results:
        if result not in visible:
            raise RuleError(f"the result {result} is not a value of this block")


def _check_operation(operation: Operation, visible: set[Value], seen: set[Value]) -> None:
    for operand in operation.operands:
        if operand not in visible:
            raise RuleError(f"{_line(operation)}\n  uses {operand}, which no earlier step defines")
    try:
        types = operation.definition.check(operation)
    except RuleError as error:
        raise RuleError(f"{_line(operation)}\n  {error}") from None
    found = tuple(value.type for value in operation.results)
    if types != found:
        raise RuleError(f"{_line(operation)}\n  gives {types}, declared as {found}")
    if operation.region is not None:
        _check_block(operation.region, seen)
    for value in operation.results:
        _define(value, operation, visible, seen)


def _define(value: Value, owner: Operation | None, visible: set[Value], seen: set[Value]) -> None:
    if value in seen:
        raise RuleError(f"{value} is defined twice")
    if value.owner is not owner:
        raise RuleError(f"{value} belongs to another operation")
    visible.add(value)
    seen.add(value)


def _line(operation: Operation) -> str:
    names = Names()
    for operand in operation.operands:
        if operand not in names.given:
            names.define(operand)
    return print_operation(operation, names)
