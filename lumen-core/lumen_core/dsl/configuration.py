"""A model's settings for one file: TypedModel + metadata look-up -> numbers for every size and scalar."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lumen_core.dsl import ast
from lumen_core.dsl.printer import print_expression
from lumen_core.dsl.typed import TypedModel
from lumen_core.errors import ModelError

LARGEST = 2**40

Number = int | float
_OPERATORS: Mapping[str, Callable[[Number, Number], Number]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "**": operator.pow,
}  # fmt: skip


@dataclass(frozen=True)
class Configuration:
    """sizes: config sizes and quotients such as `R/2`, but not `T` and `P`; scalars: the other settings."""

    sizes: Mapping[str, int]
    scalars: Mapping[str, Number]


def configure(model: TypedModel, lookup: Callable[[str], object]) -> Configuration:
    """Return the numbers of a file; raises ModelError naming the setting that is missing or wrong.

    lookup  gives the value of a metadata key below "<architecture>.", or None
    """
    sizes: dict[str, int] = {}
    scalars: dict[str, Number] = {}
    for entry in model.config:
        found = lookup(entry.key) if entry.key is not None else None
        known = {**sizes, **scalars}
        if found is None and entry.default is None:
            raise ModelError(f"model {model.name}: the file has no metadata key `{entry.key}`")
        if found is None:
            assert entry.default is not None
            what = f"model {model.name}: `{entry.name}`"
            found = _evaluate(entry.default, known, what, exact=entry.type != "f32")
        key = f" (metadata key `{entry.key}`)" if entry.key else ""
        what = f"model {model.name}: `{entry.name}`{key}"
        if entry.type == "size":
            sizes[entry.name] = _size(found, what)
        else:
            scalars[entry.name] = _scalar(found, what, whole=entry.type == "i32")
    for name, expression in model.quotients.items():
        what = f"model {model.name}: {print_expression(expression)}"
        sizes[name] = _size(_evaluate(expression, dict(sizes), what, exact=True), what)
    return Configuration(sizes, scalars)


def _size(value: object, what: str) -> int:
    try:
        whole = -1 if isinstance(value, bool) else operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        raise ModelError(f"{what} must be one whole number, found {_shown(value)}") from None
    if not 1 <= whole <= LARGEST:
        raise ModelError(f"{what} must be between 1 and {LARGEST}, found {_shown(value)}")
    return whole


def _scalar(value: object, what: str, whole: bool) -> Number:
    try:
        number = operator.index(value) if whole else float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        raise ModelError(f"{what} must be one number, found {_shown(value)}") from None
    if not math.isfinite(number):
        raise ModelError(f"{what} must be finite, found {_shown(value)}")
    return number


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _evaluate(node: ast.Expression, known: Mapping[str, Number], what: str, exact: bool) -> Number:
    """Compute a default; `exact`: a division must leave no remainder."""
    match node:
        case ast.Number(value):
            return value
        case ast.Name(name) if name in known:
            return known[name]
        case ast.Unary("-", operand):
            return -_evaluate(operand, known, what, exact)
        case ast.Binary(sign, left, right) if sign in _OPERATORS:
            a, b = _evaluate(left, known, what, exact), _evaluate(right, known, what, exact)
            try:
                result = _OPERATORS[sign](float(a) if sign == "**" else a, b)
            except (ZeroDivisionError, OverflowError):
                raise ModelError(f"{what}: cannot compute {a} {sign} {b}") from None
            if isinstance(result, complex):
                raise ModelError(f"{what}: cannot compute {a} {sign} {b}")
            if exact and result != int(result):
                raise ModelError(f"{what}: {a} is not a multiple of {b}")
            return int(result) if exact else result
    raise ModelError(f"{what}: cannot compute {print_expression(node)}")
