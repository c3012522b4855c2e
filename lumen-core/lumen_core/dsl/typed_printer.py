"""Typed tree -> text: one line per operation, each with its type, for a person to read.

fn rms_norm[*B, D](x: f32[*B, D], weight: f32[D], eps: f32) -> f32[*B, D] {
    %0 = mul x, x : f32[*B, D]
    ...
    return %5
}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lumen_core.dsl import ast
from lumen_core.dsl.printer import print_expression, print_item
from lumen_core.dsl.scope import describe
from lumen_core.dsl.typed import (
    Substitution,
    TypedExpr,
    TypedFunction,
    TypedLet,
    TypedModel,
    TypedModule,
    TypedWeight,
)
from lumen_core.types import Dim, TensorType


def print_typed(module: TypedModule) -> str:
    """Return the module's own items; the standard library's functions are left out."""
    parts = [print_item(format) for format in module.formats.values()]
    own = [function for name, function in module.functions.items() if name in module.own]
    parts += [print_typed_function(function) for function in own]
    parts += [_model(model) for model in module.models.values()]
    return "\n\n".join(parts) + "\n" if parts else ""


def print_typed_function(function: TypedFunction, indent: str = "") -> str:
    marks = {"pack": "*{}", "size": "{}", "format": "{}: format"}
    parameters = ", ".join(f"{name}: {describe(type)}" for name, type in function.parameters)
    own = [(name, kind) for name, kind in function.generics.items() if name not in dict(function.parameters)]
    generics = ", ".join(marks[kind].format(name) for name, kind in own)
    name = f"{function.name}[{generics}]" if generics else function.name
    head = f"fn {name}({parameters}) -> {_types(function.results)} {{"
    lines = _Lines()
    for let in function.lets:
        lines.let(let)
    if function.value.op == "tuple":
        values = ", ".join(lines.operand(arg) for arg in function.value.args)
    else:
        values = lines.operand(function.value)
    body = [*lines.lines, f"return {values}"]
    return "\n".join([indent + head, *(f"{indent}    {line}" for line in body), indent + "}"])


def _types(types: Iterable[TensorType]) -> str:
    texts = [describe(type) for type in types]
    return texts[0] if len(texts) == 1 else f"({', '.join(texts)})"


class _Lines:
    """Names for results, in the order of evaluation."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self._count = 0

    def operand(self, typed: TypedExpr) -> str:
        """Return what stands for a value as an operand, after writing the lines that compute it."""
        match typed.op:
            case "constant":
                return f"{typed.attributes['value']}:{typed.type.element}"
            case "size":
                return f"({typed.attributes['dim']}):{typed.type.element}"
            case "config" | "weight" | "cache":
                return f"{typed.op}.{typed.attributes['name']}"
            case "local":
                return str(typed.attributes["name"])
        text = self._operation(typed)
        name = f"%{self._count}"
        self._count += 1
        self.lines.append(f"{name} = {text}")
        return name

    def let(self, let: TypedLet) -> None:
        leaf = let.value.op in {"constant", "size", "config", "weight", "cache", "local"}
        if leaf:
            text = f"{self.operand(let.value)} : {_types(let.value.types)}"
        else:
            text = self._operation(let.value)
        self.lines.append(f"{', '.join(let.names)} = {text}")

    def _operation(self, typed: TypedExpr) -> str:
        operands = ", ".join(self.operand(arg) for arg in typed.args)
        name = f"call {typed.attributes['function']}" if typed.op == "call" else typed.op
        hidden = {"function", "substitution"}
        attributes = {key: value for key, value in typed.attributes.items() if key not in hidden}
        found = typed.attributes.get("substitution")
        generics = _substitution(found) if isinstance(found, Substitution) else ""
        return f"{name}{generics} {operands}{_attributes(attributes)} : {_types(typed.types)}"


def _substitution(substitution: Substitution) -> str:
    parts = {name: str(dim) for name, dim in substitution.sizes.items()}
    parts |= {f"*{name}": f"[{', '.join(map(str, dims))}]" for name, dims in substitution.packs.items()}
    parts |= dict(substitution.formats)
    listed = ", ".join(f"{name} = {parts[name]}" for name in sorted(parts))
    return f"[{listed}]" if listed else ""


def _attributes(attributes: Mapping[str, object]) -> str:
    if not attributes:
        return ""
    parts = [f"{name} = {_attribute(value)}" for name, value in attributes.items()]
    return f" {{{', '.join(parts)}}}"


def _attribute(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(str(item) for item in value)}]"
    return str(value) if isinstance(value, Dim) else repr(value) if not isinstance(value, str) else value


def _model(model: TypedModel) -> str:
    quotients = [f"{name}: size = {print_expression(node)}" for name, node in model.quotients.items()]
    sections = {
        "config": [*map(_config, model.config), *quotients],
        "weights": [*map(_weight, model.weights.values())],
        "layer": [*map(_weight, model.layer_weights.values())],
        "cache": [f"{name}: {describe(type)}" for name, type in model.caches.items()],
    }
    lines = [f"model {model.name} {{"]
    for title, entries in sections.items():
        lines += [f"    {title} {{", *(f"        {entry}" for entry in entries), "    }"]
    functions = "\n\n".join(print_typed_function(function, "    ") for function in model.functions.values())
    return "\n".join(lines) + f"\n\n{functions}\n}}"


def _config(entry: ast.Config) -> str:
    key = f' = metadata "{entry.key}"' if entry.key is not None else ""
    key += f" in {', '.join(map(str, entry.allowed))}" if entry.allowed else ""
    default = f" else {print_expression(entry.default)}" if entry.default is not None else ""
    return f"{entry.name}: {entry.type}{'[L]' * entry.layered}{key}{default}"


def _weight(weight: TypedWeight) -> str:
    condition = f" if {weight.condition}" if weight.condition is not None else ""
    otherwise = f" else {weight.otherwise}" if weight.otherwise is not None else ""
    return f'{weight.name}: {describe(weight.type)} = "{weight.tensor}"{condition}{otherwise}'
