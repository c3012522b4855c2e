"""Training rows. In: documents and the tokenizer. Out: rows of ids, each starting with a document."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from text.corpus import END, documents
from tokenizers import Tokenizer

HERE = Path(__file__).parent


def load_tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(HERE / "tokenizer.json"))


def rows(
    tokenizer: Tokenizer, seed: int, count: int, length: int, held_out: bool = False, mix: str = "stories"
) -> np.ndarray:
    """`count` rows of `length` ids: whole documents, each followed by the end mark; a row's last one is cut.

    A row starts without an end mark before it, since a prompt does so too.
    """
    result = np.empty((count, length), dtype=np.uint16)
    stream = _ids(tokenizer, documents(seed, held_out, mix))
    for row in result:
        filled = 0
        while filled < length:
            ids = next(stream)[: length - filled]
            row[filled : filled + len(ids)] = ids
            filled += len(ids)
    return result


def _ids(tokenizer: Tokenizer, stream: Iterator[str]) -> Iterator[list[int]]:
    while True:
        texts = [next(stream) + END for _ in range(512)]
        yield from (encoding.ids for encoding in tokenizer.encode_batch(texts))
