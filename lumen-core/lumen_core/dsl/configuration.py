"""A model's settings for one file: TypedModel + metadata look-up -> numbers for every size and scalar."""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from lumen_core.dsl import ast
from lumen_core.dsl.printer import print_expression
from lumen_core.dsl.typed import TypedModel
from lumen_core.errors import ModelError

LARGEST = 2**40
LARGEST_LAYERS = 1000

Number = int | float
_OPERATORS: Mapping[str, Callable[[Number, Number], Number]] = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.truediv, "**": operator.pow,
    "%": operator.mod, "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge, "|": operator.or_, "&": operator.and_,
}  # fmt: skip
OPERATORS = frozenset(_OPERATORS)
SCALING_KEYS = ("type", "factor", "original_context_length", "yarn_attn_factor", "yarn_beta_fast",
                "yarn_beta_slow")  # fmt: skip
LAYER = "layer"  # in the default of a setting per layer: the layer's number


@dataclass(frozen=True)
class Scaling:
    """How a rotation's range is stretched: pairs turn 1 / factor as fast, all or the slow ones.

    original   positions of training: pairs with more than `fast` turns in them keep their speed, those with
               less than `slow` take the new one, between them lies a ramp (YaRN); 0: all pairs are slowed
    magnitude  what cosines and sines are multiplied by
    """

    factor: float = 1.0
    original: float = 0.0
    fast: float = 32.0
    slow: float = 1.0
    magnitude: float = 1.0

    def attributes(self) -> dict[str, float]:
        """The numbers that differ from those of a plain rotation."""
        if self.factor == 1.0 and self.magnitude == 1.0:
            return {}
        numbers = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return numbers if self.original else {"factor": self.factor, "magnitude": self.magnitude}


@dataclass(frozen=True)
class Configuration:
    """sizes: config sizes and quotients such as `R/2`, but not `T` and `P`; scalars: the other settings.

    layers    settings that every layer has its own of (`i1[L]`)
    scalings  settings of the type `scaling`
    """

    sizes: Mapping[str, int]
    scalars: Mapping[str, Number]
    layers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    scalings: Mapping[str, Scaling] = field(default_factory=dict)

    def of_layer(self, layer: int) -> dict[str, int]:
        """The settings of one layer."""
        return {name: values[layer] for name, values in self.layers.items()}


def configure(model: TypedModel, lookup: Callable[[str], object]) -> Configuration:
    """Return the numbers of a file; raises ModelError naming the setting that is missing or wrong.

    lookup  gives the value of a metadata key below "<architecture>.", or None
    """
    sizes: dict[str, int] = {}
    scalars: dict[str, Number] = {}
    layers: dict[str, tuple[int, ...]] = {}
    scalings: dict[str, Scaling] = {}
    for entry in model.config:
        if entry.type == "scaling":
            scalings[entry.name] = _scaling(str(entry.key), lookup, f"model {model.name}")
            continue
        found = lookup(entry.key) if entry.key is not None else None
        known = {**sizes, **scalars}
        if entry.layered:
            layers[entry.name] = _layers(entry, found, known, f"model {model.name}: `{entry.name}`")
            continue
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
        elif entry.type == "i1":
            scalars[entry.name] = _flag(found, what)
        else:
            scalars[entry.name] = number = _scalar(found, what, whole=entry.type == "i32")
            if entry.allowed and number not in entry.allowed:
                few = " or ".join(map(str, entry.allowed))
                raise ModelError(f"{what} is {number}; the page computes only {few}")
    for name, expression in model.quotients.items():
        what = f"model {model.name}: {print_expression(expression)}{_sources(model, expression)}"
        sizes[name] = _size(_evaluate(expression, dict(sizes), what, exact=True), what)
    return Configuration(sizes, scalars, layers, scalings)


def _sources(model: TypedModel, expression: ast.Expression) -> str:
    """Say where the settings come from that an expression names."""
    named = set(re.findall(r"\w+", print_expression(expression)))
    sources = []
    for entry in model.config:
        if entry.name in named and entry.key is not None:
            otherwise = f", or {print_expression(entry.default)}" if entry.default is not None else ""
            sources.append(f"{entry.name}: metadata key `{entry.key}`{otherwise}")
    return f" ({'; '.join(sources)})" if sources else ""


def _layers(entry: ast.Config, found: Any, known: Mapping[str, Number], what: str) -> tuple[int, ...]:
    """Return the flag of every layer: from a list, from one flag for all, or from the default."""
    count = known.get("L")
    if not isinstance(count, int) or count > LARGEST_LAYERS:
        raise ModelError(f"{what} needs the number of layers L before it, at most {LARGEST_LAYERS}")
    if found is None and entry.default is not None:
        values = [_evaluate(entry.default, {**known, LAYER: i}, what, exact=True) for i in range(count)]
    elif found is not None and hasattr(found, "__len__") and not isinstance(found, str):
        found = found.tolist() if hasattr(found, "tolist") else list(found)
        if len(found) < count:
            raise ModelError(
                f"{what} (metadata key `{entry.key}`) has {len(found)} values for {count} layers"
            )
        values = found[:count]
    elif found is not None:
        values = [found] * count
    else:
        raise ModelError(f"{what}: the file has no metadata key `{entry.key}`")
    return tuple(_flag(value, what) for value in values)


def _flag(value: object, what: str) -> int:
    try:
        number = operator.index(value)  # type: ignore[arg-type]
    except TypeError:
        number = -1
    if number not in (0, 1):
        raise ModelError(f"{what} must be true or false, found {_shown(value)}")
    return number


def _scaling(key: str, lookup: Callable[[str], object], what: str) -> Scaling:
    """Read the keys below `key` (`type`, `factor`, `original_context_length`, `yarn_...`)."""

    def number(name: str, default: float) -> float:
        found = lookup(f"{key}.{name}")
        where = f"{what}: the metadata key `{key}.{name}`"
        value = float(_scalar(default if found is None else found, where, whole=False))
        if value <= 0:
            raise ModelError(f"{where} must be above 0, found {value}")
        return value

    kind = lookup(f"{key}.type")
    stretched = lookup(f"{key}.factor") is not None
    if kind is None:
        kind = "linear" if stretched else "none"
    if kind == "none":
        return Scaling()
    if kind == "linear":
        return Scaling(number("factor", 1.0))
    if kind != "yarn":
        raise ModelError(f"{what}: rotary positions are scaled in the way {_shown(kind)}, which is unknown")
    factor = number("factor", 1.0)
    trained = lookup("context_length")
    original = number("original_context_length", float(trained) if isinstance(trained, int) else 1.0)
    magnitude = (0.1 * math.log(factor) + 1.0 if factor > 1 else 1.0) * number("yarn_attn_factor", 1.0)
    return Scaling(factor, original, number("yarn_beta_fast", 32.0), number("yarn_beta_slow", 1.0), magnitude)


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
            except (ZeroDivisionError, OverflowError, TypeError):
                raise ModelError(f"{what}: cannot compute {a} {sign} {b}") from None
            if isinstance(result, complex):
                raise ModelError(f"{what}: cannot compute {a} {sign} {b}")
            if exact and result != int(result):
                raise ModelError(f"{what}: {a} is not a multiple of {b}")
            return int(result) if exact else result
    raise ModelError(f"{what}: cannot compute {print_expression(node)}")
