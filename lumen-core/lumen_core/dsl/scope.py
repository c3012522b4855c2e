"""What names mean in one function body, and how literals get their element type.

A literal or a size has no element type of its own (`int` or `real` here) and takes that of the operand it
meets. After an error an expression is None, and what depends on it is not reported again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lumen_core.dsl import ast, builtins
from lumen_core.dsl.signatures import Signature, suggestion
from lumen_core.dsl.sizes import dim_of
from lumen_core.dsl.typed import TypedExpr, static_value
from lumen_core.source import Diagnostics
from lumen_core.types import Dim, TensorType

INT, REAL = TensorType("int", ()), TensorType("real", ())
UNTYPED = ("int", "real")


@dataclass
class Scope:
    """What names mean in one function body.

    names      locals, weights, caches and config numbers; None: declared, but wrong
    sizes      sizes that may stand in shapes and as numbers
    functions  every function that may be called; None: declared, but wrong
    """

    names: dict[str, TypedExpr | None]
    sizes: Mapping[str, Dim]
    functions: Mapping[str, Signature | None]
    elements: frozenset[str]
    diagnostics: Diagnostics
    calls: set[str] = field(default_factory=set)

    def error(self, message: str, node: ast.Node, *notes: str, help: str | None = None) -> None:
        self.diagnostics.error(message, node.span, notes=notes, help=help)

    def complain(self, message: str, node: ast.Node) -> None:
        help = suggestion(node.name, self.sizes) if isinstance(node, ast.Name) else None
        self.error(message, node, help=help)

    def dim(self, expression: ast.Expression) -> Dim | None:
        return dim_of(expression, self.sizes, self.complain)


def describe(type: TensorType) -> str:
    """Return a type as the language writes it."""
    names = {"int": "an integer literal", "real": "a real literal"}
    if type.element in names:
        return names[type.element]
    return type.element + (f"[{', '.join(map(str, type.shape))}]" if type.shape else "")


def adapt(typed: TypedExpr, element: str, node: ast.Node, scope: Scope) -> TypedExpr | None:
    """Give a literal expression the element type `element`; other expressions come back unchanged."""
    if typed.type.element not in UNTYPED:
        return typed
    if element not in builtins.NUMBERS:
        help = "a weight is read by rows or linear, quantized values by dequantize"
        scope.error(
            f"a number cannot be combined with {element}", node, help=help if element != "i1" else None
        )
        return None
    if element in builtins.INTEGERS:
        if typed.type.element == "real":
            scope.error(f"a real number cannot stand where {element} is needed", node)
            return None
        bits = int(element[1:])
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if element[0] == "i" else (0, 2**bits)
        try:
            value = static_value(typed, {}, {})
        except ValueError:
            value = low  # depends on a size: only known when the model is bound
        if not low <= value < high:
            scope.error(f"{value} does not fit {element}", node, f"{element} holds {low} to {high - 1}")
            return None
    return _retype(typed, element)


def _retype(typed: TypedExpr, element: str) -> TypedExpr:
    attributes = dict(typed.attributes)
    if typed.op == "constant" and element in builtins.FLOATS:
        attributes["value"] = float(attributes["value"])  # type: ignore[arg-type]
    types = (TensorType(element, typed.type.shape),)
    args = tuple(_retype(arg, element) for arg in typed.args)
    return replace(typed, types=types, args=args, attributes=attributes)


def settle(typed: TypedExpr, node: ast.Node, scope: Scope) -> TypedExpr | None:
    """Give a literal expression that meets no tensor its default type: i32 or f32."""
    return adapt(typed, "f32" if typed.type.element == "real" else "i32", node, scope)


@dataclass(frozen=True)
class Place(ast.Node):
    """A node that is only a place."""
