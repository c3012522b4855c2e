"""Read the text of the tensor IR back into data.

In: a `Source`. Out: a module whose every operation fits its definition. Raises SourceError with a caret
at the first thing that does not.

    module    := function*
    function  := "func" @name "(" (%name ":" type),* ")" "->" "(" type,* ")"
                 "{" operation* "return" %name,* "}"
    operation := (%name,+ "=")? name %name,* ("{" (name "=" attribute),* "}")? region? (":" type,+)?
    region    := "(" %name,* ")" "{" operation* "yield" %name,* "}"
    type      := "tensor" "<" element "," "[" size,* "]" ">"
    element   := name ("<" element ">")?
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Sequence
from typing import NoReturn, TypeVar

from lumen_core.ir.core import Attribute, Block, Function, Module, Operation, RuleError, Value
from lumen_core.ir.lexer import Token, tokens_of
from lumen_core.ir.operations import DEFINITIONS
from lumen_core.ir.operations.values import MOST_AXES, MOST_TERMS
from lumen_core.source import Diagnostics, Source, Span
from lumen_core.types import Dim, TensorType

DEEPEST = 8  # levels of regions, lists and elements; what Lumen prints needs 2
LONGEST_NUMBER = 400  # characters
MOST_FACTORS = 16  # names in one product of a size; products of sums cannot be written

Item = TypeVar("Item")


def parse_module(source: Source | str) -> Module:
    """Return the module that the text describes."""
    parser = _Parser(source if isinstance(source, Source) else Source("<text>", source))
    functions: list[Function] = []
    while parser.token.kind != "end":
        span = parser.token.span
        function = parser.function()
        if any(other.name == function.name for other in functions):
            parser.fail(f"function @{function.name} is defined twice", span)
        functions.append(function)
    return Module(functions)


class _Parser:
    def __init__(self, source: Source):
        self.tokens = tokens_of(source)
        self.place = 0

    # Tokens

    @property
    def token(self) -> Token:
        return self.tokens[self.place]

    def fail(self, message: str, span: Span | None = None) -> NoReturn:
        diagnostics = Diagnostics()
        diagnostics.error(message, span or self.token.span)
        raise diagnostics.exception()

    def at(self, text: str) -> bool:
        return self.token.text == text and self.token.kind in ("mark", "name")

    def take(self, text: str) -> Token:
        if not self.at(text):
            self.fail(f"expected `{text}`, found `{self.token.text}`")
        return self.next()

    def take_kind(self, kind: str, what: str) -> Token:
        if self.token.kind != kind:
            self.fail(f"expected {what}, found `{self.token.text}`")
        return self.next()

    def next(self) -> Token:
        self.place += 1
        return self.tokens[self.place - 1]

    def listed(self, item: Callable[[], Item], end: Callable[[], bool]) -> list[Item]:
        """Read items with commas between them until `end` holds."""
        items: list[Item] = []
        while not end():
            if items:
                self.take(",")
            items.append(item())
        return items

    def enclosed(self, opening: str, item: Callable[[], Item], closing: str) -> list[Item]:
        self.take(opening)
        items = self.listed(item, lambda: self.at(closing))
        self.take(closing)
        return items

    def deeper(self, depth: int) -> int:
        if depth >= DEEPEST:
            self.fail(f"nested more than {DEEPEST} levels deep")
        return depth + 1

    # Grammar

    def function(self) -> Function:
        self.take("func")
        name = self.take_kind("symbol", "a function's @name").text[1:]
        scope: dict[str, Value] = {}
        arguments = self.enclosed("(", lambda: self.argument(scope), ")")
        self.take("->")
        span = self.token.span
        types = self.enclosed("(", self.type, ")")
        block = self.body(arguments, scope, "return", 0)
        found = [value.type for value in block.results]
        if found != types:
            self.fail(f"@{name} declares ({_listed(types)}) but returns ({_listed(found)})", span)
        return Function(name, block)

    def argument(self, scope: dict[str, Value]) -> Value:
        token = self.take_kind("value", "an argument's %name")
        self.take(":")
        return self.define(Value(self.type(), token.text[1:]), token, scope)

    def define(self, value: Value, token: Token, scope: dict[str, Value]) -> Value:
        if token.text in scope:
            self.fail(f"{token.text} is defined twice", token.span)
        scope[token.text] = value
        return value

    def body(self, arguments: Sequence[Value], scope: dict[str, Value], end: str, depth: int) -> Block:
        self.take("{")
        operations: list[Operation] = []
        while not self.at(end):
            operations.append(self.operation(scope, depth))
        self.take(end)
        results = self.listed(lambda: self.value(scope), lambda: self.at("}"))
        self.take("}")
        return Block(arguments, operations, results)

    def value(self, scope: dict[str, Value]) -> Value:
        token = self.take_kind("value", "a %value")
        if token.text not in scope:
            self.fail(f"{token.text} is not defined here", token.span)
        return scope[token.text]

    def operation(self, scope: dict[str, Value], depth: int) -> Operation:
        targets: list[Token] = []
        if self.token.kind == "value":
            targets = self.listed(lambda: self.take_kind("value", "a %result"), lambda: self.at("="))
            self.take("=")
        kind = self.take_kind("name", "an operation")
        if kind.text not in DEFINITIONS:
            self.fail(f"unknown operation `{kind.text}`", kind.span)
        operands: list[Value] = []
        if self.token.kind == "value":
            operands.append(self.value(scope))
        while operands and self.at(","):
            self.take(",")
            operands.append(self.value(scope))
        attributes: dict[str, Attribute] = {}
        if self.at("{"):
            attributes = dict(self.enclosed("{", self.attribute_pair, "}"))
        region = self.region(operands, depth) if self.at("(") else None
        names = [token.text[1:] if not token.text[1:].isdecimal() else "" for token in targets]
        try:
            operation = Operation(DEFINITIONS[kind.text], operands, attributes, region, names)
        except RuleError as error:
            self.fail(str(error), kind.span)
        self.check_results(operation, targets, kind.span)
        for token, value in zip(targets, operation.results, strict=True):
            self.define(value, token, scope)
        return operation

    def check_results(self, operation: Operation, targets: Sequence[Token], span: Span) -> None:
        found = [value.type for value in operation.results]
        if len(found) != len(targets):
            self.fail(f"{operation.name} has {len(found)} results, found {len(targets)} names", span)
        if self.at(":"):
            span = self.next().span
            declared = [self.type()]
            while self.at(","):
                self.take(",")
                declared.append(self.type())
            if declared != found:
                self.fail(f"{operation.name} gives {_listed(found)}, declared as {_listed(declared)}", span)
        elif found:
            self.fail(f"expected `:` and the types of the results, found `{self.token.text}`")

    def region(self, operands: Sequence[Value], depth: int) -> Block:
        depth = self.deeper(depth)
        span = self.token.span
        tokens = self.enclosed("(", lambda: self.take_kind("value", "an argument's %name"), ")")
        if len(tokens) != len(operands):
            self.fail(f"{len(operands)} operands for a region that takes {len(tokens)}", span)
        scope: dict[str, Value] = {}
        arguments = [
            self.define(Value(operand.type, token.text[1:]), token, scope)
            for operand, token in zip(operands, tokens, strict=True)
        ]
        return self.body(arguments, scope, "yield", depth)

    def attribute_pair(self) -> tuple[str, Attribute]:
        name = self.take_kind("name", "an attribute's name").text
        self.take("=")
        return name, self.attribute(0)

    def attribute(self, depth: int) -> Attribute:
        if self.at("["):
            deeper = self.deeper(depth)
            return tuple(self.enclosed("[", lambda: self.attribute(deeper), "]"))
        if self.token.kind == "string":
            text = self.next().text[1:-1]
            return text.replace("\\n", "\n").replace('\\"', '"').replace("\\\\", "\\")
        sign = -1 if self.at("-") and self.next() else 1
        if self.at("inf") or self.at("nan"):
            return sign * float(self.next().text)
        return sign * self.number()

    def number(self) -> int | float:
        token = self.take_kind("number", "a number")
        if len(token.text) > LONGEST_NUMBER:
            self.fail(f"a number of more than {LONGEST_NUMBER} digits", token.span)
        try:
            return ast.literal_eval(token.text)
        except SyntaxError:
            self.fail(f"`{token.text}` is not a number", token.span)

    def type(self) -> TensorType:
        self.take("tensor")
        self.take("<")
        element = self.element(0)
        self.take(",")
        span = self.token.span
        shape = self.enclosed("[", self.size, "]")
        if len(shape) > MOST_AXES:
            self.fail(f"a tensor of more than {MOST_AXES} axes", span)
        self.take(">")
        return TensorType(element, tuple(shape))

    def element(self, depth: int) -> str:
        name = self.take_kind("name", "an element type").text
        if not self.at("<"):
            return name
        self.take("<")
        inner = self.element(self.deeper(depth))
        self.take(">")
        return f"{name}<{inner}>"

    def size(self) -> Dim:
        total = self.term(-1 if self.at("-") and self.next() else 1)
        while self.at("+") or self.at("-"):
            if len(total.terms) >= MOST_TERMS:
                self.fail(f"a size of more than {MOST_TERMS} terms")
            total = total + self.term(-1 if self.next().text == "-" else 1)
        return total

    def term(self, sign: int) -> Dim:
        product, factors = Dim.of(sign) * self.factor(), 1
        while self.at("*"):
            factors += 1
            if factors > MOST_FACTORS:
                self.fail(f"a size with more than {MOST_FACTORS} factors")
            self.take("*")
            product = product * self.factor()
        return product

    def factor(self) -> Dim:
        if self.token.kind == "name":
            return Dim.of(self.next().text)
        token = self.token
        number = self.number()
        if not isinstance(number, int):
            self.fail("a size is a whole number", token.span)
        return Dim.of(number)


def _listed(types: Sequence[TensorType]) -> str:
    return ", ".join(map(str, types)) or "nothing"
