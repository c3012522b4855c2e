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
        if isinstance(stop, str) or not all(isinstance(text, str) and text for text in stop):
            raise TokenizerError("stop strings are a list of texts that are not empty")
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
        if not self._stop:
            return text
        places = [(at, -len(stop), stop) for stop in self._stop if (at := text.find(stop)) >= 0]
        if places:
            found = min(places)
            self.stopped, self._held = found[2], ""
            return text[: found[0]]
        keep = self._possible(text)
        self._held = text[len(text) - keep :]
        return text[: len(text) - keep]

    def _possible(self, text: str) -> int:
        """How many characters at the end could be the begin of a stop string."""
        for length in range(min(self._longest - 1, len(text)), 0, -1):
            tail = text[-length:]
            if any(stop.startswith(tail) for stop in self._stop):
                return length
        return 0
