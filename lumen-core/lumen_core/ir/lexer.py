"""Cut the text of the tensor IR into tokens with their places.

In: a `Source`. Out: tokens (kind, text, span), the last of kind "end". Kinds: value (`%x`), symbol (`@f`),
name, number, string, mark (one of `( ) { } [ ] < > , : = + - * ->`).
"""

from __future__ import annotations

import re
from typing import NamedTuple

from lumen_core.source import Diagnostics, Source, Span

_TOKEN = re.compile(
    r"""(?P<blank>[ \t\r\n]+|\#[^\n]*)
    | (?P<value>%[A-Za-z0-9_]+)
    | (?P<symbol>@[A-Za-z_][A-Za-z0-9_]*)
    | (?P<number>[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]+)?)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<string>"([^"\\\n]|\\[^\n])*")
    | (?P<mark>->|[(){}\[\]<>,:=+*-])""",
    re.VERBOSE,
)


class Token(NamedTuple):
    kind: str
    text: str
    span: Span


def tokens_of(source: Source) -> list[Token]:
    """Return the tokens; raises SourceError at the first character that begins none."""
    found: list[Token] = []
    place = 0
    while place < len(source.text):
        match = _TOKEN.match(source.text, place)
        if match is None:
            diagnostics = Diagnostics()
            text = source.text[place]
            diagnostics.error(f"unexpected character `{text}`", Span(source, place, place + 1))
            raise diagnostics.exception()
        if match.lastgroup != "blank" and match.lastgroup is not None:
            found.append(Token(match.lastgroup, match[0], Span(source, place, match.end())))
        place = match.end()
    found.append(Token("end", "end of text", Span(source, place, place)))
    return found
