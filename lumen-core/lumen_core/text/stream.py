"""Text out of a stream of token ids: whole characters only, and stop strings that never leak.

In: a `Tokenizer` and ids one by one.  Out: pieces of text that together are exactly the text of all ids.
A character may be spread over several tokens, and a stop string too: what may still become one is held back.
"""

from __future__ import annotations

import codecs
from collections.abc import Collection, Sequence
from typing import Protocol

from lumen_core.errors import TokenizerError


class Pieces(Protocol):
    """What the decoder needs of a tokenizer."""

    add_space_prefix: bool

    def token_bytes(self, token: int) -> bytes: ...
    def is_control(self, token: int) -> bool: ...


class StreamDecoder:
    """Push ids, print what comes back, call `finish` at the end.

    stop      strings that end the stream; they and what follows are not part of the text
    at_start  the ids begin a text (no prompt before), so that SentencePiece's leading space is dropped
    special   show control tokens, or those of these ids
    """

    def __init__(self, tokenizer: Pieces, stop: Sequence[str] = (), at_start: bool = False,
                 special: bool | Collection[int] = False):  # fmt: skip
        listed = isinstance(stop, Sequence) and not isinstance(stop, str)
        if not listed or not all(isinstance(text, str) and text for text in stop):
            raise TokenizerError(f"stop strings are a list of texts that are not empty, found {stop!r:.60}")
        self._tokenizer = tokenizer
        self._stop = tuple(stop)
        self._longest = max(map(len, self._stop), default=0)
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._strip = at_start and tokenizer.add_space_prefix
        self._special = special
        self._held = ""
        self.stopped: str | None = None  # the stop string that was met

    def push(self, token: int) -> str:
        """Take one id; return the text that is certain now (often empty inside a character)."""
        if self.stopped is not None:
            return ""
        control = self._tokenizer.is_control(token)
        data = self._tokenizer.token_bytes(token)
        if control and self._special is not True and (not self._special or token not in self._special):
            return ""
        if not control:
            if self._strip and data[:1] == b" ":
                data = data[1:]
            self._strip = False
        return self._release(self._decoder.decode(data))

    def finish(self) -> str:
        """Return what was held back; an unfinished character becomes one U+FFFD."""
        if self.stopped is not None:
            return ""
        text = self._release(self._decoder.decode(b"", final=True))
        held, self._held = self._held, ""
        return text if self.stopped is not None else text + held

    def _release(self, new: str) -> str:
        text = self._held + new
        places = [(at, -len(stop), stop) for stop in self._stop if (at := text.find(stop)) >= 0]
        if places:
            found = min(places)
            self.stopped, self._held = found[2], ""
            return text[: found[0]]
        keep = max(self._possible(text), growing(text))
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def _possible(self, text: str) -> int:
        """How many characters at the end could be the begin of a stop string."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            tail = text[-length:]
            if any(stop.startswith(tail) for stop in self._stop):
                return length
        return 0


_JOINER, _LONGEST_CLUSTER = "\u200d", 32


def growing(text: str) -> int:
    """How many characters at the end make one sign on the screen that the next character may still change.

    Conjoining jamo and pictures: a family is several of them with joiners between, a flag is two letters.
    """
    if not text or not (_starts(text[-1]) or _extends(text[-1])):
        return 0
    at = len(text) - 1
    while at > 0 and len(text) - at < _LONGEST_CLUSTER:
        if not _extends(text[at]) and text[at - 1] != _JOINER and not _pairs(text[at - 1], text[at]):
            break
        at -= 1
    return len(text) - at


def _starts(letter: str) -> bool:
    """Initial consonants, pictures, letters of flags."""
    return (
        "\u1100" <= letter <= "\u115f" or "\ua960" <= letter <= "\ua97c" or "\u2600" <= letter <= "\u27bf"
        or "\U0001f000" <= letter <= "\U0001faff"
    )  # fmt: skip


def _extends(letter: str) -> bool:
    """Vowels and final consonants, joiners, variants, skins, tags."""
    return (
        "\u1160" <= letter <= "\u11ff" or "\ud7b0" <= letter <= "\ud7fb"
        or letter in "\u200d\ufe0e\ufe0f\u20e3"
        or "\U0001f3fb" <= letter <= "\U0001f3ff" or "\U000e0020" <= letter <= "\U000e007f"
    )  # fmt: skip


def _pairs(first: str, second: str) -> bool:
    """Two initial consonants of one syllable, or the two letters of a flag."""
    jamo = all("\u1100" <= letter <= "\u115f" for letter in (first, second))
    return jamo or all("\U0001f1e6" <= letter <= "\U0001f1ff" for letter in (first, second))
