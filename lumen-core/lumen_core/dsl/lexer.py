"""Cut the text of a `.lum` file into tokens.

In: a Source and a collector. Out: a list of tokens that ends with one of kind `end`, and the comment
lines (the parser makes the block above an item its doc). Every character that fits nothing is reported
and becomes a token of kind `invalid`, so lexing never fails.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from lumen_core.source import Diagnostics, Source, Span

KEYWORDS = frozenset({"format", "fn", "model", "let", "else"})

LARGEST_INTEGER = 2**64 - 1

_TOKEN = re.compile(
    r"""
      (?P<newline> \n )
    | (?P<blank>   [ \t\r]+ )
    | (?P<comment> \#[^\n]* )
    | (?P<number>  0[xX][0-9a-fA-F_]* | 0[bB][01_]* | [0-9][0-9_]*(?:\.[0-9][0-9_]*)?(?:[eE][+-]?[0-9]+)? )
    | (?P<name>    [A-Za-z_][A-Za-z0-9_]* )
    | (?P<string>  "[^"\n]*" )
    | (?P<symbol>  -> | \*\* | << | >> | == | != | <= | >= | [-+*/%&|^~<>=()\[\]{}:,.] )
    | (?P<open>    "[^"\n]* )
    | (?P<invalid> [^\s\#A-Za-z0-9_"+\-*/%&|^~<>=!()\[\]{}:,.]+ | . )
    """,
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Token:
    """kind: `name`, `keyword`, `number`, `string`, `symbol`, `invalid` (already reported) or `end`.

    opens_line  it is the first of its line
    """

    kind: str
    text: str
    span: Span
    opens_line: bool = False
    value: int | float = 0

    def __str__(self) -> str:
        return "the end of the file" if self.kind == "end" else f"`{self.text[:40]}`"


@dataclass(frozen=True)
class Tokens:
    """`comments` maps the number of a line that holds nothing else to the text of its comment."""

    tokens: list[Token]
    comments: dict[int, str]


def lex(source: Source, diagnostics: Diagnostics) -> Tokens:
    tokens: list[Token] = []
    comments: dict[int, str] = {}
    opens_line, line = True, 1
    for match in _TOKEN.finditer(source.text):
        kind = match.lastgroup or "invalid"
        text = match.group()
        if kind == "newline":
            opens_line, line = True, line + 1
            continue
        if kind == "blank":
            continue
        if kind == "comment":
            if opens_line:
                comments[line] = text[1:].strip()
            continue
        span = Span(source, match.start(), match.end())
        if kind == "invalid":
            diagnostics.error(f"invalid character {_describe(text)}", span, help=_advice(text))
            tokens.append(Token("invalid", text, span, opens_line))
            opens_line = False
            continue
        if kind == "open":
            help = 'end it with `"` on the same line'
            diagnostics.error("this string has no closing quote", span, help=help)
            kind = "invalid"
        value: int | float = 0
        if kind == "number":
            number = _number(text, span, diagnostics)
            kind, value = ("invalid", 0) if number is None else (kind, number)
        kind = "keyword" if text in KEYWORDS else kind
        tokens.append(Token(kind, text.strip('"') if kind == "string" else text, span, opens_line, value))
        opens_line = False
    end = len(source.text)
    tokens.append(Token("end", "", Span(source, end, end), True))
    return Tokens(tokens, comments)


def _number(text: str, span: Span, diagnostics: Diagnostics) -> int | float | None:
    digits = text.replace("_", "").lower()
    if len(digits) > 100:
        diagnostics.error("this number has more than 100 digits", span)
        return None
    if digits in {"0x", "0b"}:
        diagnostics.error(f"`{text}` has no digits", span)
        return None
    if digits.startswith(("0x", "0b")) or digits.isdigit():
        whole = int(digits, 0) if digits.startswith(("0x", "0b")) else int(digits)
        if whole > LARGEST_INTEGER:
            diagnostics.error("this integer does not fit 64 bits", span)
            return None
        return whole
    real = float(digits)
    if real == float("inf"):
        diagnostics.error("this number is beyond the range of f64", span)
        return None
    return real


def _describe(text: str) -> str:
    first = text[0]
    shown = f"`{text[:20]}`" if text.isprintable() else ""
    return f"{shown} (U+{ord(first):04X})".strip() if shown else f"U+{ord(first):04X}"


def _advice(text: str) -> str | None:
    if text[0] == "!":
        return "comparisons are written `!=`; there is no `!`"
    if text[0] in "'“”‘’":
        return 'strings are written with plain double quotes: "attn_q.bias"'
    if text[0] == ";":
        return "statements end with their line; no `;` is needed"
    if text[0] > "~":
        return "names use the letters a-z, A-Z, digits and `_`; any text may stand in a comment"
    return None
