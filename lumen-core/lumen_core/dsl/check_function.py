"""A function's body against its signature: ast.Function + Signature -> TypedFunction."""

from __future__ import annotations

from collections.abc import Mapping

from lumen_core.dsl import ast
from lumen_core.dsl.check_expression import infer, infer_one
from lumen_core.dsl.scope import UNTYPED, Scope, adapt, describe
from lumen_core.dsl.signatures import SIZE, Signature
from lumen_core.dsl.typed import TypedExpr, TypedFunction, TypedLet
from lumen_core.source import Diagnostics
from lumen_core.types import TensorType


def check_function(
    signature: Signature,
    functions: Mapping[str, Signature | None],
    names: Mapping[str, TypedExpr | None],
    elements: frozenset[str],
    diagnostics: Diagnostics,
) -> tuple[TypedFunction | None, set[str]]:
    """Return the typed function (None after an error) and the names of the functions it calls.

    names  what is in scope around it: the weights, caches and config of a model
    """
    function = signature.function
    scope = Scope(dict(names), signature.sizes, functions, elements, diagnostics)
    before = len(diagnostics.found)
    for name, type in signature.parameters:
        if type != SIZE:
            scope.names[name] = TypedExpr("local", (type,), attributes={"name": name})
    used = {name for name, _ in signature.parameters}
    lets: list[TypedLet] = []
    for let in function.lets:
        typed = _let(let, scope, used)
        if typed is not None:
            lets.append(typed)
    value = _value(function, signature.results, scope)
    if value is None or len(diagnostics.found) > before:
        return None, scope.calls
    parts = (signature.generics, signature.parameters, signature.results, tuple(lets), value)
    return TypedFunction(function.name, *parts, function.doc, function.span), scope.calls


def _let(let: ast.Let, scope: Scope, used: set[str]) -> TypedLet | None:
    """Check a let and bring its names into scope; a let of a literal is put in where it is used."""
    value = infer(let.value, scope)
    if len(set(let.names)) < len(let.names):
        scope.error("a name is declared twice in one let", let)
    if value is not None and len(value.types) != len(let.names):
        found, names = len(value.types), len(let.names)
        scope.error(f"{names} name{'s' * (names != 1)} for {found} result{'s' * (found != 1)}", let)
        value = None
    if value is None:
        scope.names.update(dict.fromkeys(let.names))
        return None
    if value.types[0].element in UNTYPED:
        scope.names[let.names[0]] = value
        return None
    unique = tuple(_unique(name, used) for name in let.names)
    for name, fresh, type in zip(let.names, unique, value.types, strict=True):
        scope.names[name] = TypedExpr("local", (type,), attributes={"name": fresh})
    return TypedLet(unique, value)


def _unique(name: str, used: set[str]) -> str:
    fresh, count = name, 0
    while fresh in used:
        count += 1
        fresh = f"{name}.{count}"
    used.add(fresh)
    return fresh


def _value(function: ast.Function, results: tuple[TensorType, ...], scope: Scope) -> TypedExpr | None:
    """Check the value against the declared results."""
    node = function.value
    items = node.items if isinstance(node, ast.Tuple) else (node,)
    if isinstance(node, ast.Tuple):
        typed = [infer_one(item, scope) for item in items]
    else:
        whole = infer(node, scope)
        if whole is not None and len(whole.types) > 1:
            if whole.types != results:
                scope.error(f"`{function.name}` returns {_listed(whole.types)}, not {_listed(results)}", node)
                return None
            return whole
        typed = [whole]
    if None in typed:
        return None
    if len(typed) != len(results):
        note = f"it is declared to return {_listed(results)}"
        values = f"{len(typed)} value{'s' * (len(typed) != 1)}"
        scope.error(f"`{function.name}` returns {values}, not {len(results)}", node, note)
        return None
    good: list[TypedExpr] = []
    for item, value, wanted in zip(items, typed, results, strict=True):
        assert value is not None
        adapted = adapt(value, wanted.element, item, scope)
        if adapted is None:
            continue
        if adapted.type != wanted:
            scope.error(
                f"`{function.name}` returns {describe(adapted.type)}, not {describe(wanted)}",
                item,
                f"it is declared to return {_listed(results)}",
            )
            continue
        good.append(adapted)
    if len(good) < len(typed):
        return None
    if not isinstance(node, ast.Tuple):
        return good[0]
    return TypedExpr("tuple", results, tuple(good), span=node.span)


def _listed(types: tuple[TensorType, ...]) -> str:
    return describe(types[0]) if len(types) == 1 else f"({', '.join(map(describe, types))})"
