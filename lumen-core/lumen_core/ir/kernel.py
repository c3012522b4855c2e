"""Kernel IR: what one compiled function does, in scalars, vectors, memory and structured control flow.

A schedule builds a `Kernel` with a `Builder` (kernel_builder.py); `codegen` makes LLVM IR of it.
Values are SSA; loops and conditionals are regions, loops carry values explicitly.
Operations are the plain ones of any vector machine plus a few semantic ones (`dot4`, `pause`)
that a backend maps to instructions. Addresses are a pointer plus a byte offset.
Text form: `str(kernel)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

FLOATS = ("f16", "bf16", "f32", "f64")
BITS = {
    "i1": 1, "i8": 8, "i16": 16, "i32": 32, "i64": 64, "f16": 16, "bf16": 16, "f32": 32, "f64": 64, "ptr": 64,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Type:
    """A scalar (`lanes == 1`) or a vector; integers have no sign, operations do."""

    element: str
    lanes: int = 1

    @property
    def is_float(self) -> bool:
        return self.element in FLOATS

    @property
    def bytes(self) -> int:
        return max(1, BITS[self.element] // 8) * self.lanes

    def of(self, element: str) -> Type:
        return Type(element, self.lanes)

    def __str__(self) -> str:
        return self.element if self.lanes == 1 else f"{self.element}x{self.lanes}"


I1, I8, I16, I32, I64 = Type("i1"), Type("i8"), Type("i16"), Type("i32"), Type("i64")
F16, F32, PTR = Type("f16"), Type("f32"), Type("ptr")


class Value:
    """One SSA value: a parameter, a constant (`literal` is set) or an operation's result."""

    __slots__ = ("literal", "name", "type")

    def __init__(self, type: Type, name: str, literal: int | float | None = None):
        self.type = type
        self.name = name
        self.literal = literal

    def __str__(self) -> str:
        return str(self.literal) if self.literal is not None else f"%{self.name}"


class Operation:
    """`results = name operands {attributes} regions`."""

    __slots__ = ("attributes", "name", "operands", "regions", "results")

    def __init__(self, name: str, operands: tuple, results: tuple, attributes: dict, regions: tuple = ()):
        self.name = name
        self.operands = operands
        self.results = results
        self.attributes = attributes
        self.regions = regions


class Region:
    """A list of operations with arguments (loop index, carried values)."""

    __slots__ = ("arguments", "operations")

    def __init__(self, arguments: tuple[Value, ...] = ()):
        self.arguments = arguments
        self.operations: list[Operation] = []


class Kernel:
    """A function: `name`, parameters in order, a body, the type of its result; `doc` says what it does."""

    def __init__(
        self, name: str, parameters: Sequence[tuple[str, Type]], result: Type | None = None, doc: str = ""
    ):
        self.name = name
        self.doc = doc
        self.parameters = tuple(Value(type, label) for label, type in parameters)
        self.result = result
        self.body = Region()

    def __str__(self) -> str:
        head = ", ".join(f"%{p.name}: {p.type}" for p in self.parameters)
        tail = f" -> {self.result}" if self.result else ""
        doc = f"# {self.doc}\n" if self.doc else ""
        return f"{doc}kernel @{self.name}({head}){tail} {{\n{_print_region(self.body, 1)}}}\n"


def _print_region(region: Region, depth: int) -> str:
    pad = "  " * depth
    text = ""
    for op in region.operations:
        left = ", ".join(str(value) for value in op.results)
        left = f"{left} = " if left else ""
        attributes = ", ".join(f"{k} = {v}" for k, v in op.attributes.items())
        attributes = f" {{{attributes}}}" if attributes else ""
        types = ", ".join(str(value.type) for value in op.results)
        types = f" : {types}" if types else ""
        operands = " ".join(["", ", ".join(map(str, op.operands))] if op.operands else [])
        text += f"{pad}{left}{op.name}{operands}{attributes}{types}"
        for inner in op.regions:
            arguments = ", ".join(f"{a}: {a.type}" for a in inner.arguments)
            text += f" ({arguments}) {{\n" if arguments else " {\n"
            text += _print_region(inner, depth + 1) + pad + "}"
        text += "\n"
    return text
