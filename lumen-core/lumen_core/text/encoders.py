"""From plain text to ids, by the libraries that know the two kinds of vocabulary.

In: a `Vocabulary`.  Out: a function from text (without special tokens) to ids.
Byte-level BPE goes through `tokenizers`, SentencePiece BPE through `sentencepiece`; both are imported here
only, when a text is first encoded.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from lumen_core.errors import TokenizerError
from lumen_core.text.huggingface import JSON_KEY, PROTO_KEY, JsonEncoder
from lumen_core.text.pretokenizers import PreTokenizer, pretokenizer
from lumen_core.text.vocabulary import BYTE, CONTROL, NORMAL, UNKNOWN, Vocabulary, text_list
from lumen_core.text.words import WordEncoder

Encoder = Callable[[str], list[int]]


def encoder(vocabulary: Vocabulary) -> Encoder:
    text = vocabulary.metadata.get(JSON_KEY)
    if isinstance(text, str):
        return JsonEncoder(text, vocabulary.tokens)
    return byte_level(vocabulary) if vocabulary.byte_level else sentence_piece(vocabulary)


def byte_level(vocabulary: Vocabulary) -> Encoder:
    """Cut by regexes, write bytes as printable characters, merge by rank."""
    from tokenizers import Tokenizer, normalizers

    name = vocabulary.metadata.get("tokenizer.ggml.pre")
    rules = pretokenizer(name if isinstance(name, str) else None)
    pipeline = Tokenizer(_merge_model(vocabulary, rules.whole_words))
    if rules.nfc:
        pipeline.normalizer = normalizers.NFC()
    pipeline.pre_tokenizer = cutter(rules)
    return WordEncoder(pipeline, rules.cut, vocabulary.tokens)


def cutter(rules: PreTokenizer) -> Any:
    """The library's form of the rules."""
    from tokenizers import Regex, pre_tokenizers

    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in rules.patterns]
    letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    return pre_tokenizers.Sequence([*cuts, letters])


def _merge_model(vocabulary: Vocabulary, whole_words: bool) -> Any:
    from tokenizers.models import BPE

    lines = text_list(vocabulary.metadata.get("tokenizer.ggml.merges"))
    if lines is None:
        raise TokenizerError(
            "tokenizer.ggml.merges is missing or no list of strings; convert the model again"
        )
    ids = dict(zip(vocabulary.tokens, range(len(vocabulary.tokens)), strict=True))
    merges: list[Any] = [tuple(line.split(" ")) for line in lines]
    try:
        return BPE(vocab=ids, merges=merges, ignore_merges=whole_words)
    except Exception:
        # A merge that is no pair is an error of the file; one whose result is no token can never show.
        for index, pair in enumerate(merges):
            if len(pair) != 2 or not all(pair):
                raise TokenizerError(
                    f"tokenizer.ggml.merges[{index}] is {lines[index][:80]!r}, not two parts"
                ) from None
    merges = [pair for pair in merges if {pair[0], pair[1], pair[0] + pair[1]} <= ids.keys()]
    try:
        return BPE(vocab=ids, merges=merges, ignore_merges=whole_words)
    except Exception as error:
        raise TokenizerError(f"tokenizer.ggml.merges cannot be used: {error}") from None


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
