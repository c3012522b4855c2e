"""Places in a text and how reports show them."""

from __future__ import annotations

import pytest

from lumen_core.errors import SourceError
from lumen_core.source import MOST_FINDINGS, MOST_REPORTS, Diagnostic, Diagnostics, Source, Span


def rendered(text: str, start: int, end: int) -> list[str]:
    return Diagnostic("error", "wrong", Span(Source("a.lum", text), start, end)).render().split("\n")


@pytest.mark.parametrize(
    ("text", "word", "line", "caret"),
    [
        ("let x = y", "y", "1 | let x = y", "  |         ^"),
        ("a\nbc de\n", "de", "2 | bc de", "  |    ^^"),
        ("가나 = x", "x", "1 | 가나 = x", "  |        ^"),
        ("x = 가나", "가나", "1 | x = 가나", "  |     ^^^^"),
        ("\tx", "x", "1 |     x", "  |     ^"),
        ("e\u0301 = x", "x", "1 | e\u0301 = x", "  |     ^"),
        ("\x1b\0 x\r\ny", "x", "1 | \ufffd\ufffd x", "  |    ^"),
    ],
)
def test_the_caret_stands_under_the_word(text, word, line, caret):
    start = text.index(word)
    lines = rendered(text, start, start + len(word))
    assert lines[3:] == [line, caret]


def test_notes_and_help_follow():
    span = Span(Source("q.lum", "\n" * 11 + "q = x"), 15, 16)
    report = Diagnostic("error", "no", span, ("x is 3", "y is 4"), "say z").render()
    assert report == (
        "error: no\n  --> q.lum:12:5\n   |\n12 | q = x\n   |     ^\n"
        "   = note: x is 3\n   = note: y is 4\n   = help: say z"
    )


def test_a_span_over_lines_is_shown_by_its_first():
    assert rendered("fn f {\n x\n}", 0, 11)[4] == "  | ^^^^^^"


def test_long_lines_are_cut_around_the_place():
    lines = rendered("x" * 5000 + "!" + "y" * 5000, 5000, 5001)
    assert len(lines[3]) < 150
    assert lines[3][lines[4].index("^")] == "!"


def test_the_end_of_a_text_has_a_place():
    assert rendered("", 0, 0)[1:] == [" --> a.lum:1:1", "  |", "1 |", "  | ^"]
    assert rendered("a\n", 2, 2)[1] == " --> a.lum:2:1"


def test_findings_are_sorted_and_counted():
    source, diagnostics = Source("a.lum", "x" * 1000), Diagnostics()
    for place in range(MOST_REPORTS + 10, 0, -1):
        diagnostics.error("bad", Span(source, place, place + 1))
    diagnostics.error("bad", Span(source, 1, 2))  # again
    error = diagnostics.exception()
    assert [finding.span.start for finding in error.diagnostics] == list(range(1, MOST_REPORTS + 11))
    assert str(error).endswith("... and 10 more errors")


def test_too_many_findings_stop():
    source, diagnostics = Source("a.lum", "x" * 1000), Diagnostics()
    for place in range(1, MOST_FINDINGS):
        diagnostics.error("bad", Span(source, place, place + 1))
    with pytest.raises(SourceError):
        diagnostics.error("bad", Span(source, 0, 1))


def test_bytes_that_are_no_utf8_are_reported(tmp_path):
    path = tmp_path / "a.lum"
    path.write_bytes("# 가\nx \xff y".encode("latin-1", errors="ignore"))
    with pytest.raises(SourceError, match="invalid UTF-8: byte 0xff at offset"):
        Source.read(path)
