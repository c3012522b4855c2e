"""Types of operators: element types must agree, shapes broadcast as numpy's do.

Operators on literals and sizes alone make numbers that are known before the model runs.
"""

from __future__ import annotations

import math

from lumen_core.dsl import ast, builtins
from lumen_core.dsl.scope import INT, REAL, UNTYPED, Place, Scope, adapt, describe, settle
from lumen_core.dsl.sizes import broadcast
from lumen_core.dsl.typed import TypedExpr, static_value
from lumen_core.types import TensorType

LONGEST_NUMBER = 100  # operations on sizes in one number: it is put in wherever its `let` is used


def unary(node: ast.Unary, operand: TypedExpr, scope: Scope) -> TypedExpr | None:
    type = operand.type
    if node.operator == "-":
        if type.element not in (*UNTYPED, *builtins.NUMBERS):
            scope.error(f"`-` needs numbers, found {describe(type)}", node)
            return None
        negative = TypedExpr("neg", (type,), (operand,), span=node.span)
        return _folded(negative, node, scope) if type.element in UNTYPED else negative
    if type.element not in builtins.INTEGERS:
        scope.error(f"`~` needs integers, found {describe(type)}", node)
        return None
    ones = -1 if type.element.startswith("i") else 2 ** int(type.element[1:]) - 1
    mask = TypedExpr("constant", (TensorType(type.element, ()),), attributes={"value": ones}, span=node.span)
    return TypedExpr("bitxor", (type,), (operand, mask), span=node.span)


def binary(
    operator: str, left: TypedExpr, right: TypedExpr, node: ast.Node, scope: Scope
) -> TypedExpr | None:
    """Return the typed form of an operator or of a function with two operands that broadcast."""
    spans = (Place(span=left.span), Place(span=right.span))
    compares = operator in builtins.COMPARISONS
    if left.type.element in UNTYPED and right.type.element in UNTYPED:
        if not compares:
            return _static(operator, left, right, node, scope)
        settled = settle(left, spans[0], scope), settle(right, spans[1], scope)
    else:
        settled = (
            adapt(left, right.type.element, spans[0], scope),
            adapt(right, left.type.element, spans[1], scope),
        )
    a, b = settled
    if a is None or b is None:
        return None
    notes = (f"left is {describe(a.type)}", f"right is {describe(b.type)}")
    op, elements = ("compare", builtins.NUMBERS) if compares else builtins.BINARY[operator]
    if a.type.element != b.type.element:
        message = f"element types differ in `{operator}`: {a.type.element} and {b.type.element}"
        scope.error(message, node, *notes, help=f"convert one side: convert(x, {_wider(a.type, b.type)})")
        return None
    if operator in {"%", "**"}:
        if a.type != TensorType("f32", ()) or b.type != a.type:
            scope.error(f"`{operator}` is for numbers that are known before the model runs", node, *notes)
            return None
    elif a.type.element not in elements:
        kind = {builtins.FLOATS: "real numbers", builtins.NUMBERS: "numbers"}.get(elements, "integers")
        scope.error(f"`{operator}` needs {kind}, found {a.type.element}", node, *notes)
        return None
    shape = broadcast(a.type, b.type)
    if shape is None:
        help = "sizes must be equal or 1, counted from the last axis"
        scope.error(f"shape mismatch in `{operator}`", node, *notes, help=help)
        return None
    element = "i1" if compares else a.type.element
    attributes = {"predicate": builtins.COMPARISONS[operator]} if compares else {}
    return TypedExpr(op, (TensorType(element, shape),), (a, b), attributes, node.span)


def _wider(left: TensorType, right: TensorType) -> str:
    order = ("f64", "f32", "i64", "i32")
    return next((element for element in order if element in (left.element, right.element)), "f32")


def _static(
    operator: str, left: TypedExpr, right: TypedExpr, node: ast.Node, scope: Scope
) -> TypedExpr | None:
    """Combine two literals or sizes into a number that is known before the model runs."""
    op, elements = builtins.BINARY[operator]
    real = operator in {"/", "**"} or REAL in (left.type, right.type)
    integers_only = bool(elements) and "f32" not in elements
    if integers_only and real:
        scope.error(f"`{operator}` needs integers, found a real number", node)
        return None
    typed = TypedExpr(op, (REAL if real else INT,), (left, right), span=node.span)
    return _folded(typed, node, scope)


def _folded(typed: TypedExpr, node: ast.Node, scope: Scope) -> TypedExpr | None:
    """Return the constant that a number is, or the number as it stands while it depends on a size."""
    if _nodes(typed) > LONGEST_NUMBER:
        scope.error(f"this number takes more than {LONGEST_NUMBER} operations on sizes", node)
        return None
    try:
        value = static_value(typed, {}, {})
    except ValueError:
        if _has_size(typed):
            return typed
        scope.error("this number cannot be computed", node)
        return None
    except OverflowError:
        value = math.inf
    if not abs(value) < 2.0**64:
        scope.error("this number is beyond 64 bits", node)
        return None
    return TypedExpr("constant", typed.types, attributes={"value": value}, span=typed.span)


def _nodes(typed: TypedExpr) -> int:
    return 1 + sum(map(_nodes, typed.args))


def _has_size(typed: TypedExpr) -> bool:
    return typed.op == "size" or any(map(_has_size, typed.args))
