"""The instructions that a kernel spends its time in, cut out of its assembly listing.

In: a listing as LLVM writes it, for any processor. Out: the lines of the longest loop without another inside.
"""

from __future__ import annotations

import re

_LABEL = re.compile(r"^(\.L\w+|\w+):")
_TARGET = re.compile(r"\.L\w+")


def inner_loop(listing: str) -> list[str]:
    """Return the instructions of the innermost loop, without labels and comments; empty if there is none."""
    lines = [line for line in (_plain(line) for line in listing.splitlines()) if line]
    places = {match[1]: number for number, line in enumerate(lines) if (match := _LABEL.match(line))}
    loops = []
    for number, line in enumerate(lines):
        if _LABEL.match(line):
            continue
        for label in _TARGET.findall(line):
            start = places.get(label, number)
            if start < number:  # a jump back
                loops.append((start, number))
    innermost = [
        loop for loop in loops if not any(o != loop and loop[0] <= o[0] and o[1] <= loop[1] for o in loops)
    ]
    if not innermost:
        return []
    start, stop = max(innermost, key=lambda loop: loop[1] - loop[0])
    return [line.strip().expandtabs(8) for line in lines[start : stop + 1] if not _LABEL.match(line)]


def _plain(line: str) -> str:
    """A line without its comment; empty for directives."""
    text = re.split(r"\s*(?:#|//|##)\s", line, maxsplit=1)[0].rstrip()
    return "" if text.strip().startswith((".", "#", "//")) and not _LABEL.match(text) else text
