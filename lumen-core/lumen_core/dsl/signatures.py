"""Declared functions as the checker sees them before it looks into any body.

In: an ast.Function. Out: a Signature (kinds of the generics, parameter and result types), with complaints
about unknown element types, generics that no call could infer, and names given twice.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache

from lumen_core.dsl import ast, builtins
from lumen_core.dsl.sizes import dim_of
from lumen_core.source import Diagnostics
from lumen_core.types import SCALARS, Dim, TensorType

SIZE = TensorType("size", ())  # the type of a parameter that is a size
SCALING = "scaling"  # the element type of a setting that says how rotary positions are stretched
MOST_AXES = 8
WRAPPERS = ("unpacked", "activation")


@dataclass(frozen=True)
class Signature:
    """`sizes`: the sizes that the body may name, generics and those of the place of declaration."""

    function: ast.Function
    generics: Mapping[str, str]
    parameters: tuple[tuple[str, TensorType], ...]
    results: tuple[TensorType, ...]
    sizes: Mapping[str, Dim]


def suggestion(name: str, known: Collection[str]) -> str | None:
    """Return a help line with the known name that is nearest to `name`."""
    near = get_close_matches(name, sorted(known), n=1, cutoff=0.6)
    return f"did you mean `{near[0]}`?" if near else None


def resolve_type(
    type: ast.TypeExpr,
    sizes: Mapping[str, Dim],
    packs: Collection[str],
    elements: Collection[str],
    diagnostics: Diagnostics,
    quotients: dict[str, ast.Expression] | None = None,
) -> TensorType | None:
    """Return the type that a text says, or None after a complaint."""
    inner = type.element
    if inner.endswith(">"):
        outer, inner = inner[:-1].split("<", 1)
        if outer not in WRAPPERS:
            help = "there are unpacked<F> and activation<F>"
            diagnostics.error(f"`{outer}<...>` is no element type", type.span, help=help)
            return None
    if inner not in elements:
        known = [*elements, *SCALARS]
        diagnostics.error(f"unknown element type `{inner}`", type.span, help=suggestion(inner, known))
        return None
    shape: list[Dim] = []

    def complain(message: str, node: ast.Node) -> None:
        help = suggestion(node.name, sizes) if isinstance(node, ast.Name) else None
        diagnostics.error(message, node.span, help=help)

    bad = False
    if len(type.shape or ()) > MOST_AXES:
        diagnostics.error(f"a tensor has at most {MOST_AXES} axes", type.span)
        return None
    for place, size in enumerate(type.shape or ()):
        if isinstance(size, ast.Pack) and place == 0 and size.name in packs:
            shape.append(Dim.of("*" + size.name))
            continue
        if isinstance(size, ast.Pack) and place == 0:
            diagnostics.error(f"unknown pack `*{size.name}`", size.span, help="declare it: fn name[*B](...)")
            bad = True
            continue
        dim = dim_of(size, sizes, complain, quotients)
        if dim is not None and dim.value is not None and dim.value < 1:
            diagnostics.error(f"a size must be at least 1, found {dim}", size.span)
            dim = None
        bad = bad or dim is None
        shape.append(dim or Dim.of(1))
    return None if bad else TensorType(type.element, tuple(shape))


def resolve_signature(
    function: ast.Function,
    elements: Collection[str],
    outer_sizes: Mapping[str, Dim],
    diagnostics: Diagnostics,
) -> Signature | None:
    """Return the signature, or None after a complaint."""
    before = len(diagnostics.found)
    types = [parameter.type for parameter in function.parameters]
    as_element = {type.element.rstrip(">").rsplit("<", 1)[-1] for type in [*types, *function.results]}
    generics: dict[str, str] = {}
    for generic in function.generics:
        if generic.name in generics:
            diagnostics.error(f"the generic `{generic.name}` is declared twice", generic.span)
        kind = "pack" if generic.pack else "format" if generic.name in as_element else "size"
        generics[generic.name] = kind
        if generic.name in SCALARS or generic.name in outer_sizes:
            message = f"the generic `{generic.name}` hides another meaning of that name"
            diagnostics.error(message, generic.span)
    sizes = dict(outer_sizes)
    sizes |= {name: Dim.of(name) for name, kind in generics.items() if kind == "size"}
    packs = {name for name, kind in generics.items() if kind == "pack"}
    formats = {name for name, kind in generics.items() if kind == "format"}
    for parameter in function.parameters:
        if parameter.type == ast.TypeExpr("size", None):
            sizes[parameter.name] = Dim.of(parameter.name)
            generics[parameter.name] = "size"
    known = {*SCALARS, *elements, *formats, SCALING}
    parameters: list[tuple[str, TensorType]] = []
    seen: set[str] = set()
    for parameter in function.parameters:
        if parameter.name in seen:
            diagnostics.error(f"the parameter `{parameter.name}` is declared twice", parameter.span)
        seen.add(parameter.name)
        if parameter.type == ast.TypeExpr("size", None):
            parameters.append((parameter.name, SIZE))
            continue
        type = resolve_type(parameter.type, sizes, packs, known, diagnostics)
        if type is not None:
            parameters.append((parameter.name, type))
    results = [resolve_type(r, sizes, packs, known, diagnostics) for r in function.results]
    if len(diagnostics.found) > before:
        return None
    used = {symbol.lstrip("*") for _, type in parameters for dim in type.shape for symbol in dim.symbols}
    used |= {type.element.rstrip(">").rsplit("<", 1)[-1] for _, type in parameters}
    used |= {name for name, type in parameters if type == SIZE}
    for generic in function.generics:
        if generic.name not in used:
            message = f"no parameter says what the generic `{generic.name}` stands for"
            diagnostics.error(message, generic.span, help="remove it, or make it a parameter of type `size`")
    if len(diagnostics.found) > before:
        return None
    return Signature(function, generics, tuple(parameters), tuple(r for r in results if r is not None), sizes)


@cache
def builtin_signatures(name: str) -> tuple[Signature, ...]:
    """Return the resolved signatures of a regular builtin."""
    diagnostics = Diagnostics()
    found = [resolve_signature(f, (), {}, diagnostics) for f in builtins.regular()[name].signatures]
    diagnostics.raise_if_any()
    return tuple(signature for signature in found if signature is not None)
