"""Type rules of the builtins that have no signature: one operand, reshape, convert, select."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from lumen_core.dsl import ast, builtins
from lumen_core.dsl.scope import INT, UNTYPED, Place, Scope, adapt, describe, settle
from lumen_core.dsl.signatures import MOST_AXES
from lumen_core.dsl.sizes import broadcast
from lumen_core.dsl.typed import TypedExpr, pack_name
from lumen_core.types import Dim, TensorType

Infer: TypeAlias = Callable[[ast.Expression, Scope], TypedExpr | None]


def operands_of(call: ast.Call, count: int, scope: Scope, infer: Infer) -> list[TypedExpr] | None:
    """Return exactly `count` typed operands, or None after an error."""
    if len(call.arguments) != count or call.keywords:
        found = len(call.arguments) + len(call.keywords)
        message = f"`{call.function}` takes {count} argument{'s' * (count != 1)}, found {found}"
        scope.error(message, Place(span=call.name_span))
        return None
    typed = [infer(argument, scope) for argument in call.arguments]
    operands = [operand for operand in typed if operand is not None]
    return operands if len(operands) == count else None


def one_operand(call: ast.Call, scope: Scope, infer: Infer) -> TypedExpr | None:
    operands = operands_of(call, 1, scope, infer)
    if operands is None:
        return None
    name, place = call.function, call.arguments[0]
    operand = settle(operands[0], place, scope)
    if operand is None:
        return None
    type = operand.type
    elements = builtins.ELEMENTWISE.get(name) or builtins.REDUCTIONS.get(name) or builtins.NUMBERS
    if type.element not in elements:
        kind = "real numbers" if elements == builtins.FLOATS else "numbers"
        scope.error(f"`{name}` needs {kind}, found {describe(type)}", place)
        return None
    if name in builtins.REDUCTIONS:
        if not type.shape or pack_name(type.shape[-1]):
            scope.error(f"`{name}` needs an axis to reduce, found {describe(type)}", place)
            return None
        reduced = TensorType(type.element, (*type.shape[:-1], Dim.of(1)))
        return TypedExpr(name, (reduced,), (operand,), span=call.span)
    if name in builtins.CONVERSIONS:
        op, element = builtins.CONVERSIONS[name]
        result = TensorType(element, type.shape)
        return TypedExpr(op, (result,), (operand,), {"element": element}, call.span)
    return TypedExpr(name, (type,), (operand,), span=call.span)


def _reshape(call: ast.Call, scope: Scope, infer: Infer) -> TypedExpr | None:
    if not 2 <= len(call.arguments) <= 1 + MOST_AXES or call.keywords:
        place = Place(span=call.name_span)
        scope.error("`reshape` takes a tensor and its new sizes", place, help="reshape(x, N, 4)")
        return None
    operand = infer(call.arguments[0], scope)
    dims = [scope.dim(argument) for argument in call.arguments[1:]]
    shape = tuple(dim for dim in dims if dim is not None)
    if operand is None or len(shape) < len(dims):
        return None
    if operand.type.element in UNTYPED or any(pack_name(dim) for dim in operand.type.shape):
        message = f"`reshape` needs a tensor of known rank, found {describe(operand.type)}"
        scope.error(message, call.arguments[0])
        return None
    before, after = Dim.of(1), Dim.of(1)
    for dim in operand.type.shape:
        before = before * dim
    for dim in shape:
        after = after * dim
    if before != after:
        note = f"the tensor is {describe(operand.type)}"
        scope.error(f"`reshape` changes the number of elements: {before} is not {after}", call, note)
        return None
    result = TensorType(operand.type.element, shape)
    return TypedExpr("reshape", (result,), (operand,), {"shape": shape}, call.span)


def _convert(call: ast.Call, scope: Scope, infer: Infer) -> TypedExpr | None:
    element = call.arguments[1] if len(call.arguments) == 2 and not call.keywords else None
    if not isinstance(element, ast.Name) or element.name not in builtins.NUMBERS:
        place = element if element is not None else Place(span=call.name_span)
        help = f"there are {', '.join(builtins.NUMBERS)}"
        scope.error("`convert` takes a tensor and a scalar element type", place, help=help)
        return None
    operand = infer(call.arguments[0], scope)
    if operand is None:
        return None
    if operand.type.element in UNTYPED:
        return adapt(operand, element.name, call.arguments[0], scope)
    if operand.type.element not in (*builtins.NUMBERS, "i1"):
        help = "a weight is read by rows or linear, quantized values by dequantize"
        scope.error(f"`convert` needs numbers, found {describe(operand.type)}", call.arguments[0], help=help)
        return None
    result = TensorType(element.name, operand.type.shape)
    return TypedExpr("convert", (result,), (operand,), {"element": element.name}, call.span)


def _select(call: ast.Call, scope: Scope, infer: Infer) -> TypedExpr | None:
    operands = operands_of(call, 3, scope, infer)
    if operands is None:
        return None
    condition, yes, no = operands
    if condition.type.element != "i1":
        help = "write a comparison, as in select(a < b, a, b)"
        message = f"the condition must be i1, found {describe(condition.type)}"
        scope.error(message, call.arguments[0], help=help)
        return None
    if yes.type.element in UNTYPED and no.type.element in UNTYPED:
        element = "i32" if yes.type == no.type == INT else "f32"
        adapted = adapt(yes, element, call.arguments[1], scope), adapt(no, element, call.arguments[2], scope)
    else:
        adapted = (
            adapt(yes, no.type.element, call.arguments[1], scope),
            adapt(no, yes.type.element, call.arguments[2], scope),
        )
    a, b = adapted
    if a is None or b is None:
        return None
    named = {"condition": condition, "then": a, "else": b}
    notes = tuple(f"{what} is {describe(value.type)}" for what, value in named.items())
    common = broadcast(a.type, b.type)
    shape = broadcast(condition.type, TensorType("i1", common)) if common is not None else None
    if a.type.element != b.type.element or shape is None:
        scope.error("the operands of `select` do not fit", call, *notes)
        return None
    return TypedExpr("select", (TensorType(a.type.element, shape),), (condition, a, b), span=call.span)


IRREGULAR = {"reshape": _reshape, "convert": _convert, "select": _select}
