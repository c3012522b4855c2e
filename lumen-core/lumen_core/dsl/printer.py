"""Syntax tree -> text of a `.lum` file, so that `parse(print(tree)) == tree`.

Doc comments are kept; other comments are not in the tree and are lost.
"""

from __future__ import annotations

from lumen_core.dsl import ast
from lumen_core.dsl.pratt import COMPARISONS, INFIX, POSTFIX, PREFIX, RIGHT_ASSOCIATIVE

_INDENT = "    "
_BITWISE = frozenset({"|", "^", "&", "<<", ">>"})  # nobody remembers their order: mixed ones get parentheses


def print_module(module: ast.Module) -> str:
    return "\n\n".join(print_item(item) for item in module.items) + "\n" if module.items else ""


def print_item(item: ast.Item) -> str:
    match item:
        case ast.Format():
            return _format(item)
        case ast.Function():
            return _function(item, "")
        case ast.Model():
            return _model(item)
        case ast.Table(name, dtype, shape, doc):
            return f"{_doc(doc, '')}table {name}: {dtype}[{', '.join(map(str, shape))}]"


def _doc(doc: str, indent: str) -> str:
    return "".join(f"{indent}# {line}".rstrip() + "\n" for line in doc.split("\n")) if doc else ""


def _format(item: ast.Format) -> str:
    generics = f"[{', '.join(item.generics)}]" if item.generics else ""
    lines = [f"format {item.name}{generics} : block {item.block} {{"]
    fields = [print_field(field) for field in item.fields]
    if any(field.origin is not None for field in item.fields):
        lines += [_INDENT + field for field in fields]
    elif fields:
        lines.append(_INDENT + "    ".join(fields))
    lines += [_INDENT + print_let(let) for let in item.lets]
    lines += [f"{_INDENT}value = {print_expression(item.value)}", "}"]
    return _doc(item.doc, "") + "\n".join(lines)


def print_field(field: ast.Field) -> str:
    text = f"{field.name}: {field.dtype}" + (f"[{field.count}]" if field.count is not None else "")
    if field.row:
        text += " per row"
    if field.origin is not None:
        text += f" from {field.origin.tensor}[{', '.join(map(print_expression, field.origin.axes))}]"
    return text if field.otherwise is None else f"{text} else {print_expression(field.otherwise)}"


def print_let(let: ast.Let) -> str:
    names = let.names[0] if len(let.names) == 1 else f"({', '.join(let.names)})"
    return f"let {names} = {print_expression(let.value)}"


def _function(item: ast.Function, indent: str) -> str:
    generics = ", ".join(("*" if generic.pack else "") + generic.name for generic in item.generics)
    parameters = ", ".join(f"{parameter.name}: {print_type(parameter.type)}" for parameter in item.parameters)
    results = ", ".join(print_type(result) for result in item.results)
    head = f"fn {item.name}{f'[{generics}]' if generics else ''}({parameters}) -> "
    lines = [head + (results if len(item.results) == 1 else f"({results})") + " {"]
    lines += [_INDENT + print_let(let) for let in item.lets]
    lines += [_INDENT + print_expression(item.value), "}"]
    return _doc(item.doc, indent) + "\n".join(indent + line for line in lines)


def print_type(type: ast.TypeExpr) -> str:
    if type.shape is None:
        return type.element
    sizes = (f"*{size.name}" if isinstance(size, ast.Pack) else print_expression(size) for size in type.shape)
    return f"{type.element}[{', '.join(sizes)}]"


def _model(item: ast.Model) -> str:
    sections = {
        "config": [_config(entry) for entry in item.config],
        "weights": [_weight(entry) for entry in item.weights],
        "layer": [_weight(entry) for entry in item.layer_weights],
        "cache": [f"{entry.name}: {print_type(entry.type)}" for entry in item.caches],
        "unused": [f'"{pattern}"' for pattern in item.unused],
        "without": list(item.without),
    }
    parts = [
        "\n".join([f"{_INDENT}{name} {{", *(2 * _INDENT + line for line in lines), f"{_INDENT}}}"])
        for name, lines in sections.items()
        if lines
    ]
    parts += [_function(function, _INDENT) for function in item.functions]
    body = "\n\n".join(parts) + "\n" if parts else ""
    base = f" like {item.base}" if item.base is not None else ""
    shared = f" with {', '.join(item.parts)}" if item.parts else ""
    word = "part" if item.partial else "model"
    return _doc(item.doc, "") + f"{word} {item.name}{base}{shared} {{\n{body}}}"


def _config(entry: ast.Config) -> str:
    key = f" = {entry.key}" if entry.key is not None else ""
    key += f" in {', '.join(map(str, entry.allowed))}" if entry.allowed else ""
    default = f" else {print_expression(entry.default)}" if entry.default is not None else ""
    return f"{entry.name}: {entry.type}{'[L]' * entry.layered}{key}{default}"


def _weight(entry: ast.Weight) -> str:
    tensor = f' = "{entry.tensor}"' if entry.tensor is not None else ""
    condition = f" if {entry.condition}" if entry.condition is not None else ""
    otherwise = f" else {entry.otherwise}" if entry.otherwise is not None else ""
    return f"{entry.name}: {print_type(entry.type)}{tensor}{condition}{otherwise}"


def print_expression(expression: ast.Expression, power: int = 0) -> str:
    """Return the text of an expression, in parentheses where its operator binds no tighter than `power`."""
    match expression:
        case ast.Number(value):
            return repr(value)
        case ast.Name(name):
            return name
        case ast.Unary(operator, operand):
            text = operator + print_expression(operand, PREFIX[operator] - 1)
            return f"({text})" if PREFIX[operator] <= power else text
        case ast.Binary(operator, left, right):
            binding = INFIX[operator]
            from_right = operator in RIGHT_ASSOCIATIVE
            left_power = binding if from_right or operator in COMPARISONS else binding - 1
            right_power = binding - 1 if from_right else binding
            left_text = print_expression(left, POSTFIX if _unclear(operator, left) else left_power)
            right_text = print_expression(right, POSTFIX if _unclear(operator, right) else right_power)
            text = f"{left_text} {operator} {right_text}"
            return f"({text})" if binding <= power else text
        case ast.Call(function, arguments, keywords):
            parts = [print_expression(argument) for argument in arguments]
            parts += [f"{keyword.name}={print_expression(keyword.value)}" for keyword in keywords]
            return f"{function}({', '.join(parts)})"
        case ast.Index(value, index):
            return f"{print_expression(value, POSTFIX)}[{print_expression(index)}]"
        case ast.Slice(value, start, stop, step):
            bounds = ["" if bound is None else print_expression(bound) for bound in (start, stop)]
            bounds += [print_expression(step)] if step is not None else []
            return f"{print_expression(value, POSTFIX)}[{':'.join(bounds)}]"
        case ast.List(items):
            return f"[{', '.join(map(print_expression, items))}]"
        case ast.Tuple(items):
            return f"({', '.join(map(print_expression, items))})"


def _unclear(operator: str, operand: ast.Expression) -> bool:
    mixed = isinstance(operand, ast.Binary) and operand.operator != operator
    return operator in _BITWISE and mixed
