"""Held-out text. In: the generator's held-out side. Out: heldout.txt, an end mark after each document.

Short documents (a multiplication table, one question) can come from two combinations, one on either side:
what the training run has read word for word is left out here.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from text.corpus import END, MIXES, documents

HERE = Path(__file__).parent
SEED, COUNT = 424242, 400
TRAINING_SEED, TRAINING_DOCUMENTS = 20261123, 250_000  # more than a training run reads


def text() -> str:
    """The file's content."""
    trained_on: set[int] = set()
    for mix in MIXES:
        trained_on.update(map(hash, itertools.islice(documents(TRAINING_SEED, mix=mix), TRAINING_DOCUMENTS)))
    unread = (document for document in documents(SEED, held_out=True) if hash(document) not in trained_on)
    return "".join(f"{document}{END}\n" for document in itertools.islice(unread, COUNT))


def read(path: Path = HERE / "heldout.txt") -> list[str]:
    """The documents of the file."""
    return path.read_text(encoding="utf-8").split(f"{END}\n")[:-1]


if __name__ == "__main__":
    content = text()
    (HERE / "heldout.txt").write_text(content, encoding="utf-8", newline="\n")
    print(f"{COUNT} documents, {len(content):,} characters, {len(content.encode()):,} bytes")
