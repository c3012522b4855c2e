"""Tokenizer files of a checkpoint directory: read into the metadata keys that every vocabulary has.

In: the content of `tokenizer.json` (or of a SentencePiece model) and of the configs beside it.
Out: `tokenizer.*` metadata.  The file itself travels along under `JSON_KEY`: texts are cut by running it as
it stands, never by what the model's kind suggests.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from lumen_core.errors import TokenizerError
from lumen_core.text.json_encoder import JsonText, parts_of
from lumen_core.text.vocabulary import (
    BYTE,
    BYTE_LEVEL,
    CONTROL,
    NORMAL,
    SENTENCE_PIECE,
    SPACE,
    UNKNOWN,
    UNUSED,
    USER_DEFINED,
)

JSON_KEY = "tokenizer.huggingface.json"
PROTO_KEY = "tokenizer.sentencepiece.model"
MOST_TOKENS = 1 << 24
_STAGES = ("normalizer", "pre_tokenizer", "decoder")
_BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")


def from_json(text: str) -> dict[str, object]:
    """Vocabulary, kinds and merges of a `tokenizer.json`; raises TokenizerError naming what is wrong."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TokenizerError(f"tokenizer.json is not valid JSON: {error}") from None
    model = content.get("model") if isinstance(content, dict) else None
    if not isinstance(model, dict) or not isinstance(model.get("vocab"), dict):
        raise TokenizerError("tokenizer.json: model.vocab is missing or no table")
    kind = model.get("type", "BPE")
    if kind != "BPE":
        raise TokenizerError(f"tokenizer.json: the model {str(kind)[:40]!r} is not known; known: BPE")
    byte_level = any(part.get("type") == "ByteLevel" for part in parts_of(content, *_STAGES))
    if not byte_level and not any(token.startswith(SPACE) for token in model["vocab"]):
        raise TokenizerError("tokenizer.json: neither a byte-level vocabulary nor one with marked spaces")
    added = content.get("added_tokens") or []
    tokens, kinds = _vocabulary(model, added, byte_level)
    result: dict[str, object] = {
        "tokenizer.ggml.model": BYTE_LEVEL if byte_level else SENTENCE_PIECE,
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.merges": _merges(model.get("merges")),
        JSON_KEY: JsonText(text, content),
    }
    if not byte_level:
        result["tokenizer.ggml.scores"] = _scores(tokens, kinds)
        result["tokenizer.ggml.add_space_prefix"] = _adds_space(content)
    return result


def _adds_space(content: Mapping[str, Any]) -> bool:
    for part in parts_of(content, *_STAGES):
        if part.get("type") == "Prepend" and part.get("prepend") == SPACE:
            return True
        if part.get("type") == "Metaspace" and "add_prefix_space" not in part:
            return part.get("prepend_scheme", "always") != "never"
        if part.get("type") == "Metaspace":
            return bool(part["add_prefix_space"])
    return False


def _vocabulary(model: Mapping[str, Any], added: Any, byte_level: bool) -> tuple[list[str], np.ndarray]:
    table: dict[int, tuple[str, int]] = {}
    unknown = model.get("unk_token")
    for text, number in model["vocab"].items():
        kind = NORMAL
        if not byte_level and model.get("byte_fallback") and _BYTE_TOKEN.fullmatch(text):
            kind = BYTE
        elif not byte_level and text == unknown:
            kind = UNKNOWN
        _place(table, number, text, kind)
    if not isinstance(added, list):
        raise TokenizerError("tokenizer.json: added_tokens is no list")
    for entry in added:
        if not isinstance(entry, dict) or not isinstance(entry.get("content"), str):
            raise TokenizerError("tokenizer.json: added_tokens holds something that is no token")
        number, text = entry.get("id"), entry["content"]
        kind = CONTROL if entry.get("special") else USER_DEFINED
        if isinstance(number, int) and table.get(number, (text,))[0] == text:
            kind = UNKNOWN if table.get(number, ("", 0))[1] == UNKNOWN else kind
            table.pop(number, None)
        _place(table, number, text, kind)
    count = max(table) + 1
    tokens = [table[i][0] if i in table else f"[PAD{i}]" for i in range(count)]
    kinds = np.array([table[i][1] if i in table else UNUSED for i in range(count)], np.int32)
    return tokens, kinds


