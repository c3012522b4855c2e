"""Types of expressions in function bodies: syntax -> TypedExpr, or None after an error."""

from __future__ import annotations

from dataclasses import replace

from lumen_core.dsl import ast, builtins
from lumen_core.dsl.check_call import check_call
from lumen_core.dsl.operators import binary, unary
from lumen_core.dsl.printer import print_expression
from lumen_core.dsl.scope import INT, REAL, Scope
from lumen_core.dsl.signatures import suggestion
from lumen_core.dsl.typed import TypedExpr


def infer(expression: ast.Expression, scope: Scope) -> TypedExpr | None:
    """Return the typed form, or None after an error."""
    match expression:
        case ast.Number(value):
            type = INT if isinstance(value, int) else REAL
            return TypedExpr("constant", (type,), attributes={"value": value}, span=expression.span)
        case ast.Name(name):
            return _name(expression, name, scope)
        case ast.Unary():
            operand = infer_one(expression.operand, scope)
            return unary(expression, operand, scope) if operand is not None else None
        case ast.Binary(operator, left, right):
            a, b = infer_one(left, scope), infer_one(right, scope)
            return binary(operator, a, b, expression, scope) if a is not None and b is not None else None
        case ast.Call():
            return check_call(expression, scope, infer_one)
        case ast.Tuple():
            scope.error("a tuple may only be the value of a function", expression)
        case ast.List():
            scope.error("a table may only stand in a format", expression)
        case ast.Index() | ast.Slice():
            help = "use rows, split or reshape"
            scope.error("only the fields of a format can be indexed", expression, help=help)
    return None


def infer_one(expression: ast.Expression, scope: Scope) -> TypedExpr | None:
    """Return the typed form of an operand, which must have one result."""
    typed = infer(expression, scope)
    if typed is not None and len(typed.types) != 1:
        message = f"`{print_expression(expression)}` has {len(typed.types)} results"
        scope.error(message, expression, help="take them apart: let (a, b) = ...")
        return None
    return typed


def _name(node: ast.Name, name: str, scope: Scope) -> TypedExpr | None:
    if name in scope.names:
        found = scope.names[name]
        return replace(found, span=node.span) if found is not None else None
    if name in scope.sizes:
        return TypedExpr("size", (INT,), attributes={"dim": scope.sizes[name]}, span=node.span)
    known = [*scope.names, *scope.sizes]
    if name in scope.functions or name in builtins.names():
        scope.error(f"`{name}` is a function", node, help=f"call it: {name}(...)")
    else:
        scope.error(f"unknown name `{name}`", node, help=suggestion(name, known))
    return None
