"""Golden files: an input and, below a marker line, the text that it must give.

    # Why this case is there.
    fn f(x: f32) -> f32 { y }

    # ---- report ----
    # error: unknown name `y`
    # ...

Every expected line is a comment, so the whole file stays a text of the language. `pytest --bless` writes
what was found; a person reads the difference before committing it.
"""

from __future__ import annotations

from collections.abc import Callable
from difflib import unified_diff
from pathlib import Path


def split(text: str, title: str) -> tuple[str, str]:
    """Return the input and the expected text of a golden file."""
    source, _, below = text.partition(marker(title))
    lines = (line.removeprefix("#").removeprefix(" ") for line in below.strip().split("\n"))
    return source, "\n".join(lines).strip("\n")


def marker(title: str) -> str:
    return f"# ---- {title} ----\n"


def join(source: str, title: str, found: str) -> str:
    lines = (f"# {line}".rstrip() for line in found.strip("\n").split("\n"))
    return source.rstrip("\n") + "\n\n" + marker(title) + "\n".join(lines) + "\n"


def compare(path: Path, title: str, produce: Callable[[str], str], bless: bool) -> None:
    """Check that `produce` makes the expected text from the input of a file, or write what it makes."""
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    source, expected = split(text, title)
    found = "\n".join(line.rstrip() for line in produce(source).strip("\n").split("\n"))
    if bless:
        path.write_text(join(source, title, found), encoding="utf-8")
        return
    if expected != found:
        difference = unified_diff(expected.split("\n"), found.split("\n"), "expected", "found", lineterm="")
        help = "if the new text is right, run pytest --bless"
        raise AssertionError("\n".join([f"{path.name} differs; {help}", *difference]))
