"""The parser's place among the tokens: expectations, recovery after an error, and operands.

After an error the statement is given up (`Abandon`), the cursor skips to the next line, and parsing
goes on there; so one run reports every error, and no text makes it raise anything else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn, TypeVar

from lumen_core.dsl import ast
from lumen_core.dsl.lexer import Token, Tokens
from lumen_core.dsl.pratt import DEEPEST, INFIX, parse_expression
from lumen_core.source import Diagnostics, Span

ITEMS = frozenset({"format", "fn", "model"})

T = TypeVar("T")


def _opening(token: Token) -> int:
    return {"{": 1, "}": -1}.get(token.text, 0) if token.kind == "symbol" else 0


def _closes(token: Token) -> bool:
    return token.kind == "symbol" and token.text == "}"


class Abandon(Exception):
    """The statement at hand cannot be understood; its error is already reported."""


class Cursor:
    def __init__(self, tokens: Tokens, diagnostics: Diagnostics):
        self._tokens = tokens.tokens
        self._comments = tokens.comments
        self._place = 0
        self._diagnostics = diagnostics
        self._depth = 0
        self._heights: dict[int, int] = {}
        self._kept: list[ast.Expression] = []  # keeps ids in `_heights` unique
        self.inside = 0
        self.failures = 0

    # Tokens

    @property
    def token(self) -> Token:
        return self._tokens[self._place]

    @property
    def previous(self) -> Token:
        return self._tokens[max(0, self._place - 1)]

    def peek(self) -> Token:
        return self._tokens[min(self._place + 1, len(self._tokens) - 1)]

    def advance(self) -> Token:
        token = self.token
        self._place = min(self._place + 1, len(self._tokens) - 1)
        return token

    def before(self, expression: ast.Expression) -> Token:
        """Return a token that stands for the place of an expression."""
        return Token("symbol", expression.span.text, expression.span)

    def doc(self) -> str:
        """Return the comment lines right above the token at hand."""
        line = self.token.span.source.position(self.token.span.start)[0] - 1
        lines: list[str] = []
        while self.token.opens_line and line in self._comments:
            lines.append(self._comments[line])
            line -= 1
        return "\n".join(reversed(lines))

    # Errors

    def complain(self, message: str, token: Token, help: str | None = None) -> None:
        self.failures += 1
        if token.kind != "invalid":
            self._diagnostics.error(message, token.span, help=help)

    def fail(self, message: str, help: str | None = None) -> NoReturn:
        self.complain(message, self.token, help)
        raise Abandon

    def _fail_at_line_end(self, what: str) -> NoReturn:
        """Report that a line ends too early, at the end of that line."""
        source, _, end = self.previous.span
        self.failures += 1
        if self.previous.kind != "invalid":
            place = Span(source, end, end + 1)
            self._diagnostics.error(f"expected {what}, found the end of the line", place)
        raise Abandon

    # Expectations

    def expect(self, symbol: str, context: str, help: str | None = None) -> Token:
        if self.token.kind != "symbol" or self.token.text != symbol:
            self.fail(f"expected `{symbol}` {context}, found {self.token}", help)
        return self.advance()

    def word(self, word: str, what: str) -> Token:
        if self.token.text != word:
            self.fail(f"expected `{word}` and {what}, found {self.token}")
        return self.advance()

    def name(self, what: str) -> Token:
        if self.token.kind == "keyword":
            self.fail(f"expected {what}, found the keyword {self.token}")
        if self.token.kind != "name":
            self.fail(f"expected {what}, found {self.token}")
        return self.advance()

    def same_line(self, what: str) -> None:
        if self.token.opens_line:
            self._fail_at_line_end(what)

    def integer(self, what: str) -> int:
        if self.token.kind != "number" or not isinstance(self.token.value, int):
            self.fail(f"expected {what}, found {self.token}")
        return int(self.advance().value)

    def end_of_statement(self) -> None:
        token = self.token
        if not (token.opens_line or token.text in {"}", "let"} or token.kind == "end"):
            self.fail(f"expected the end of the line, found {token}")
        if token.opens_line and token.kind == "symbol" and token.text in INFIX and token.text != "-":
            help = "end the line above with the operator, or put the whole expression in parentheses"
            self.complain(f"a line cannot begin with {token}", token, help)
            self.advance()  # so that the rest of the line is skipped with it
            raise Abandon

    def listed(
        self, opening: str, closing: str, element: Callable[[], T], context: str = "of a list"
    ) -> list[T]:
        """Parse `opening element, element, ... closing`; a comma may stand at the end."""
        self.expect(opening, context)
        self.inside += 1
        elements: list[T] = []
        while self.token.text != closing or self.token.kind != "symbol":
            elements.append(element())
            if self.token.text != ",":
                break
            self.advance()
        if self.token.text != closing or self.token.kind != "symbol":
            self.fail(f"expected `,` or `{closing}`, found {self.token}")
        self.inside -= 1
        self.advance()
        return elements

    def braces(self, entry: Callable[[], None], what: str, nested: bool = False) -> Token:
        """Parse `{ entry* }`, skipping to the next line after a bad entry.

        nested  entries may be functions
        """
        opening = self.expect("{", f"to open {what}")
        depth, inside = self._depth, self.inside
        while self.token.kind != "end" and not _closes(self.token):
            if self._at_item() and not (nested and self.token.text == "fn"):
                break
            place = self._place
            try:
                entry()
            except Abandon:
                self._depth, self.inside = depth, inside
                self._skip_line(place)
        if _closes(self.token):
            return self.advance()
        line = opening.span.source.position(opening.span.start)[0]
        help = f"it was opened in line {line}"
        self.complain(f"expected `}}` to close {what}, found {self.token}", self.token, help)
        return self.previous

    # Recovery

    def _skip_line(self, start: int) -> None:
        """Skip to the next line, or to the brace that closes the block.

        Blocks opened on the way are skipped whole.
        """
        if self._place == start:
            self.advance()
        open_braces = sum(map(_opening, self._tokens[start : self._place]))
        while self.token.kind != "end":
            token = self.token
            if open_braces <= 0 and (token.opens_line or token.text in {"}", "let"}):
                return
            if self._at_item() and token.opens_line:
                return
            open_braces += _opening(token)
            self.advance()

    def _at_item(self) -> bool:
        return self.token.kind == "keyword" and self.token.text in ITEMS

    def skip_to_item(self) -> None:
        self._depth = self.inside = 0
        while self.token.kind != "end" and not self._at_item():
            self.advance()

    # Expressions

    def descend(self) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            help = "name its parts with `let`"
            self.fail(f"this expression is nested more than {DEEPEST} levels deep", help)

    def ascend(self) -> None:
        self._depth -= 1

    def built(self, expression: ast.Expression, *parts: ast.Expression | None) -> ast.Expression:
        """Note the height of a new tree, so that long chains stay within what recursion can walk."""
        height = 1 + max((self._heights[id(part)] for part in parts if part is not None), default=0)
        if height > DEEPEST:
            self.fail(f"this expression has more than {DEEPEST} levels", "name its parts with `let`")
        self._heights[id(expression)] = height
        self._kept.append(expression)
        return expression

    def primary(self) -> ast.Expression:
        token = self.token
        if token.kind == "number":
            self.advance()
            return self.built(ast.Number(token.value, span=token.span))
        if token.kind == "name":
            self.advance()
            return self.built(ast.Name(token.text, span=token.span))
        if token.text == "[":
            items = tuple(self.listed("[", "]", lambda: parse_expression(self)))
            return self.built(ast.List(items, span=token.span.to(self.previous.span)), *items)
        if token.text == "(" and token.kind == "symbol":
            items = tuple(self.listed("(", ")", lambda: parse_expression(self)))
            if len(items) == 1 and self._tokens[self._place - 2].text != ",":
                whole = replace(items[0], span=token.span.to(self.previous.span))
                return self.built(whole, items[0])
            if len(items) < 2:
                self.complain("a tuple has two elements or more", token)
            return self.built(ast.Tuple(items, span=token.span.to(self.previous.span)), *items)
        if token.opens_line and not self.inside and self.previous.text != "{":
            self._fail_at_line_end("an expression")
        self.complain(f"expected an expression, found {token}", token)
        raise Abandon

    def postfix(self, left: ast.Expression) -> ast.Expression:
        if self.token.text == "(":
            return self._call(left)
        self.advance()
        self.inside += 1
        start = None if self.token.text == ":" else parse_expression(self)
        stop: ast.Expression | None = None
        step: ast.Expression | None = None
        is_slice = self.token.text == ":"
        if is_slice:
            self.advance()
            stop = None if self.token.text in {"]", ":"} else parse_expression(self)
            if self.token.text == ":":
                self.advance()
                step = parse_expression(self)
        self.inside -= 1
        end = self.expect("]", "after the index")
        span = left.span.to(end.span)
        if is_slice:
            return self.built(ast.Slice(left, start, stop, step, span=span), left, start, stop, step)
        assert start is not None
        return self.built(ast.Index(left, start, span=span), left, start)

    def _call(self, function: ast.Expression) -> ast.Expression:
        if not isinstance(function, ast.Name):
            self.fail("only a function's name can be called", "write a name before `(`")
        arguments: list[ast.Expression] = []
        keywords: list[ast.Keyword] = []
        given: set[str] = set()

        def argument() -> None:
            if self.token.kind == "name" and self.peek().text == "=":
                name = self.advance()
                self.advance()
                value = parse_expression(self)
                if name.text in given:
                    self.complain(f"the argument `{name.text}` is given twice", name)
                given.add(name.text)
                keywords.append(ast.Keyword(name.text, value, span=name.span.to(value.span)))
                return
            if keywords:
                self.complain("positional arguments come before named ones", self.token)
            arguments.append(parse_expression(self))

        self.listed("(", ")", argument)
        span = function.span.to(self.previous.span)
        call = ast.Call(function.name, tuple(arguments), tuple(keywords), span=span, name_span=function.span)
        return self.built(call, *arguments, *(keyword.value for keyword in keywords))
