"""Sizes: expressions -> Dim, and the inference of generics from shapes.

`dim_of` turns `H * E` into a polynomial. `Unifier` matches the parameter types of a callee with the types of
the arguments and finds what each generic stands for: a size that stands in one product or sum with known
sizes is solved for (`H * E` against `D` with H known gives D / H where that is exact).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lumen_core.dsl import ast
from lumen_core.dsl.printer import print_expression
from lumen_core.dsl.typed import Substitution, pack_name
from lumen_core.types import Dim, TensorType

MOST_TERMS = 64
HIGHEST_DEGREE = 32
LARGEST_SIZE = 2**62

Complain = Callable[[str, ast.Node], None]


def dim_of(
    expression: ast.Expression | ast.Pack,
    names: Mapping[str, Dim],
    complain: Complain,
    quotients: dict[str, ast.Expression] | None = None,
) -> Dim | None:
    """Return the size that an expression says, or None after a complaint.

    names      the sizes in scope
    quotients  where a division that is not exact is noted as a size of its own; None: an error
    """
    match expression:
        case ast.Number(value) if isinstance(value, int):
            return Dim.of(value)
        case ast.Name(name):
            if name not in names:
                complain(f"unknown size `{name}`", expression)
            return names.get(name)
        case ast.Binary(operator, left, right) if operator in {"+", "-", "*", "/"}:
            a, b = dim_of(left, names, complain, quotients), dim_of(right, names, complain, quotients)
            if a is None or b is None:
                return None
            if operator == "/":
                exact = a.divided(b) if b.terms else None
                if exact is not None:
                    return exact
                if quotients is None or not b.terms:
                    complain(f"{a} is not a multiple of {b}" if b.terms else "division by zero", expression)
                    return None
                plain = str(a).isidentifier() and (b.value is not None or str(b).isidentifier())
                name = f"{a}/{b}" if plain else f"({a})/({b})"
                quotients[name] = expression
                return Dim.of(name)
            dim = a + b if operator == "+" else a - b if operator == "-" else a * b
            if is_too_large(dim):
                complain("this size is too long to follow", expression)
                return None
            return dim
        case ast.Pack(name):
            complain(f"the pack `*{name}` may only stand first in a shape", expression)
            return None
    complain(f"`{print_expression(expression)}` is not a size", expression)
    return None


def is_too_large(dim: Dim) -> bool:
    """Tell whether a polynomial is beyond what anybody writes: hostile texts let it grow without end."""
    longest = max((len(names) for names, _ in dim.terms), default=0)
    largest = max((abs(count) for _, count in dim.terms), default=0)
    return len(dim.terms) > MOST_TERMS or longest > HIGHEST_DEGREE or largest > LARGEST_SIZE


def unknown(name: str) -> str:
    """Return the symbol of a callee's generic while it is not solved; no text can spell it."""
    return "?" + name


