"""Print the tensor IR as text that `parser` reads back.

In: a module, function or operation. Out: one operation per line,

    %results = name %operands {attribute = value, ...} (region) : result types
"""

from __future__ import annotations

from collections.abc import Sequence

from lumen_core.ir.core import Attribute, Block, Function, Module, Operation, Value


class Names:
    """Gives every value of a block its name: its hint where that is free, else the next number."""

    def __init__(self) -> None:
        self.given: dict[Value, str] = {}
        self.taken: set[str] = set()
        self.next = 0

    def define(self, value: Value) -> str:
        name = value.name
        if not name.isidentifier() or not name.isascii():
            name = self._number()
        elif name in self.taken:
            count = 1
            while f"{name}_{count}" in self.taken:
                count += 1
            name = f"{name}_{count}"
        self.taken.add(name)
        self.given[value] = f"%{name}"
        return self.given[value]

    def of(self, value: Value) -> str:
        # a value from elsewhere is a bug that the verifier reports; printing it must not fail
        return self.given.get(value, f"%<{value.name or 'unknown'}>")

    def _number(self) -> str:
        self.next += 1
        return str(self.next - 1)


def print_attribute(value: Attribute) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(print_attribute, value))}]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    return repr(value)


def print_operation(operation: Operation, names: Names, indent: str = "") -> str:
    """Return the line (or lines, for a region) of an operation; its results get their names."""
    operands = [names.of(value) for value in operation.operands]
    results = ", ".join(names.define(value) for value in operation.results)
    text = f"{indent}{results} = " if results else indent
    text += f"{operation.name} {', '.join(operands)}".rstrip()
    if operation.attributes:
        pairs = (f"{key} = {print_attribute(value)}" for key, value in sorted(operation.attributes.items()))
        text += f" {{{', '.join(pairs)}}}"
    if operation.region is not None:
        text += " " + _print_region(operation.region, indent)
    if operation.results:
        text += f" : {', '.join(str(value.type) for value in operation.results)}"
    return text


def _print_region(block: Block, indent: str) -> str:
    names = Names()
    arguments = ", ".join(names.define(value) for value in block.arguments)
    return f"({arguments}) {{\n{_print_body(block, names, indent + '  ', 'yield')}\n{indent}}}"


def _print_body(block: Block, names: Names, indent: str, end: str) -> str:
    lines = [print_operation(operation, names, indent) for operation in block.operations]
    results: Sequence[str] = [names.of(value) for value in block.results]
    return "\n".join([*lines, f"{indent}{end} {', '.join(results)}".rstrip()])


def print_function(function: Function) -> str:
    names = Names()
    arguments = ", ".join(f"{names.define(value)}: {value.type}" for value in function.arguments)
    results = ", ".join(str(value.type) for value in function.results)
    body = _print_body(function.body, names, "  ", "return")
    return f"func @{function.name}({arguments}) -> ({results}) {{\n{body}\n}}\n"


def print_module(module: Module) -> str:
    return "\n".join(print_function(function) for function in module)
