"""Encoding texts word by word: what was met before is looked up, only new words reach the library.

In: a pipeline of `tokenizers` and the places where a text may be cut.  Out: a function from text to ids.
The library alone takes 2 to 4 MB of Korean a second, and a hundred bytes of memory for one of the text.
A cut is exact where no rule of the pipeline looks across it; `pretokenizers.py` says where.  A text without
such a place stays whole.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from lumen_core.errors import TokenizerError

MOST_WORDS = 1 << 17  # what is remembered before it is forgotten and begun anew: about 20 MB
LONGEST_WORD = 48  # characters; longer ones hardly come again
LONGEST_STRETCH = 1 << 24  # characters without a place to cut; the library takes 100 bytes for each
TOGETHER = 256  # new words that the library gets as one text: what it does for each text costs as much again
_Ids = bytes  # of one word, as an array of unsigned 32-bit numbers


class WordEncoder:
    """Safe to share between threads: known words are only added to, and forgotten by a new table.

    tokens  the vocabulary as it is written: of a token of letters, as many as it has bytes
    """

    def __init__(self, pipeline: Any, cut: str, tokens: Sequence[str]):
        self._pipeline = pipeline
        self._cut = re.compile(cut)
        self._lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
        self._known: dict[str, _Ids] = {}

    def __call__(self, text: str) -> list[int]:
        words = self._cut.split(text)
        if len(self._known) > MOST_WORDS:
            self._known = {}
        known = self._known
        fresh = self._encoded(list(set(words) - known.keys()))
        long = {word: fresh.pop(word) for word in [word for word in fresh if len(word) > LONGEST_WORD]}
        known.update(fresh)
        found = array("I")
        if long:
            found.frombytes(b"".join([long[word] if word in long else known[word] for word in words]))
        else:
            found.frombytes(b"".join(map(known.__getitem__, words)))
        return found.tolist()

    def _encoded(self, words: list[str]) -> dict[str, _Ids]:
        longest = max(map(len, words), default=0)
        if longest > LONGEST_STRETCH:
            raise TokenizerError(
                f"the text has {longest} characters without a place where it could be cut "
                f"(limit {LONGEST_STRETCH}); encode it in parts"
            )
        # In a row these are cut where they meet, most others would not be.
        joined = [w for w in words if w[:1] == " " and w[-1] != "\n" and len(w) <= LONGEST_WORD]
        alone = list(set(words).difference(joined)) if len(joined) < len(words) else []
        found: dict[str, _Ids] = {}
        groups = [joined[start : start + TOGETHER] for start in range(0, len(joined), TOGETHER)]
        for group, ids in zip(groups, self._library(["".join(group) for group in groups]), strict=True):
            apart = self._apart(group, ids)
            if apart is None:
                alone += group
            else:
                found.update(zip(group, apart, strict=True))
        found.update(zip(alone, [ids.tobytes() for ids in self._library(alone)], strict=True))
        return found

    def _apart(self, words: list[str], ids: np.ndarray) -> list[_Ids] | None:
        """Divide the ids of words in a row; None where these are not the words of that text."""
        if self._cut.split("".join(words)) != words:
            return None
        wanted = np.cumsum(np.fromiter(map(len, map(str.encode, words)), np.int64, len(words)))
        ends = np.cumsum(self._lengths[ids])
        last = np.searchsorted(ends, wanted)
        if last[-1] + 1 != len(ids) or (ends[last] != wanted).any():
            return None  # letters were composed, or an added token
        data, places = ids.tobytes(), [0, *((last + 1) * ids.itemsize).tolist()]
        return [data[begin:end] for begin, end in pairwise(places)]

    def _library(self, texts: list[str]) -> Iterator[np.ndarray]:
        return (np.array(encoding.ids, np.uint32) for encoding in run(self._pipeline, texts))


def run(pipeline: Any, texts: list[str], around: bool = False) -> list[Any]:
    """Encode texts with a pipeline of the library; `around`: with the tokens it puts about a text."""
    try:
        return list(pipeline.encode_batch_fast(texts, add_special_tokens=around))
    except BaseException as error:  # a panic of the library is no Exception
        if isinstance(error, KeyboardInterrupt | MemoryError | SystemExit):
            raise
        size = sum(map(len, texts))
        raise TokenizerError(f"the text ({size} characters) cannot be cut into pieces: {error}") from None
