"""Finding special tokens in a text: at each place the longest one that fits, from left to right.

In: token texts with their ids, and a text.  Out: the pieces in order: an id for a token, a string else.
The time is linear in the text: only places where some token may begin are looked at, once per length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping


class SpecialTokens:
    def __init__(self, tokens: Mapping[str, int]):
        self._ids = dict(tokens)
        lengths: dict[str, set[int]] = {}
        for text in self._ids:
            lengths.setdefault(text[0], set()).add(len(text))
        self._lengths = {first: sorted(sizes, reverse=True) for first, sizes in lengths.items()}
        self._first = re.compile("[" + "".join(map(re.escape, lengths)) + "]") if lengths else None

    def split(self, text: str) -> Iterator[str | int]:
        if self._first is None:
            if text:
                yield text
            return
        begin = after = 0
        while match := self._first.search(text, after):
            at = match.start()
            for length in self._lengths[text[at]]:
                token = self._ids.get(text[at : at + length])
                if token is not None:
                    if at > begin:
                        yield text[begin:at]
                    yield token
                    begin = after = at + length
                    break
            else:
                after = at + 1
        if begin < len(text):
            yield text[begin:]
