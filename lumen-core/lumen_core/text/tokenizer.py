"""Text to ids and back, by the vocabulary that a model file carries.

In: the metadata of a model file.  Out: a `Tokenizer`.
`encode` is exact to the id; `decode` of what `encode` gave is the text again (after the composition of
letters that some families demand).  Special tokens in a text are plain text unless `parse_special` says
otherwise, so that what a user writes can never steer the model.
"""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterable, Mapping
from functools import cached_property

from lumen_core.errors import TokenizerError
from lumen_core.text.encoders import Encoder, encoder
from lumen_core.text.huggingface import JSON_KEY, PROTO_KEY
from lumen_core.text.json_encoder import JsonEncoder
from lumen_core.text.pretokenizers import pretokenizer
from lumen_core.text.special import SpecialTokens
from lumen_core.text.vocabulary import CONTROL, UNKNOWN, USER_DEFINED, Vocabulary

SHIELD = "\ufdd0"  # never part of a text: Unicode reserves it for inner use


class Tokenizer:
    """Safe to share between threads; the merge tables are built when a text is first encoded."""

    def __init__(self, words: Vocabulary):
        self.words = words
        name = words.metadata.get("tokenizer.ggml.pre")
        rules = pretokenizer(name if isinstance(name, str) else None) if words.byte_level else None
        self.bos_id = words.special("bos")
        self.eos_id = words.special("eos")
        self.eos_ids = words.ends
        self.add_bos = words.flag("add_bos_token", rules.add_bos if rules else True)
        self.add_eos = words.flag("add_eos_token", False)
        self.add_space_prefix = not words.byte_level and words.flag("add_space_prefix", True)
        template = words.metadata.get("tokenizer.chat_template")
        self.chat_template = template if isinstance(template, str) else None
        self._encoder: Encoder | None = None
        self._lock = threading.Lock()
        # A tokenizer.json finds its own added tokens and puts its own spaces; so does an original model.
        self._runs_json = isinstance(words.metadata.get(JSON_KEY), str)
        self._own_space = self._runs_json or PROTO_KEY in words.metadata
        self._always = SpecialTokens({} if self._runs_json else words.of_kind(USER_DEFINED))

    @property
    def size(self) -> int:
        return len(self.words.tokens)

    @property
    def vocabulary(self) -> list[str]:
        """Every token as the file writes it, by id."""
        return self.words.tokens

    @cached_property
    def _control(self) -> SpecialTokens:
        return SpecialTokens(self.words.of_kind(UNKNOWN, CONTROL))

    @cached_property
    def _all_special(self) -> SpecialTokens:
        return SpecialTokens(self.words.of_kind(UNKNOWN, CONTROL, USER_DEFINED))

    def prepare(self) -> None:
        """Build the merge tables now (in another thread, say) instead of at the first text."""
        with self._lock:
            if self._encoder is None:
                self._encoder = encoder(self.words)

    def encode(self, text: str | bytes, add_special: bool = True, parse_special: bool = False) -> list[int]:
        """Return the ids of a text (bytes must be UTF-8).

        add_special    put the begin (and end) token around it where the vocabulary asks for that
        parse_special  read names of control tokens in the text as these tokens
        """
        text = checked_text(text)
        if self._encoder is None:
            self.prepare()
        assert self._encoder is not None
        if isinstance(self._encoder, JsonEncoder):
            ids = self._by_json(self._encoder, text, parse_special)
            return [*self._encoder.prefix, *ids, *self._encoder.suffix] if add_special else ids
        ids = [self.bos_id] if add_special and self.add_bos and self.bos_id is not None else []
        fresh = True  # at the begin, and after a special token
        for piece in (self._all_special if parse_special else self._always).split(text):
            if isinstance(piece, int):
                ids.append(piece)
                fresh = True
                continue
            if parse_special:
                piece = piece.replace(SHIELD, "")
            if fresh and self.add_space_prefix and not self._own_space:
                piece = " " + piece
            ids += self._encoder(piece)
            fresh = False
        if add_special and self.add_eos and self.eos_id is not None:
            ids.append(self.eos_id)
        return ids

    def _by_json(self, encoder: JsonEncoder, text: str, parse_special: bool) -> list[int]:
        if not parse_special:
            return encoder(text)
        if SHIELD not in text:
            return encoder.special(text)
        ids: list[int] = []
        for piece in self._all_special.split(text):
            ids += [piece] if isinstance(piece, int) else encoder(piece.replace(SHIELD, ""))
        return ids

    def shield(self, text: str, kept: Collection[str] = ()) -> str:
        """Make names of control tokens in a text plain text, also for `encode(..., parse_special=True)`.

        For what a user wrote and a chat template puts between real control tokens. `kept` are names to leave.
        """
        parts = []
        for piece in self._control.split(text.replace(SHIELD, "")):
            if isinstance(piece, int):
                name = self.words.tokens[piece]
                piece = name if name in kept else name[0] + SHIELD + name[1:]
            parts.append(piece)
        return "".join(parts)

    def token_bytes(self, token: int) -> bytes:
        """What one token stands for."""
        if not 0 <= token < self.size:
            raise TokenizerError(f"token id {token} is outside of the vocabulary (0 to {self.size - 1})")
        return self.words.bytes_of(token)

    def is_control(self, token: int) -> bool:
        return token in self.words.hidden

    def decode_bytes(self, ids: Iterable[int], special: bool = False) -> bytes:
        """The bytes of a sequence; control tokens show only if `special`."""
        hidden = frozenset[int]() if special else self.words.hidden
        parts: list[bytes] = []
        strip = self.add_space_prefix
        for token in map(int, ids):
            data = self.token_bytes(token)
            if token in self.words.hidden:
                if token not in hidden:
                    parts.append(data)
                continue
            parts.append(data[1:] if strip and data[:1] == b" " else data)
            strip = False
        return b"".join(parts)

    def decode(self, ids: Iterable[int], special: bool = False) -> str:
        """The text of a sequence; bytes that are no UTF-8 become U+FFFD."""
        return self.decode_bytes(ids, special).decode("utf-8", "replace")


def checked_text(text: str | bytes) -> str:
    """A text that has a UTF-8 form; a TokenizerError says where it has none."""
    if isinstance(text, bytes | bytearray | memoryview):
        try:
            return bytes(text).decode("utf-8")
        except UnicodeDecodeError as error:
            raise TokenizerError(f"the text is not UTF-8 at byte {error.start}: {error.reason}") from None
    if not isinstance(text, str):
        raise TokenizerError(f"a text is needed, not a {type(text).__name__}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        code = ord(text[error.start])
        raise TokenizerError(
            f"the text holds half a character (lone surrogate U+{code:04X}) at position {error.start}"
        ) from None
    return text


def build(metadata: Mapping[str, object]) -> Tokenizer:
    """Make the tokenizer of a model file; raises TokenizerError naming the key that is wrong."""
    return Tokenizer(Vocabulary.read(metadata))
