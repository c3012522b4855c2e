"""Held-out text. In: the generator's held-out side. Out: heldout.txt, each document followed by a line of the end mark."""
from __future__ import annotations

import itertools
from pathlib import Path

from text.corpus import END, documents

HERE = Path(__file__).parent
SEED, COUNT = 424242, 320


def text() -> str:
    return "".join(f"{document}{END}\n" for document in itertools.islice(documents(SEED, held_out=True), COUNT))


def read(path: Path = HERE / "heldout.txt") -> list[str]:
    """The documents of the file."""
    return path.read_text(encoding="utf-8").split(f"{END}\n")[:-1]


if __name__ == "__main__":
    content = text()
    (HERE / "heldout.txt").write_text(content, encoding="utf-8", newline="\n")
    print(f"{COUNT} documents, {len(content):,} characters, {len(content.encode()):,} bytes")