def _place(table: dict[int, tuple[str, int]], number: Any, text: str, kind: int) -> None:
    if type(number) is not int or not 0 <= number < MOST_TOKENS:
        raise TokenizerError(f"tokenizer.json: the token {text[:80]!r} has the id {str(number)[:40]}")
    if number in table:
        raise TokenizerError(
            f"tokenizer.json: the id {number} stands for {table[number][0][:80]!r} and for {text[:80]!r}"
        )
    table[number] = (text, kind)


def _merges(merges: Any) -> list[str]:
    lines = []
    for index, merge in enumerate(merges if isinstance(merges, list) else []):
        pair = merge.split(" ") if isinstance(merge, str) else merge
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(p, str) and p for p in pair):
            raise TokenizerError(f"tokenizer.json: merges[{index}] is {str(merge)[:80]!r}, not two parts")
        lines.append(f"{pair[0]} {pair[1]}")
    return lines


def _scores(tokens: Sequence[str], kinds: np.ndarray) -> np.ndarray:
    """The order of merging as scores: an earlier token first, as such vocabularies are written."""
    scores = -np.arange(len(tokens), dtype=np.float32)
    scores[kinds != NORMAL] = 0.0
    return scores


def from_sentence_piece(data: bytes) -> dict[str, object]:
    """Vocabulary, kinds and scores of a SentencePiece model."""
    from sentencepiece import SentencePieceProcessor

    processor = SentencePieceProcessor()
    try:
        processor.LoadFromSerializedProto(data)
    except (RuntimeError, OSError) as error:
        raise TokenizerError(f"tokenizer.model is no SentencePiece model: {error}") from None
    count = processor.GetPieceSize()
    kinds = np.full(count, NORMAL, np.int32)
    for number in range(count):
        if processor.IsUnknown(number):
            kinds[number] = UNKNOWN
        elif processor.IsControl(number):
            kinds[number] = CONTROL
        elif processor.IsByte(number):
            kinds[number] = BYTE
        elif processor.IsUnused(number):
            kinds[number] = UNUSED
    result: dict[str, object] = {
        "tokenizer.ggml.model": SENTENCE_PIECE,
        "tokenizer.ggml.tokens": [processor.IdToPiece(number) for number in range(count)],
        "tokenizer.ggml.token_type": kinds,
        "tokenizer.ggml.scores": np.array(
            [processor.GetScore(number) for number in range(count)], np.float32
        ),
        "tokenizer.ggml.add_space_prefix": bool(processor.EncodeAsPieces("a")[0].startswith(SPACE)),
        PROTO_KEY: np.frombuffer(data, np.uint8),
    }
    for name, number in (
        ("bos", processor.bos_id()),
        ("eos", processor.eos_id()),
        ("unknown", processor.unk_id()),
    ):
        if number >= 0:
            result[f"tokenizer.ggml.{name}_token_id"] = number
    return result


def with_added(vocabulary: dict[str, object], added: Mapping[str, Any]) -> dict[str, object]:
    """Add the `added_tokens_decoder` of a tokenizer config to a vocabulary that lacks them."""
    tokens, kinds = vocabulary["tokenizer.ggml.tokens"], vocabulary["tokenizer.ggml.token_type"]
    assert isinstance(tokens, list) and isinstance(kinds, np.ndarray)
    tokens, chosen = list(tokens), kinds.tolist()
    for key, entry in sorted(added.items(), key=lambda item: int(item[0]) if item[0].isdigit() else -1):
        text = entry.get("content") if isinstance(entry, dict) else None
        if not isinstance(text, str) or not key.isdigit() or int(key) >= MOST_TOKENS:
            raise TokenizerError(
                f"tokenizer_config.json: added_tokens_decoder has no token under {key[:40]!r}"
            )
        number = int(key)
        while len(tokens) <= number:
            tokens.append(f"[PAD{len(tokens)}]")
            chosen.append(UNUSED)
        if chosen[number] in (NORMAL, UNUSED):
            tokens[number], chosen[number] = text, CONTROL if entry.get("special") else USER_DEFINED
    result = vocabulary | {
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": np.array(chosen, np.int32),
    }
    if "tokenizer.ggml.scores" in vocabulary:
        scores = np.zeros(len(tokens), np.float32)
        old = vocabulary["tokenizer.ggml.scores"]
        assert isinstance(old, np.ndarray)
        scores[: len(old)] = old
        result["tokenizer.ggml.scores"] = scores
    return result
