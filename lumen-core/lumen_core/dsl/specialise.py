"""A family of formats -> one format: numbers and elements for its generics, and which tensors are there.

`gptq_4_128` is the family `gptq[B, G]` with B = 4 and G = 128; `all` stands for groups as long as a row.
A field whose tensor may be missing is part of the format only where `+name` stands behind: `nvfp4+scale`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

from lumen_core.dsl import ast
from lumen_core.dsl.origins import GROUP

ROW_BLOCK = 32  # weights of a block where a group is as long as a row
ALL = "all"
_OPERATORS: dict[str, Callable[[int, int], int]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul,
    "<<": lambda number, places: number << places if 0 <= places < 32 else -1,
}  # fmt: skip


def optional_fields(format: ast.Format) -> tuple[ast.Field, ...]:
    """The fields whose tensor may be missing."""
    return tuple(field for field in format.fields if field.otherwise is not None or field.dtype == GROUP)


def default(format: ast.Format, arguments: Sequence[str], field: ast.Field) -> int | None:
    """What an optional field is where its tensor is missing, if that is a whole number."""
    given = dict(zip(format.generics, arguments, strict=True))
    number = _replaced(field.otherwise, _numbers(given))
    return number.value if isinstance(number, ast.Number) and isinstance(number.value, int) else None


def _numbers(given: Mapping[str, str]) -> dict[str, ast.Expression]:
    return {name: ast.Number(int(value)) for name, value in given.items() if _is_number(value)}


def specialise(format: ast.Format, arguments: Sequence[str] = (), present: Iterable[str] = ()) -> ast.Format:
    """Return the format without generics and without fields that may be missing.

    Args:
        arguments: for each generic a whole number, an element type, or `all`.
        present: names of the optional fields that are there.
    """
    given = dict(zip(format.generics, arguments, strict=True))
    there = [field.name for field in optional_fields(format) if field.name in set(present)]
    numbers = _numbers(given)
    absent: dict[str, ast.Expression] = {}
    kept: list[ast.Field] = []
    for field in format.fields:
        if field in optional_fields(format) and field.name not in there:
            if field.otherwise is not None:
                absent[field.name] = _replaced(field.otherwise, numbers)
            continue
        origin = field.origin
        if origin is not None:
            whole = tuple(_whole_axis(axis, given) for axis in origin.axes)
            origin = replace(origin, axes=_replaced(whole, numbers))
        kept.append(
            replace(
                field,
                dtype=_element(field.dtype, given),
                count=_count(field.count, given),
                origin=origin,
                otherwise=None,
            )
        )
    block = _count(format.block, given)
    assert block is not None
    name = "_".join([format.name, *arguments]) + "".join(f"+{name}" for name in there)
    known = numbers | absent
    lets: list[ast.Let] = []
    for let in format.lets:  # one that is a number now stands for it
        value = _replaced(let.value, known)
        if isinstance(value, ast.Number):
            known[let.names[0]] = value
        else:
            lets.append(replace(let, value=value))
    return replace(
        format,
        name=name,
        block=block,
        fields=tuple(kept),
        lets=tuple(lets),
        value=_replaced(format.value, known),
        generics=(),
    )


def _is_number(text: str) -> bool:
    """Tell whether a text is a whole number of a size that a declaration may have."""
    return text.isascii() and text.isdecimal() and len(text) < 10


def _count(count: ast.Size | None, given: Mapping[str, str]) -> ast.Size | None:
    if not isinstance(count, str):
        return count
    value = given.get(count, count)
    return ROW_BLOCK if value == ALL else int(value) if _is_number(value) else value


def _element(dtype: str, given: Mapping[str, str]) -> str:
    if dtype.startswith("uint<"):
        return f"uint<{given.get(dtype[5:-1], dtype[5:-1])}>"
    return given.get(dtype, dtype)


def _whole_axis(axis: ast.Expression, given: Mapping[str, str]) -> ast.Expression:
    """`K / G` with G = all is one value for the row."""
    if isinstance(axis, ast.Call):
        return replace(axis, arguments=tuple(_whole_axis(argument, given) for argument in axis.arguments))
    divided = isinstance(axis, ast.Binary) and axis.operator == "/" and isinstance(axis.right, ast.Name)
    if divided and given.get(axis.right.name) == ALL:  # type: ignore[union-attr]
        return ast.Number(1, span=axis.span)
    return axis


def _replaced(node: Any, values: Mapping[str, ast.Expression]) -> Any:
    """A tree in which names stand for other expressions."""
    if isinstance(node, ast.Name) and node.name in values:
        return replace(values[node.name], span=node.span)
    if isinstance(node, tuple):
        return tuple(_replaced(item, values) for item in node)
    if not isinstance(node, ast.Node):
        return node
    parts = {f.name: _replaced(getattr(node, f.name), values) for f in fields(node)
             if f.name not in ("span", "name_span")}  # fmt: skip
    return _folded(replace(node, **parts)) if isinstance(node, ast.Binary) else replace(node, **parts)


def _folded(node: ast.Binary) -> ast.Expression:
    """Arithmetic on two whole numbers as its result (a number of the tree is never negative)."""
    match node:
        case ast.Binary("*", _, ast.Number(0) as zero):
            return zero
        case ast.Binary("+" | "-", left, ast.Number(0)):
            return left
        case ast.Binary(symbol, ast.Number(int() as left), ast.Number(int() as right)):
            value = _OPERATORS[symbol](left, right) if symbol in _OPERATORS else -1
            return ast.Number(value, span=node.span) if value >= 0 else node
    return node
