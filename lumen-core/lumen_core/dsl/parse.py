"""Text of a `.lum` file -> syntax tree.

In: a Source. Out: an ast.Module, or one SourceError with every finding.

    module   = (format | table | function | model | part)*
    format   = "format" NAME ["[" NAME,* "]"] ":" "block" size "{" (field | let | "value" "=" expression)* "}"
    table    = "table" NAME ":" NAME "[" INT ["," INT] "]"
    field    = NAME ":" NAME ["<" size ">"] ["[" size "]"] ["per" "row" | origin] ["else" expression]
    origin   = "from" NAME "[" expression,* "]"
    size     = INT | NAME
    function = "fn" NAME ["[" generic,* "]"] "(" (NAME ":" type),* ")" "->" results "{" let* expression "}"
    results  = type | "(" type,+ ")"
    model    = "model" NAME ["like" NAME] ["with" NAME ("," NAME)*] "{" (section | function)* "}"
    part     = "part" NAME "{" (section | function)* "}"
    section  = config | weights | cache | unused | without
    config   = "config" "{" (NAME ":" NAME ["[" "L" "]"] ["=" key] ["else" expression])* "}"
    key      = NAME ("." NAME)* ["in" INT ("," INT)*]
    weights  = ("weights" | "layer") "{" (NAME ":" type ["=" STRING] ["if" NAME] ["else" NAME])* "}"
    cache    = "cache" "{" (NAME ":" type)* "}"
    unused   = "unused" "{" STRING* "}"
    without  = "without" "{" NAME* "}"
    let      = "let" (NAME | "(" NAME,+ ")") "=" expression
    generic  = NAME | "*" NAME
    type     = NAME ["<" NAME ">"] ["[" (expression | "*" NAME),* "]"]

This file holds the items; `cursor.py` the tokens, the recovery after an error and the operands; `pratt.py`
the operators.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from lumen_core.dsl import ast
from lumen_core.dsl.cursor import Abandon, Cursor
from lumen_core.dsl.lexer import lex
from lumen_core.dsl.pratt import parse_expression
from lumen_core.source import Diagnostics, Source

_SECTIONS = ("config", "weights", "layer", "cache", "unused", "without")


def parse(source: Source) -> ast.Module:
    """Return the tree of a whole file; raises SourceError with all findings."""
    diagnostics = Diagnostics()
    module, _ = parse_sound(source, diagnostics)
    diagnostics.raise_if_any()
    return module


def parse_sound(source: Source, diagnostics: Diagnostics) -> tuple[ast.Module, frozenset[str]]:
    """Return the items without a syntax error, and the names of those with one.

    Errors go to `diagnostics`, which alone raises (after too many).
    """
    cursor = Cursor(lex(source, diagnostics), diagnostics)
    items: list[ast.Item] = []
    broken: set[str] = set()
    start = cursor.token.span
    while cursor.token.kind != "end":
        name, failures = cursor.peek().text, cursor.failures
        try:
            item = _item(cursor)
        except Abandon:
            cursor.skip_to_item()
        else:
            items += [item] if cursor.failures == failures else []
        if cursor.failures > failures:
            broken.add(name)
    tables = tuple(item for item in items if isinstance(item, ast.Table))
    items = [replace(item, tables=tables) if isinstance(item, ast.Format) else item for item in items]
    return ast.Module(tuple(items), span=start.to(cursor.token.span)), frozenset(broken)


def _item(cursor: Cursor) -> ast.Item:
    parsers: dict[str, Callable[[Cursor], ast.Item]] = {"format": _format, "fn": _function, "model": _model}
    if cursor.token.kind == "name" and cursor.token.text == "table":  # elsewhere a name like others
        return _table(cursor)
    if cursor.token.kind == "name" and cursor.token.text == "part":
        return _model(cursor, partial=True)
    parser = parsers.get(cursor.token.text) if cursor.token.kind == "keyword" else None
    if parser is None:
        cursor.fail(f"expected `format`, `fn`, `model` or `part`, found {cursor.token}")
    return parser(cursor)


# Formats


def _table(cursor: Cursor) -> ast.Table:
    doc, start = cursor.doc(), cursor.advance().span
    name = cursor.name("the table's name")
    cursor.expect(":", "after the table's name", help=f"write `table {name.text}: i8[16]`")
    dtype = cursor.name("the table's element type")
    sizes = cursor.listed("[", "]", lambda: cursor.integer("a size of the table"), "and the table's sizes")
    if len(sizes) not in (1, 2):
        cursor.complain("a table has one or two sizes", name, help=f"write `table {name.text}: i8[256, 8]`")
    return ast.Table(name.text, dtype.text, tuple(sizes), doc, span=start.to(cursor.previous.span))


def _format(cursor: Cursor) -> ast.Format:
    doc, start = cursor.doc(), cursor.advance().span
    name = cursor.name("the format's name")
    generics: list[str] = []
    if cursor.token.text == "[":
        generics = cursor.listed("[", "]", lambda: cursor.name("a generic name").text)
    cursor.expect(":", "after the format's name", help=f"write `format {name.text} : block 32 {{`")
    cursor.word("block", "the block's length")
    block = _count(cursor, "the number of elements of a block")
    fields: list[ast.Field] = []
    lets: list[ast.Let] = []
    values: list[ast.Expression] = []

    def entry() -> None:
        if cursor.token.text == "let":
            lets.append(_let(cursor))
        elif cursor.token.text == "value" and cursor.peek().text == "=":
            word = cursor.advance()
            cursor.advance()
            if values:
                cursor.complain("this format already has a value", word)
            values.append(parse_expression(cursor))
            cursor.end_of_statement()
        else:
            fields.append(_field(cursor))

    failures = cursor.failures
    end = cursor.braces(entry, f"the format `{name.text}`")
    if not values and cursor.failures == failures:
        help = "end it with `value = ...`, its elements"
        cursor.complain(f"format `{name.text}` has no value", name, help)
    value = values[0] if values else ast.Number(0, span=name.span)
    entries = (tuple(fields), tuple(lets), value)
    return ast.Format(name.text, block, *entries, doc, tuple(generics), span=start.to(end.span))


def _field(cursor: Cursor) -> ast.Field:
    name = cursor.name("a field, `let` or `value`")
    cursor.expect(":", f"after the field `{name.text}`", help=f"write `{name.text}: u8[16]`")
    element = cursor.name("the field's element type")
    dtype, count, row, origin, otherwise = element.text, None, False, None, None
    if cursor.token.text == "<":
        cursor.advance()
        dtype = f"{dtype}<{_count(cursor, 'the number of bits')}>"
        cursor.expect(">", "after the number of bits")
    if cursor.token.text == "[":
        cursor.advance()
        count = _count(cursor, "the number of elements")
        cursor.expect("]", "after the number of elements")
    begins_field = cursor.peek().text == ":"
    if cursor.token.text == "per" and not begins_field:
        cursor.advance()
        cursor.word("row", "the scope of the field")
        row = True
    elif cursor.token.text == "from" and not begins_field:
        origin = _origin(cursor)
    if cursor.token.text == "else":
        cursor.advance()
        otherwise = parse_expression(cursor)
    span = name.span.to(cursor.previous.span)
    return ast.Field(name.text, dtype, count, row, origin, otherwise, span=span)


def _count(cursor: Cursor, what: str) -> ast.Size:
    return cursor.advance().text if cursor.token.kind == "name" else cursor.integer(what)


def _origin(cursor: Cursor) -> ast.Origin:
    start = cursor.advance().span
    tensor = cursor.name("the name of a tensor beside the weight's")
    axes = cursor.listed("[", "]", lambda: parse_expression(cursor), "and how many of its elements there are")
    return ast.Origin(tensor.text, tuple(axes), span=start.to(cursor.previous.span))


# Functions


def _let(cursor: Cursor) -> ast.Let:
    start = cursor.advance().span
    if cursor.token.text == "(":
        names = tuple(token.text for token in cursor.listed("(", ")", lambda: cursor.name("a name")))
    else:
        names = (cursor.name("a name after `let`").text,)
    cursor.expect("=", "after the name")
    value = parse_expression(cursor)
    cursor.end_of_statement()
    return ast.Let(names, value, span=start.to(value.span))


def _function(cursor: Cursor) -> ast.Function:
    doc, start = cursor.doc(), cursor.advance().span
    name = cursor.name("the function's name")
    generics = tuple(cursor.listed("[", "]", lambda: _generic(cursor))) if cursor.token.text == "[" else ()
    parameters = tuple(cursor.listed("(", ")", lambda: _parameter(cursor), "after the function's name"))
    cursor.expect("->", "and the type of the result")
    if cursor.token.text == "(":
        results = tuple(cursor.listed("(", ")", lambda: _type(cursor)))
    else:
        results = (_type(cursor),)
    lets: list[ast.Let] = []
    values: list[ast.Expression] = []

    def entry() -> None:
        if values:
            help = "every line before the last one starts with `let`"
            cursor.complain("the value of a function is its last line", cursor.before(values[0]), help=help)
            values.clear()
        if cursor.token.text == "let":
            lets.append(_let(cursor))
        else:
            values.append(parse_expression(cursor))
            cursor.end_of_statement()

    failures = cursor.failures
    end = cursor.braces(entry, f"the body of `{name.text}`")
    if not values and cursor.failures == failures:
        cursor.complain(f"the body of `{name.text}` has no value", end, help="end it with an expression")
    value = values[0] if values else ast.Number(0, span=end.span)
    signature = (name.text, generics, parameters, results)
    return ast.Function(*signature, tuple(lets), value, doc, span=start.to(end.span))


def _generic(cursor: Cursor) -> ast.Generic:
    star = cursor.advance() if cursor.token.text == "*" else None
    name = cursor.name("a generic name")
    return ast.Generic(name.text, star is not None, span=(star or name).span.to(name.span))


def _parameter(cursor: Cursor) -> ast.Parameter:
    name = cursor.name("a parameter")
    cursor.expect(":", f"after the parameter `{name.text}`", help=f"write `{name.text}: f32[T, D]`")
    type = _type(cursor)
    return ast.Parameter(name.text, type, span=name.span.to(type.span))


def _type(cursor: Cursor) -> ast.TypeExpr:
    element = cursor.name("an element type")
    text, span = element.text, element.span
    if cursor.token.text == "<":
        cursor.advance()
        text = f"{text}<{cursor.name('a format').text}>"
        span = span.to(cursor.expect(">", "after the format").span)
    if cursor.token.text != "[" or cursor.token.opens_line:
        return ast.TypeExpr(text, None, span=span)
    shape = tuple(cursor.listed("[", "]", lambda: _size(cursor)))
    return ast.TypeExpr(text, shape, span=span.to(cursor.previous.span))


def _size(cursor: Cursor) -> ast.Expression | ast.Pack:
    if cursor.token.text != "*":
        return parse_expression(cursor)
    star = cursor.advance()
    name = cursor.name("the pack's name after `*`")
    return ast.Pack(name.text, span=star.span.to(name.span))


# Models


def _model(cursor: Cursor, partial: bool = False) -> ast.Model:
    doc, start = cursor.doc(), cursor.advance().span
    what = "part" if partial else "model"
    name = cursor.name(f"the {what}'s name")
    base: str | None = None
    shared: list[str] = []
    if cursor.token.text == "like" and not partial:
        cursor.advance()
        base = cursor.name("the model that this one is like").text
    if cursor.token.text == "with" and not partial:
        while not shared or cursor.token.text == ",":
            cursor.advance()
            shared.append(cursor.name("a part that this model has").text)
    sections: dict[str, list] = {section: [] for section in _SECTIONS}
    seen: set[str] = set()
    functions: list[ast.Function] = []
    parsers: dict[str, Callable[[Cursor], object]] = {
        "config": _config, "weights": _weight, "layer": _weight, "cache": _cache,
        "unused": _pattern, "without": _removed,
    }  # fmt: skip

    def entry() -> None:
        word = cursor.token
        if word.text == "fn":
            functions.append(_function(cursor))
            return
        if word.text not in parsers:
            sections_listed = ", ".join(f"`{section}`" for section in _SECTIONS)
            cursor.fail(f"expected {sections_listed} or `fn`, found {word}")
        cursor.advance()
        if word.text in seen:
            cursor.complain(f"this {what} already has a section `{word.text}`", word)
        seen.add(word.text)
        section, parser = sections[word.text], parsers[word.text]
        cursor.braces(lambda: section.append(parser(cursor)), f"the section `{word.text}`")

    end = cursor.braces(entry, f"the {what} `{name.text}`", nested=True)
    config, weights, layer, cache, unused, without = (tuple(sections[section]) for section in _SECTIONS)
    entries = (config, weights, layer, cache, tuple(functions))
    changes = (unused, base, without, tuple(shared), partial)
    return ast.Model(name.text, *entries, doc, *changes, span=start.to(end.span))


def _config(cursor: Cursor) -> ast.Config:
    name = cursor.name("the name of a setting")
    cursor.expect(":", f"after `{name.text}`", help=f"write `{name.text}: size = embedding_length`")
    type = cursor.name("`size` or an element type")
    layered = cursor.token.text == "[" and not cursor.token.opens_line
    if layered:
        cursor.advance()
        if cursor.token.text != "L":
            cursor.fail(f"expected `L`, the number of layers, found {cursor.token}")
        cursor.advance()
        cursor.expect("]", "after `L`")
    key, default = None, None
    allowed: list[int] = []
    if cursor.token.text == "=":
        cursor.advance()
        cursor.same_line("a metadata key")
        parts = [cursor.name("a metadata key").text]
        while cursor.token.text == ".":
            cursor.advance()
            cursor.same_line("the next part of the metadata key")
            parts.append(cursor.name("the next part of the metadata key").text)
        key = ".".join(parts)
        if cursor.token.text == "in" and not cursor.token.opens_line:
            while not allowed or cursor.token.text == ",":
                cursor.advance()
                allowed.append(cursor.integer("a number that the setting may be"))
    if cursor.token.text == "else":
        cursor.advance()
        default = parse_expression(cursor)
    cursor.end_of_statement()
    span = name.span.to(cursor.previous.span)
    return ast.Config(name.text, type.text, key, default, layered, tuple(allowed), span=span)


def _weight(cursor: Cursor) -> ast.Weight:
    name = cursor.name("the name of a weight")
    cursor.expect(":", f"after `{name.text}`", help=f"write `{name.text}: weight[N, K]`")
    type = _type(cursor)
    tensor, otherwise, condition = None, None, None
    if cursor.token.text == "=":
        cursor.advance()
        if cursor.token.kind != "string":
            cursor.fail(f"expected the tensor's name as a string, found {cursor.token}")
        tensor = cursor.advance().text
    if cursor.token.text == "if" and not cursor.token.opens_line:
        cursor.advance()
        condition = cursor.name("a setting per layer").text
    if cursor.token.text == "else":
        cursor.advance()
        otherwise = cursor.name("another weight or `ones`").text
    cursor.end_of_statement()
    span = name.span.to(cursor.previous.span)
    return ast.Weight(name.text, type, tensor, otherwise, condition, span=span)


def _cache(cursor: Cursor) -> ast.Cache:
    name = cursor.name("the name of a cache")
    cursor.expect(":", f"after `{name.text}`", help=f"write `{name.text}: f16[G, E]`")
    type = _type(cursor)
    return ast.Cache(name.text, type, span=name.span.to(type.span))


def _pattern(cursor: Cursor) -> str:
    if cursor.token.kind != "string":
        cursor.fail(f"expected a tensor's name as a string, found {cursor.token}")
    return cursor.advance().text


def _removed(cursor: Cursor) -> str:
    return cursor.name("a name of the model that this one is like").text
