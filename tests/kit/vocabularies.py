"""Vocabularies for tests: small ones made here, published ones where a folder with them is found."""

from __future__ import annotations

import os
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from lumen_core.text.vocabulary import CHARACTER_OF_BYTE

ROOT = Path(__file__).resolve().parents[2]
SPECIAL = ("<|begin|>", "<|im_start|>", "<|im_end|>", "<think>")
CORPUS = (
    "the quick brown fox jumps over the lazy dog and then the dog sleeps; "
    "오늘은 날씨가 좋아서 공원에서 산책을 했습니다. "
    "내일도 날씨가 좋으면 친구와 함께 산책을 하겠습니다. 2026년 12,345개!\n"
)


def published(name: str) -> Path:
    """The path of a published vocabulary; skips the test where there is none."""
    folders = [os.environ.get("LUMEN_VOCAB_DIR"), ROOT.parent / "shared" / "vocab"]
    for folder in folders:
        if folder and (path := Path(folder) / f"ggml-vocab-{name}.gguf").exists():
            return path
    pytest.skip(f"no ggml-vocab-{name}.gguf; set LUMEN_VOCAB_DIR to a folder that has it")


def byte_level(pre: str = "qwen2", merges: int = 200) -> dict[str, object]:
    """A byte-level vocabulary trained on a few sentences, with some special tokens."""
    words = Counter(
        tuple(CHARACTER_OF_BYTE[byte] for byte in word.encode())
        for word in CORPUS.replace(" ", "\0 ").split("\0")
    )
    tokens, pairs = list(CHARACTER_OF_BYTE.values()), []
    for _ in range(merges):
        counts: Counter[tuple[str, str]] = Counter()
        for word, count in words.items():
            for pair in pairwise(word):
                counts[pair] += count
        if not counts:
            break
        best = max(counts, key=lambda pair: (counts[pair], pair))
        pairs.append(f"{best[0]} {best[1]}")
        tokens.append(best[0] + best[1])
        words = Counter({_merge(word, best): count for word, count in words.items()})
    kinds = [1] * len(tokens) + [3, 3, 3, 4]
    first = len(tokens)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": [*tokens, *SPECIAL],
        "tokenizer.ggml.token_type": np.array(kinds, np.int32),
        "tokenizer.ggml.merges": pairs,
        "tokenizer.ggml.bos_token_id": first,
        "tokenizer.ggml.eos_token_id": first + 2,
    }


def _merge(word: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    result: list[str] = []
    for letter in word:
        if result and result[-1] == pair[0] and letter == pair[1]:
            result[-1] += letter
        else:
            result.append(letter)
    return tuple(result)


def sentence_piece() -> dict[str, object]:
    """A SentencePiece vocabulary with byte fallback."""
    pieces = ["▁", "e", "h", "t", "l", "o", "가", "나", "th", "he", "▁t", "▁th", "the", "▁the", "llo",
              "hello", "lo", "▁he", "▁hello", "ll", "가나", "▁가"]  # fmt: skip
    tokens = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *pieces]
    kinds = [2, 3, 3] + [6] * 256 + [1] * len(pieces)
    scores = [0.0] * 259 + [-float(len(pieces) - len(piece)) for piece in pieces]
    return {
        "tokenizer.ggml.model": "llama",
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": np.array(kinds, np.int32),
        "tokenizer.ggml.scores": np.array(scores, np.float32),
        "tokenizer.ggml.bos_token_id": 1,
        "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.ggml.unknown_token_id": 0,
    }
