"""Running a `tokenizer.json` as it stands, by the library that wrote it.

In: its text.  Out: a function from text to ids; names of control tokens are text or these tokens.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from lumen_core.errors import TokenizerError
from lumen_core.text.pretokenizers import CUTS, NOWHERE, WORDS
from lumen_core.text.vocabulary import CONTROL, USER_DEFINED
from lumen_core.text.words import WordEncoder, run


def parts_of(content: Mapping[str, Any], *names: str) -> Iterator[Mapping[str, Any]]:
    """All normalizers, pre-tokenizers or decoders, those inside of sequences too."""
    waiting = [content.get(name) for name in names]
    while waiting:
        part = waiting.pop()
        if isinstance(part, Mapping):
            yield part
            for name in ("normalizers", "pretokenizers", "decoders"):
                inner = part.get(name)
                waiting += inner if isinstance(inner, list) else []


class JsonText(str):
    """A `tokenizer.json` whose `content` was parsed; what runs it is made once and stays with the text."""

    content: Any
    _encoder: JsonEncoder | None = None

    def __new__(cls, text: str, content: Any = None) -> JsonText:
        made = super().__new__(cls, text)
        made.content = content
        return made

    def encoder(self, tokens: Sequence[str]) -> JsonEncoder:
        """Return what runs it; `tokens` are those that it numbers."""
        if self._encoder is None:
            pipeline = load_pipeline(self)  # which also checks the form of the content
            content = json.loads(self) if self.content is None else self.content
            self._encoder, self.content = JsonEncoder(pipeline, cuts_of(content), tokens), None
        return self._encoder


class _Reading:
    """One way to read names of control tokens, by a pipeline that both ways share."""

    def __init__(self, pipeline: Any, lock: threading.Lock, as_text: bool):
        self._pipeline, self._lock, self._as_text = pipeline, lock, as_text

    def encode_batch_fast(self, texts: list[str], add_special_tokens: bool) -> Any:
        with self._lock:
            self._pipeline.encode_special_tokens = self._as_text  # the library's name for: they are text
            return self._pipeline.encode_batch_fast(texts, add_special_tokens=add_special_tokens)


class JsonEncoder:
    """Runs a `tokenizer.json`.  `prefix` and `suffix` are what it puts around a text."""

    def __init__(self, pipeline: Any, cut: str, tokens: Sequence[str]):
        self._pipeline, lock = pipeline, threading.Lock()
        plain = _Reading(self._pipeline, lock, as_text=True)
        self._plain = WordEncoder(plain, cut, tokens)
        self._special = WordEncoder(_Reading(self._pipeline, lock, as_text=False), cut, tokens)
        self.prefix, self.suffix = self._around(plain)

    def _around(self, plain: _Reading) -> tuple[list[int], list[int]]:
        """Compare a letter with and without what surrounds it."""
        inner, outer = (run(plain, ["a"], around)[0].ids for around in (False, True))
        for start in range(len(outer) - len(inner) + 1):
            if outer[start : start + len(inner)] == inner:
                return outer[:start], outer[start + len(inner) :]
        return [], []

    def __call__(self, text: str) -> list[int]:
        """Names of control tokens in the text are text."""
        return self._plain(text)

    def special(self, text: str) -> list[int]:
        """Names of control tokens in the text are these tokens."""
        return self._special(text)

    def check(self, tokens: Sequence[str], kinds: np.ndarray) -> None:
        """The library numbers added tokens itself; the file must say the same numbers."""
        for number in np.flatnonzero(np.isin(kinds, (CONTROL, USER_DEFINED))).tolist():
            if (given := self._pipeline.token_to_id(tokens[number])) != number:
                raise TokenizerError(
                    f"tokenizer.json: the token {tokens[number][:80]!r} has the id {number}, but by its "
                    f"place in the file it would be {given}"
                )


def cuts_of(content: Mapping[str, Any]) -> str:
    """Where texts may be cut without a change to their ids; nowhere if the file has rules of its own."""
    for entry in content.get("added_tokens") or []:
        moves = any(entry.get(flag) for flag in ("lstrip", "rstrip", "single_word"))
        if moves or any(map(str.isspace, entry["content"])):
            return NOWHERE
    if any(part.get("type") not in ("NFC", "Sequence") for part in parts_of(content, "normalizer")):
        return NOWHERE
    cuts = []
    for part in parts_of(content, "pre_tokenizer"):
        pattern = part.get("pattern")
        if part.get("type") == "ByteLevel" and not part.get("add_prefix_space"):
            cuts.append(WORDS if part.get("use_regex", True) else None)
        elif part.get("type") == "Split" and part.get("behavior") == "Isolated" and isinstance(pattern, dict):
            if pattern.get("Regex") not in CUTS:
                return NOWHERE
            cuts.append(CUTS[pattern["Regex"]])
        elif part.get("type") not in ("Sequence", "Digits"):
            return NOWHERE
    found = [cut for cut in cuts if cut is not None]
    return found[0] if len(found) == 1 else NOWHERE


def load_pipeline(text: str) -> Any:
    """The library's form of a `tokenizer.json`, without its limits of length."""
    from tokenizers import Tokenizer

    try:
        pipeline = Tokenizer.from_str(text)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt | MemoryError | SystemExit):
            raise
        raise TokenizerError(f"tokenizer.json cannot be used: {error}") from None
    pipeline.no_truncation()
    pipeline.no_padding()
    return pipeline
