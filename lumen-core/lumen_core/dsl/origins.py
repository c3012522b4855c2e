"""Where the fields of a format lie: in the block, before a row's blocks, or in a tensor beside the weight's.

In: a field. Out: its scope and, for another tensor, what each axis of that tensor runs over.
"""

from __future__ import annotations

from dataclasses import dataclass

from lumen_core.dsl import ast

GROUP = "group"  # the element type of a field that numbers the group of every column
_HELP = "an axis is N, K, N / 128, K / 128 or 1, or packed(...) of one"


class NoAxis(Exception):
    """An axis that cannot be understood; `node` is its place."""

    def __init__(self, message: str, node: ast.Node, help: str = _HELP):
        super().__init__(message)
        self.node = node
        self.help = help


@dataclass(frozen=True)
class Axis:
    """One axis of a tensor.

    dimension  "N" or "K" of the weight, or "" for an axis of length 1
    divisor    rows or columns of the weight that share one value
    packed     words hold several values side by side, lowest bits first
    order      of the values of one word, if it is not the natural one: value i of a word is number order[i]
    """

    dimension: str
    divisor: int = 1
    packed: bool = False
    order: tuple[int, ...] = ()


def axes(origin: ast.Origin) -> tuple[Axis, ...]:
    """Return the axes; raises NoAxis."""
    found = tuple(map(_axis, origin.axes))
    for dimension in "NK":
        if sum(axis.dimension == dimension for axis in found) > 1:
            raise NoAxis(f"two axes run over {dimension}", origin)
    if sum(axis.packed for axis in found) > 1:
        raise NoAxis("two axes are packed", origin, "words lie along one of them")
    return found


def _axis(node: ast.Expression) -> Axis:
    match node:
        case ast.Number(value=1):
            return Axis("")
        case ast.Name("N" | "K" as name):
            return Axis(name)
        case ast.Binary("/", ast.Name("N" | "K" as name), ast.Number(int() as divisor)) if divisor > 0:
            return Axis(name, divisor)
        case ast.Call("packed", (inner, *rest), ()) if len(rest) < 2:
            axis, order = _axis(inner), _order(rest[0]) if rest else ()
            if axis.packed or not axis.dimension:
                raise NoAxis("only N or K is packed", node)
            return Axis(axis.dimension, axis.divisor, True, order)
    raise NoAxis("this is no axis of a tensor", node)


def _order(node: ast.Expression) -> tuple[int, ...]:
    items = node.items if isinstance(node, ast.List) else ()
    order = tuple(
        item.value for item in items if isinstance(item, ast.Number) and isinstance(item.value, int)
    )
    if not order or len(order) != len(items) or sorted(order) != list(range(len(order))):
        raise NoAxis("the order of a word's values names each once", node, "write [0, 2, 4, 6, 1, 3, 5, 7]")
    return order


def scope(field: ast.Field) -> str:
    """Return what has a value of the field: "block", "row" or "tensor" (all rows); raises NoAxis."""
    if field.row:
        return "row"
    if field.origin is None:
        return "block"
    found = {axis.dimension for axis in axes(field.origin)}
    return "block" if "K" in found else "row" if "N" in found else "tensor"


def narrow_bits(dtype: str) -> int | None:
    """Bits of an element `uint<4>`; None for another type."""
    if not dtype.startswith("uint<") or not dtype[5:-1].isdecimal():
        return None
    return int(dtype[5:-1]) if len(dtype) < 9 else 0


def in_order(format: ast.Format) -> tuple[ast.Field, ...]:
    """The fields as they lie in a completed block: its own, then those of a wider scope; no groups."""
    fields = [field for field in format.fields if field.dtype != GROUP]
    return tuple(sorted(fields, key=lambda field: scope(field) != "block"))