@dataclass
class Unifier:
    """What is known of the generics of one call so far; `origins` says which argument told it."""

    generics: Mapping[str, str]
    sizes: dict[str, Dim] = field(default_factory=dict)
    packs: dict[str, tuple[Dim, ...]] = field(default_factory=dict)
    formats: dict[str, str] = field(default_factory=dict)
    origins: dict[str, str] = field(default_factory=dict)
    _later: list[tuple[Dim, Dim, str]] = field(default_factory=list)

    def element(self, pattern: str, actual: str, parameter: str) -> str | None:
        """Match an element type; return what is wrong, or None."""
        if self.generics.get(pattern) == "format":
            known = self.formats.setdefault(pattern, actual)
            self.origins.setdefault(pattern, parameter)
            if known == actual:
                return None
            return f"`{pattern}` is {known} in `{self.origins[pattern]}` but {actual} in `{parameter}`"
        if pattern.endswith(">") and actual.endswith(">"):
            outer, inner = pattern[:-1].split("<", 1)
            actual_outer, actual_inner = actual[:-1].split("<", 1)
            if outer == actual_outer:
                return self.element(inner, actual_inner, parameter)
        return None if pattern == actual else f"`{parameter}` must be {pattern}, found {actual}"

    def shape(self, pattern: tuple[Dim, ...], actual: tuple[Dim, ...], parameter: str) -> str | None:
        """Match a shape; return what is wrong, or None."""
        pack = pack_name(pattern[0]) if pattern else None
        rest = pattern[1:] if pack else pattern
        leading = len(actual) - len(rest)
        if leading < 0 or (leading > 0 and not pack):
            wanted = f"{'at least ' if pack else ''}{len(rest)} dimension{'' if len(rest) == 1 else 's'}"
            return f"`{parameter}` must have {wanted}, found {len(actual)}"
        if pack:
            found = actual[:leading]
            known = self.packs.setdefault(pack, found)
            self.origins.setdefault("*" + pack, parameter)
            if known != found:
                origin = self.origins["*" + pack]
                return f"`*{pack}` is {_shape(known)} in `{origin}` but {_shape(found)} in `{parameter}`"
        for size, given in zip(rest, actual[leading:], strict=True):
            if pack_name(given):
                return f"`{parameter}` needs one size where {given} stands for any number of them"
            problem = self.size(size, given, parameter)
            if problem:
                return problem
        return None

    def size(self, pattern: Dim, actual: Dim, parameter: str) -> str | None:
        """Match one size; what cannot be solved yet is kept for `finish`."""
        symbols = {unknown(name): dim for name, dim in self.sizes.items()}
        open_names = {name: Dim.of(unknown(name)) for name, kind in self.generics.items() if kind == "size"}
        asked = pattern.substitute(open_names).substitute(symbols)
        missing = sorted(symbol for symbol in asked.symbols if symbol.startswith("?"))
        if not missing:
            if asked == actual:
                return None
            name = str(pattern)
            if name in self.origins:
                return f"`{name}` is {asked} in `{self.origins[name]}` but {actual} in `{parameter}`"
            spelled = f"`{pattern}`" + ("" if str(asked) == name else f", here {asked},")
            return f"`{parameter}` must have the size {spelled}" + f" but has {actual}"
        if len(missing) > 1:
            self._later.append((pattern, actual, parameter))
            return None
        solved = _solve(asked, missing[0], actual)
        if solved is None:
            if any(names.count(missing[0]) > 1 for names, _ in asked.terms):
                return f"cannot tell the size `{missing[0][1:]}` from `{pattern}` = {actual} in `{parameter}`"
            if len(asked.terms) == 1:
                factor = asked.substitute({missing[0]: 1})
                return f"`{parameter}` has the size {actual}, which is no multiple of {factor}"
            return f"`{parameter}` has the size {actual}, which `{pattern}` cannot be"
        self.sizes[missing[0][1:]] = solved
        self.origins.setdefault(missing[0][1:], parameter)
        return None

    def finish(self) -> str | None:
        """Solve what was kept for later, in as many rounds as help."""
        while self._later:
            pending, self._later = self._later, []
            for pattern, actual, parameter in pending:
                problem = self.size(pattern, actual, parameter)
                if problem:
                    return problem
            if len(self._later) == len(pending):
                pattern, actual, parameter = pending[0]
                return f"cannot tell the sizes of `{pattern}` = {actual} in `{parameter}` apart"
        return None

    def substitution(self) -> Substitution:
        return Substitution(dict(self.sizes), dict(self.packs), dict(self.formats))


def _solve(asked: Dim, symbol: str, actual: Dim) -> Dim | None:
    """Return what `symbol` must be for asked == actual, if it stands in one term, to the first power."""
    inside = [(names, count) for names, count in asked.terms if symbol in names]
    if len(inside) != 1 or inside[0][0].count(symbol) != 1:
        return None
    names, count = inside[0]
    factor = Dim(((tuple(name for name in names if name != symbol), count),))
    rest = Dim(tuple(term for term in asked.terms if symbol not in term[0]))
    return (actual - rest).divided(factor)


def _shape(shape: tuple[Dim, ...]) -> str:
    return f"[{', '.join(map(str, shape))}]"


def broadcast(left: TensorType, right: TensorType) -> tuple[Dim, ...] | None:
    """Return numpy's common shape of two types, or None. A pack equals only itself."""
    short, long = sorted((left.shape, right.shape), key=len)
    if any(pack_name(dim) for dim in short) and len(long) > len(short):
        return None  # what stands left of a pack could fall on any place
    offset = len(long) - len(short)
    result = list(long)
    for place, dim in enumerate(short):
        other = long[offset + place]
        if dim == other or (dim.value == 1 and not pack_name(other)):
            continue
        if other.value != 1 or pack_name(dim):
            return None
        result[offset + place] = dim
    return tuple(result)
