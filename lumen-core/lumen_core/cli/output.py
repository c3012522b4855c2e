"""What commands print: tables and JSON on standard output, notes and progress on standard error.

Standard output carries only what was asked for, so that pipes work. Progress bars appear only when
standard error is a terminal.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lumen_core.engine.chat import Reply

ProgressCallback = Callable[[str, int, int], None]


def write(text: str) -> None:
    """Write a piece of an answer at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


class Speech:
    """Writes an answer to standard output and the thoughts before it, dimmed, to standard error.

    Calls of tools are shown as JSON, one a line, when the turn is over.
    """

    def __init__(self) -> None:
        self._channel = ""
        self._dim = sys.stderr.isatty()

    def write(self, channel: str, text: str) -> None:
        if channel == "tool":
            return
        if channel != self._channel:
            if self._channel:
                self.end()
            if channel == "reasoning" and self._dim:
                sys.stderr.write("\x1b[2m")
            self._channel = channel
        if channel == "reasoning":
            sys.stderr.write(text)
            sys.stderr.flush()
        else:
            write(text)

    def calls(self, reply: Reply) -> None:
        """Show the calls of a turn."""
        if reply.tool_calls:
            if self._channel:
                self.end()
            self._channel = "calls"
        for call in reply.tool_calls:
            write(json.dumps(asdict(call), ensure_ascii=False) + "\n")
        for text in reply.unread:
            note(f"the model wrote a tool call that cannot be read: {text}")

    def end(self) -> None:
        """Close what was begun, if anything, so that the next words stand on a line of their own."""
        if self._channel == "reasoning":
            sys.stderr.write("\x1b[0m\n\n" if self._dim else "\n\n")
            sys.stderr.flush()
        elif self._channel == "answer":
            write("\n")
        self._channel = ""


def note(text: str) -> None:
    """Tell the user something beside the answer."""
    print(text, file=sys.stderr, flush=True)


def print_json(value: object) -> None:
    print(json.dumps(value, ensure_ascii=False, indent=2, default=_plain))


def _plain(value: Any) -> object:
    """Return what JSON can say for the values that Lumen's data holds."""
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if hasattr(value, "tolist"):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, set | frozenset):
        return sorted(value)
    if hasattr(value, "__iter__"):
        return list(value)
    return str(value)


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
    """Print rows under headings; a heading that starts with `>` is aligned right."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.removeprefix(">"), justify="right" if right else "left", overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    console = Console(markup=False, highlight=False)
    if not console.is_terminal:  # a file or a pipe: do not cut columns to a width that nobody sees
        console.width = 200
    console.print(table)


def print_facts(facts: dict[str, object]) -> None:
    """Print names and values, one pair a line; on a terminal long values go on below themselves."""
    width = max((len(name) for name in facts), default=0)
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else sys.maxsize
    for name, value in facts.items():
        if value in (None, "", ()):
            continue
        lines = textwrap.wrap(
            str(value), max(20, columns - width - 2), break_long_words=False, break_on_hyphens=False
        )
        for label, line in zip([name, *[""] * len(lines)], lines, strict=False):
            print(f"{label:{width}}  {line}")


@contextmanager
def progress_bar() -> Iterator[ProgressCallback | None]:
    """Give a callback `(label, done, total)` that draws bars on a terminal, or None elsewhere."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, Any] = {}

        def report(label: str, done: int, total: int) -> None:
            if label not in tasks:
                tasks[label] = bars.add_task(label, total=total or None)
            bars.update(tasks[label], completed=done, total=total or None)

        yield report


def size_text(count: float) -> str:
    """Return a number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    raise AssertionError
