"""The operators of the language: one table of binding powers, and the loop that uses it.

A higher number binds tighter. To add an operator, add a row here and its type rule in `builtins.py`.

    power  operators          example
      10   == != < <= > >=    a < b          (no chains: a < b < c is an error)
      20   |                  a | b
      30   ^                  a ^ b
      40   &                  a & b
      50   << >>              a << 4
      60   + -                a + b
      70   * / %              a * b
      80   - ~ before         -a
      90   **                 a ** b         (from the right: a ** b ** c = a ** (b ** c))
     100   call, index, slice f(x)  x[3]  x[0:4]

A line's end ends an expression, except inside ( ) and [ ] or right after an operator.
"""

from __future__ import annotations

from typing import Protocol

from lumen_core.dsl import ast
from lumen_core.dsl.lexer import Token

COMPARISONS = frozenset({"==", "!=", "<", "<=", ">", ">="})

INFIX: dict[str, int] = {
    **dict.fromkeys(COMPARISONS, 10),
    "|": 20, "^": 30, "&": 40, "<<": 50, ">>": 50, "+": 60, "-": 60, "*": 70, "/": 70, "%": 70, "**": 90,
}  # fmt: skip
PREFIX: dict[str, int] = {"-": 80, "~": 80}
POSTFIX = 100
RIGHT_ASSOCIATIVE = frozenset({"**"})

DEEPEST = 100  # levels of a tree: every later stage walks it by recursion


class Cursor(Protocol):
    """What the loop needs of the parser."""

    inside: int  # how many ( and [ are open: there a line's end means nothing

    @property
    def token(self) -> Token: ...
    def advance(self) -> Token: ...
    def primary(self) -> ast.Expression: ...
    def postfix(self, left: ast.Expression) -> ast.Expression: ...
    def built(self, expression: ast.Expression, *parts: ast.Expression | None) -> ast.Expression: ...
    def descend(self) -> None: ...
    def ascend(self) -> None: ...
    def complain(self, message: str, token: Token, help: str | None = None) -> None: ...


def parse_expression(cursor: Cursor, power: int = 0) -> ast.Expression:
    """Parse an expression whose operators bind tighter than `power`."""
    first = cursor.token
    cursor.descend()
    if first.kind == "symbol" and first.text in PREFIX:
        cursor.advance()
        operand = parse_expression(cursor, PREFIX[first.text])
        left = cursor.built(ast.Unary(first.text, operand, span=first.span.to(operand.span)), operand)
    else:
        left = cursor.primary()
    while True:
        token = cursor.token
        if token.kind != "symbol" or (token.opens_line and not cursor.inside):
            break
        if token.text in {"(", "["}:
            left = cursor.postfix(left)
            continue
        binding = INFIX.get(token.text, 0)
        if binding <= power:
            break
        cursor.advance()
        right = parse_expression(cursor, binding - 1 if token.text in RIGHT_ASSOCIATIVE else binding)
        left = cursor.built(ast.Binary(token.text, left, right, span=left.span.to(right.span)), left, right)
        if token.text in COMPARISONS and cursor.token.text in COMPARISONS:
            cursor.complain("comparisons do not chain", cursor.token, help="write (a < b) & (b < c)")
    cursor.ascend()
    return left
