"""The vocabulary of a model file: tokens, their kinds, and what each stands for in bytes.

In: the metadata of a model file (`tokenizer.*` keys).
Out: a `Vocabulary`, or a TokenizerError that names the key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from lumen_core.errors import TokenizerError

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = 1, 2, 3, 4, 5, 6
BYTE_LEVEL, SENTENCE_PIECE = "gpt2", "llama"
ENDS_KEY = "tokenizer.huggingface.eos_token_ids"  # all that end a text, where the usual keys are too few
SPACE = "\u2581"  # what stands for a space in SentencePiece tokens

# Tokens that end a generation by what they say, besides those that the file declares.
_ENDS = frozenset((
    "<|eot_id|>", "<|im_end|>", "<|end|>", "<|return|>", "<|call|>", "<|flush|>", "<|calls|>",
    "<end_of_turn>", "<turn|>", "<|endoftext|>", "<|end_of_text|>", "<|eom_id|>", "<EOT>", "_<EOT>", "[EOT]",
    "[EOS]", "</s>", "<eos>", "<end_of_utterance>", "<｜end▁of▁sentence｜>",
))  # fmt: skip
_BYTE = re.compile(r"<0x([0-9A-Fa-f]{2})>")


def _printable_bytes() -> dict[str, int]:
    """The alphabet of byte-level vocabularies: every byte as one printable character."""
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    table = {chr(byte): byte for byte in visible}
    hidden = [byte for byte in range(256) if chr(byte) not in table]
    return table | {chr(256 + index): byte for index, byte in enumerate(hidden)}


BYTE_OF_CHARACTER = _printable_bytes()
CHARACTER_OF_BYTE = {byte: character for character, byte in BYTE_OF_CHARACTER.items()}


def text_list(value: object) -> list[str] | None:
    """A metadata array of strings as a list, or None."""
    if value is None or isinstance(value, str | bytes | np.ndarray) or not isinstance(value, Sequence):
        return None
    items = value.tolist() if hasattr(value, "tolist") else list(value)
    return items if not items or isinstance(items[0], str) else None


def _numbers(value: object) -> list[int]:
    return value.tolist() if isinstance(value, np.ndarray) and value.dtype.kind in "iu" else []


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """What a file says about its tokens; `metadata` keeps the rest for the encoders."""

    model: str
    tokens: list[str]
    kinds: np.ndarray
    metadata: Mapping[str, object]

    @staticmethod
    def read(metadata: Mapping[str, object]) -> Vocabulary:
        model = metadata.get("tokenizer.ggml.model")
        if model is None:
            raise TokenizerError("the file has no vocabulary: tokenizer.ggml.model is missing")
        if not isinstance(model, str) or model not in (BYTE_LEVEL, SENTENCE_PIECE):
            raise TokenizerError(
                f"tokenizer.ggml.model is {model!r}; known are {BYTE_LEVEL} and {SENTENCE_PIECE}"
            )
        tokens = text_list(metadata.get("tokenizer.ggml.tokens"))
        if not tokens:
            raise TokenizerError("tokenizer.ggml.tokens is missing, empty or no list of strings")
        kinds = np.asarray(metadata.get("tokenizer.ggml.token_type", np.full(len(tokens), NORMAL)))
        if kinds.dtype.kind not in "iu" or kinds.shape != (len(tokens),):
            raise TokenizerError(
                f"tokenizer.ggml.token_type does not give one number to each of {len(tokens)} tokens"
            )
        return Vocabulary(model, tokens, kinds, metadata)

    @property
    def byte_level(self) -> bool:
        return self.model == BYTE_LEVEL

    def special(self, name: str) -> int | None:
        """The id of `bos`, `eos`, ..., or None where the file declares none."""
        value = self.metadata.get(f"tokenizer.ggml.{name}_token_id")
        whole = value if isinstance(value, int) else None
        if value is None or whole in (-1, 0xFFFFFFFF):
            return None
        if whole is None or not 0 <= whole < len(self.tokens):
            raise TokenizerError(
                f"tokenizer.ggml.{name}_token_id is {value!r}, outside of {len(self.tokens)} tokens"
            )
        return whole

    def flag(self, name: str, default: bool) -> bool:
        value = self.metadata.get(f"tokenizer.ggml.{name}")
        return bool(value) if isinstance(value, bool | int) else default

    def of_kind(self, *kinds: int) -> dict[str, int]:
        """Text -> id of the tokens of these kinds, empty texts left out."""
        ids = np.flatnonzero(np.isin(self.kinds, kinds)).tolist()
        return {self.tokens[i]: i for i in ids if self.tokens[i]}

    @cached_property
    def hidden(self) -> frozenset[int]:
        """Tokens that steer the model and are no text, and rows of its matrix that stand for nothing."""
        return frozenset(np.flatnonzero(np.isin(self.kinds, (CONTROL, UNKNOWN, UNUSED))).tolist())

    @cached_property
    def ends(self) -> frozenset[int]:
        """The ids after which a generation is over."""
        declared = {self.special(name) for name in ("eos", "eot", "eom")} - {None}
        more = self.metadata.get(ENDS_KEY)
        declared |= {one for one in _numbers(more) if 0 <= one < len(self.tokens)}
        marks = np.flatnonzero(np.isin(self.kinds, (CONTROL, USER_DEFINED, UNUSED))).tolist()
        found = frozenset(i for i in marks if self.tokens[i] in _ENDS)
        return found | frozenset(i for i in declared if i is not None)

    def bytes_of(self, token: int) -> bytes:
        """What a token stands for; control tokens give their own name."""
        text, kind = self.tokens[token], self.kinds.item(token)
        if kind in (CONTROL, UNKNOWN) or (kind == USER_DEFINED and self.byte_level):
            return text.encode("utf-8")
        if self.byte_level:
            try:
                return bytes(map(BYTE_OF_CHARACTER.__getitem__, text))
            except KeyError:  # not of the alphabet: padding and the like
                return text.encode("utf-8")
        if kind == BYTE and (match := _BYTE.fullmatch(text)):
            return bytes((int(match[1], 16),))
        return text.replace(SPACE, " ").encode("utf-8")
