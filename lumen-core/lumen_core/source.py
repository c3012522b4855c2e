"""Source text, places in it, and reports about them.

In: the text of a `.lum` file. Out: spans that every later value carries, and diagnostics that print as

error: unknown name `atn_q`
  --> qwen3.lum:31:24
   |
31 |     let q = linear(h, atn_q)
   |                       ^^^^^
   = note: a fact
   = help: an action

A `Diagnostics` collector gathers all findings of a file, so that one run reports every error.
"""

from __future__ import annotations

import unicodedata
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from lumen_core.errors import SourceError

LINE_WINDOW = 120  # columns of a source line that a report shows; longer lines are cut around the span
MOST_REPORTS = 50  # diagnostics that one error message prints; the exception still carries them all
MOST_FINDINGS = 200  # after so many the collector raises at once: nobody reads more


@dataclass(frozen=True, eq=False)
class Source:
    """A named text; two sources are equal only if they are the same object, which keeps spans cheap."""

    name: str
    text: str = field(repr=False)

    @staticmethod
    def read(path: str | Path) -> Source:
        """Read a UTF-8 file; raises SourceError for bytes that are no UTF-8 and OSError for no file."""
        data = Path(path).read_bytes()
        try:
            return Source(str(path), data.decode("utf-8"))
        except UnicodeDecodeError as error:
            source = Source(str(path), data.decode("utf-8", errors="replace"))
            place = len(data[: error.start].decode("utf-8", errors="replace"))
            diagnostics = Diagnostics()
            diagnostics.error(
                f"invalid UTF-8: byte 0x{data[error.start]:02x} at offset {error.start}",
                Span(source, place, place + 1),
                help="save the file as UTF-8",
            )
            raise diagnostics.exception() from None

    @cached_property
    def line_starts(self) -> list[int]:
        starts, place = [0], self.text.find("\n")
        while place >= 0:
            starts.append(place + 1)
            place = self.text.find("\n", place + 1)
        return starts

    def position(self, offset: int) -> tuple[int, int]:
        """Return line and column of a character, both counted from 1."""
        line = bisect_right(self.line_starts, offset)
        return line, offset - self.line_starts[line - 1] + 1

    def line(self, number: int) -> str:
        start = self.line_starts[number - 1]
        stop = self.text.find("\n", start)
        return self.text[start : len(self.text) if stop < 0 else stop].removesuffix("\r")


class Span(NamedTuple):
    """The characters `start` to `end` of a source."""

    source: Source
    start: int
    end: int

    def to(self, other: Span) -> Span:
        """Return the span from the start of this one to the end of the other."""
        return Span(self.source, self.start, max(self.end, other.end))

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def __str__(self) -> str:
        line, column = self.source.position(self.start)
        return f"{self.source.name}:{line}:{column}"

    def __repr__(self) -> str:
        return f"<{self}>"


NOWHERE = Span(Source("<none>", ""), 0, 0)  # the place of values that a program built, not a text


@dataclass(frozen=True)
class Diagnostic:
    """One finding: a lower-case message without full stop, its place, facts (notes) and an action (help)."""

    severity: str
    message: str
    span: Span
    notes: tuple[str, ...] = ()
    help: str | None = None

    def render(self) -> str:
        source, start, end = self.span
        number, column = source.position(start)
        text = source.line(number)
        first = column - 1
        last = max(first + 1, min(first + end - start, len(text)))
        cut = max(0, first - LINE_WINDOW // 3) if len(text) > LINE_WINDOW else 0
        shown = text[cut : cut + LINE_WINDOW]
        lead = "..." if cut else ""
        before = lead + _visible(shown[: first - cut])
        under = _visible(shown[first - cut : last - cut])
        tail = "..." if len(text) > cut + LINE_WINDOW else ""
        gutter = " " * len(str(number))
        lines = [
            f"{self.severity}: {self.message}",
            f"{gutter}--> {source.name}:{number}:{column}",
            f"{gutter} |",
            f"{number} | {lead}{_visible(shown)}{tail}".rstrip(),
            f"{gutter} | {' ' * _columns(before)}{'^' * max(1, _columns(under))}",
        ]
        lines += [f"{gutter} = note: {note}" for note in self.notes]
        lines += [f"{gutter} = help: {self.help}"] if self.help else []
        return "\n".join(lines)


def _visible(text: str) -> str:
    """Return text that a terminal shows as it stands: tabs as blanks, control characters as a sign."""
    return "".join(c if c.isprintable() else "    " if c == "\t" else "\ufffd" for c in text)


def _columns(text: str) -> int:
    """Return the terminal columns of a text: East Asian wide characters take two, combining ones none."""
    wide = {"W": 2, "F": 2}
    return sum(0 if unicodedata.combining(c) else wide.get(unicodedata.east_asian_width(c), 1) for c in text)


class Diagnostics:
    """A collector of findings; the stages that share it go on after an error."""

    def __init__(self) -> None:
        self.found: list[Diagnostic] = []

    def error(
        self, message: str, span: Span, *, notes: tuple[str, ...] = (), help: str | None = None
    ) -> None:
        finding = Diagnostic("error", message, span, notes, help)
        if finding not in self.found[-8:]:
            self.found.append(finding)
        if len(self.found) >= MOST_FINDINGS:
            raise self.exception()

    def take(self, error: SourceError) -> None:
        """Take over what another collector found, each finding once."""
        self.found += [finding for finding in error.diagnostics if finding not in self.found]

    def exception(self) -> SourceError:
        """Return the error that carries every finding, in the order of the text."""
        found = sorted(self.found, key=lambda finding: (finding.span.source.name, finding.span.start))
        parts = [finding.render() for finding in found[:MOST_REPORTS]]
        if len(found) > MOST_REPORTS:
            parts.append(f"... and {len(found) - MOST_REPORTS} more errors")
        return SourceError("\n\n".join(parts), tuple(found))

    def raise_if_any(self) -> None:
        if self.found:
            raise self.exception()
