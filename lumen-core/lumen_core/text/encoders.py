"""From plain text to ids, by the libraries that know the two kinds of vocabulary.

In: a `Vocabulary`.  Out: a function from text (without special tokens) to ids.
Byte-level BPE goes through `tokenizers`, SentencePiece BPE through `sentencepiece`; both are imported here
only, when a text is first encoded.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from itertools import repeat
from typing import Any

import numpy as np

from lumen_core.errors import TokenizerError
from lumen_core.text.huggingface import JSON_KEY, PROTO_KEY
from lumen_core.text.json_encoder import JsonText
from lumen_core.text.pretokenizers import PreTokenizer, pretokenizer
from lumen_core.text.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, Vocabulary, text_list
from lumen_core.text.words import WordEncoder, run

Encoder = Callable[[str], list[int]]
SHORT_TEXT = 1000  # characters of a text that gets tables of its own
SHORT_WORD = 200  # bytes of its words
SHORT_TEXTS = 8  # so many texts get them: each takes 20 ms


def encoder(vocabulary: Vocabulary) -> Encoder:
    text = vocabulary.metadata.get(JSON_KEY)
    if isinstance(text, str):
        return (text if isinstance(text, JsonText) else JsonText(text)).encoder(vocabulary.tokens)
    return ByteLevel(vocabulary) if vocabulary.byte_level else sentence_piece(vocabulary)


class ByteLevel:
    """Cut by regexes, write bytes as printable characters, merge by rank.

    The library takes 0.2 s to index all merges of a usual vocabulary. A short text gets tables of the tokens
    that stand in it as a run of characters, and of their merges: no other merge can apply, so the ids are the
    same. The first long text gets the whole tables, which then serve all.
    """

    def __init__(self, vocabulary: Vocabulary):
        from tokenizers import Tokenizer, models, normalizers

        name = vocabulary.metadata.get("tokenizer.ggml.pre")
        self._rules = pretokenizer(name if isinstance(name, str) else None)
        self._tokens = vocabulary.tokens
        self._merges = _merges(vocabulary)
        self._pipeline = Tokenizer(models.BPE())
        if self._rules.nfc:
            self._pipeline.normalizer = normalizers.NFC()
        self._pipeline.pre_tokenizer = cutter(self._rules)
        self._whole: WordEncoder | None = None
        self._short_texts = 0
        self._lock = threading.Lock()

    def __call__(self, text: str) -> list[int]:
        if self._whole is None:
            with self._lock:
                if self._whole is None:
                    pieces = self._pieces(text)
                    self._pipeline.model = self._tables(pieces)
                    if pieces is not None:
                        self._short_texts += 1
                        ids: list[int] = run(self._pipeline, [text])[0].ids
                        return ids
                    self._whole = WordEncoder(self._pipeline, self._rules.cut, self._tokens)
                    self._merges = []
        return self._whole(text)

    def _pieces(self, text: str) -> set[str] | None:
        """The words of a short text, in the alphabet of bytes: merges join what is within one of them."""
        if len(text) > SHORT_TEXT or self._short_texts >= SHORT_TEXTS:
            return None
        normal = self._pipeline.normalizer
        text = normal.normalize_str(text) if normal is not None else text
        pieces = {piece for piece, _ in self._pipeline.pre_tokenizer.pre_tokenize_str(text)}
        return pieces if max(map(len, pieces), default=0) <= SHORT_WORD else None

    def _tables(self, pieces: set[str] | None) -> Any:
        """The tokens and merges that can occur within the pieces; None: all there are."""
        from tokenizers.models import BPE

        if pieces is None:
            ids = dict(zip(self._tokens, range(len(self._tokens)), strict=True))
            lines = self._merges
        else:
            bounds = ((p, i, j) for p in pieces for i in range(len(p)) for j in range(i + 1, len(p) + 1))
            runs = {p[i:j] for p, i, j in bounds}
            ids = {token: number for number, token in enumerate(self._tokens) if token in runs}
            wanted = {f"{token[:cut]} {token[cut:]}" for token in ids for cut in range(1, len(token))}
            lines = [line for line in self._merges if line in wanted]
        pairs = (line.split(" ") for line in lines)
        # A merge whose parts or result are no tokens can never show.
        merges = [(left, right) for left, right in pairs if {left, right, left + right} <= ids.keys()]
        return BPE(vocab=ids, merges=merges, ignore_merges=self._rules.whole_words)


def cutter(rules: PreTokenizer) -> Any:
    """The library's form of the rules."""
    from tokenizers import Regex, pre_tokenizers

    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in rules.patterns]
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([*cuts, letters])


