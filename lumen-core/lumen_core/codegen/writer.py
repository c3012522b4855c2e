"""The text of one LLVM function while it grows: its lines, the names of its values, what it declares."""

from __future__ import annotations

from dataclasses import dataclass

from lumen_core.codegen.spelling import llvm_literal, llvm_symbol, llvm_type
from lumen_core.ir.kernel import Kernel, Type, Value
from lumen_core.target import Target


class Writer:
    """Lines in final order; every value has a name once it is defined."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.entry: list[str] = []
        self.declarations: dict[str, str] = {}
        self.block = "entry"
        self.count = 0
        self.text: dict[int, str] = {}

    def module(self, kernel: Kernel, target: Target) -> str:
        """Return the LLVM module around the lines."""
        result = llvm_type(kernel.result) if kernel.result else "void"
        parameters = ", ".join(f"{llvm_type(p.type)} %p{i}" for i, p in enumerate(kernel.parameters))
        body = "\n".join(["entry:", *self.entry, *self.lines])
        declarations = "\n".join(self.declarations.values())
        head = f'target triple = "{target.triple}"\n' if target.triple else ""
        attributes = " ".join(filter(None, ("nounwind", target.attributes)))
        return (
            f"{head}{declarations}\n\n"
            f"define {result} {llvm_symbol(kernel.name)}({parameters}) {attributes} {{\n{body}\n}}\n"
        )

    def line(self, text: str) -> None:
        self.lines.append("  " + text)

    def fresh(self, prefix: str = "v") -> str:
        return f"%{prefix}{self.number()}"

    def label(self, name: str) -> None:
        self.lines.append(f"{name}:")
        self.block = name

    def value(self, value: Value) -> str:
        if value.literal is None:
            return self.text[id(value)]
        scalar = llvm_literal(value.type, value.literal)
        if value.type.lanes == 1:
            return scalar
        if value.literal == 0 and not str(value.literal).startswith("-"):
            return "zeroinitializer"
        return f"splat ({llvm_type(Type(value.type.element))} {scalar})"

    def typed(self, value: Value) -> str:
        return f"{llvm_type(value.type)} {self.value(value)}"

    def define(self, result: Value, text: str) -> None:
        name = self.fresh()
        self.text[id(result)] = name
        self.line(f"{name} = {text}")

    def declare(self, name: str, result: str, operands: tuple[str, ...]) -> None:
        self.declarations.setdefault(name, f"declare {result} @{name}({', '.join(operands)})")

    def intrinsic(self, result: Value, name: str, operands: tuple[Value, ...]) -> None:
        type = llvm_type(result.type)
        self.declare(name, type, tuple(llvm_type(o.type) for o in operands))
        self.define(result, f"call {type} @{name}({', '.join(map(self.typed, operands))})")

    def number(self) -> int:
        """A number that no other name has."""
        self.count += 1
        return self.count

    def phi(self, value: Value, initial: Value) -> Phi:
        """Open a value that each turn of the loop around the current block may change; see `close_phis`."""
        name = self.fresh()
        self.text[id(value)] = name
        self.lines.append("")
        return Phi(name, llvm_type(value.type), self.value(initial), len(self.lines) - 1)

    def close_phis(self, phis: list[Phi], before: str, following: list[str]) -> None:
        """Write a loop's phis: the first value comes from block `before`, the next from the current one."""
        for phi, after in zip(phis, following, strict=True):
            edges = f"[ {phi.initial}, %{before} ], [ {after}, %{self.block} ]"
            self.lines[phi.line] = f"  {phi.name} = phi {phi.type} {edges}"


@dataclass(frozen=True)
class Phi:
    """A phi whose line is kept free until the loop's last block is known."""

    name: str
    type: str
    initial: str
    line: int
