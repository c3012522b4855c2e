"""Who calls whom: functions are inlined, so none may call itself, not even by way of others.

Nor may one grow without end: ten functions that each call the next twice are a thousand copies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lumen_core.dsl import ast
from lumen_core.dsl.typed import TypedExpr, TypedFunction
from lumen_core.source import Diagnostics

DEEPEST_CALLS = 32  # functions inside functions; lowering inlines them by recursion
LARGEST_BODY = 50_000  # operations of a function with all its calls written out


def check_recursion(
    functions: Mapping[str, ast.Function], calls: Mapping[str, set[str]], diagnostics: Diagnostics
) -> None:
    """Report functions that call themselves, and chains of calls that are too long."""
    heights: dict[str, int] = {}
    for start in calls:
        stack = [(start, iter(sorted(calls[start])))]
        path, inside = [start], {start}
        while stack and start not in heights:
            name, rest = stack[-1]
            callee = next(rest, None)
            if callee is None:
                heights[name] = 1 + max((heights.get(other, 0) for other in calls.get(name, ())), default=0)
                stack.pop()
                inside.discard(path.pop())
            elif callee in inside:
                cycle = " -> ".join([*path[path.index(callee) :], callee])
                message = f"`{callee}` calls itself: {cycle}"
                diagnostics.error(message, functions[callee].span, help="functions cannot recurse")
                heights.setdefault(callee, 0)
            elif callee in calls and callee not in heights:
                stack.append((callee, iter(sorted(calls[callee]))))
                path.append(callee)
                inside.add(callee)
        if heights.get(start, 0) > DEEPEST_CALLS:
            message = f"`{start}` calls more than {DEEPEST_CALLS} functions deep"
            diagnostics.error(message, functions[start].span)


def check_expansion(scopes: Iterable[Mapping[str, TypedFunction]], diagnostics: Diagnostics) -> None:
    """Report functions that become too large once all calls are written out."""
    for functions in scopes:
        sizes: dict[str, int] = {}
        for name, function in functions.items():
            if _whole(name, functions, sizes) > LARGEST_BODY:
                message = f"`{name}` has more than {LARGEST_BODY} operations with all its calls written out"
                diagnostics.error(message, function.span)


def _whole(name: str, functions: Mapping[str, TypedFunction], sizes: dict[str, int]) -> int:
    if name not in sizes:
        function = functions[name]
        parts = [*(let.value for let in function.lets), function.value]
        sizes[name] = sum(_size(part, functions, sizes) for part in parts)
    return sizes[name]


def _size(typed: TypedExpr, functions: Mapping[str, TypedFunction], sizes: dict[str, int]) -> int:
    own = _whole(str(typed.attributes["function"]), functions, sizes) if typed.op == "call" else 1
    return own + sum(_size(arg, functions, sizes) for arg in typed.args)