def _merges(vocabulary: Vocabulary) -> list[str]:
    """Every merge as the file writes it ("left right"), best first."""
    lines = text_list(vocabulary.metadata.get("tokenizer.ggml.merges"))
    if lines is None:
        raise TokenizerError(
            "tokenizer.ggml.merges is missing or no list of strings; convert the model again"
        )
    for index, count in enumerate(map(str.count, lines, repeat(" "))):
        if count != 1:
            raise TokenizerError(f"tokenizer.ggml.merges[{index}] is {lines[index][:80]!r}, not two parts")
    return lines


def sentence_piece(vocabulary: Vocabulary) -> Encoder:
    """Merge by score, unknown characters byte by byte."""
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor()
    original = vocabulary.metadata.get(PROTO_KEY)
    try:
        if isinstance(original, np.ndarray):
            processor.LoadFromSerializedProto(original.astype(np.uint8).tobytes())
        else:
            processor.LoadFromSerializedProto(_sentence_piece_model(vocabulary))
    except (RuntimeError, OSError) as error:
        raise TokenizerError(
            f"tokenizer.ggml.tokens is no usable SentencePiece vocabulary: {error}"
        ) from None
    return processor.EncodeAsIds


def _number(value: int) -> bytes:
    data = bytearray()
    while value > 127:
        data.append(value & 127 | 128)
        value >>= 7
    data.append(value)
    return bytes(data)


def _field(number: int, data: bytes | int) -> bytes:
    """One field of a protocol buffer: a number, or bytes with their length."""
    if isinstance(data, int):
        return _number(number << 3) + _number(data)
    return _number(number << 3 | 2) + _number(len(data)) + data


def _sentence_piece_model(vocabulary: Vocabulary) -> bytes:
    """Write the model file that the library would have read from the original checkpoint."""
    scores = vocabulary.metadata.get("tokenizer.ggml.scores")
    if not isinstance(scores, np.ndarray) or scores.shape != (len(vocabulary.tokens),):
        raise TokenizerError("tokenizer.ggml.scores does not give one score to each token")
    kinds = vocabulary.kinds.copy()
    unknown = vocabulary.special("unknown")
    if not (kinds == UNKNOWN).any():
        kinds[0 if unknown is None else unknown] = UNKNOWN
    elif (kinds == UNKNOWN).sum() > 1:  # the library takes exactly one
        kinds[np.flatnonzero(kinds == UNKNOWN)[1:]] = CONTROL
    parts = []
    taken: set[str] = set()
    for index, (text, score, kind) in enumerate(
        zip(vocabulary.tokens, scores.tolist(), kinds.tolist(), strict=True)
    ):
        if not text or text in taken:  # the library refuses those; such a token can only be generated
            text, kind = f"\ue000{index}", CONTROL
        taken.add(text)
        piece = _field(1, text.encode("utf-8")) + b"\x15" + struct.pack("<f", score)
        parts.append(_field(1, piece if kind == NORMAL else piece + _field(3, int(kind))))
    bytes_known = int((kinds == BYTE).sum()) == 256
    trainer = _field(3, 2) + _field(4, len(vocabulary.tokens)) + _field(35, int(bytes_known))
    trainer += _field(40, int(np.flatnonzero(kinds == UNKNOWN)[0]))
    normalizer = _field(1, b"identity") + _field(3, 0) + _field(4, 0) + _field(5, 1)
    return b"".join(parts) + _field(2, trainer) + _field(3, normalizer)
