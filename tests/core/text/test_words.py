"""Encoding word by word gives the ids of the whole text, whatever was met before."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.checkpoints import tokenizer_json
from kit.texts import edges
from kit.vocabularies import byte_level

import lumen_core.text.words as module
from lumen_core.errors import TokenizerError
from lumen_core.text.encoders import SHORT_TEXT, ByteLevel, cutter
from lumen_core.text.json_encoder import cuts_of
from lumen_core.text.pretokenizers import CLAUSES, CUTS, NOWHERE, PRETOKENIZERS, WORDS
from lumen_core.text.vocabulary import Vocabulary
from lumen_core.text.words import WordEncoder, run

RULES = sorted({rules: pre for pre, rules in PRETOKENIZERS.items()}.values())


@pytest.mark.parametrize("pre", RULES)
@settings(max_examples=300)
@given(edges)
def test_no_rule_looks_across_a_cut(pre: str, text: str) -> None:
    rules = PRETOKENIZERS[pre]
    pieces = cutter(rules).pre_tokenize_str
    whole = [piece for piece, _ in pieces(text)]
    assert [piece for word in re.split(rules.cut, text) for piece, _ in pieces(word)] == whole


@lru_cache
def encoder(pre: str = "qwen2") -> tuple[WordEncoder, Any]:
    vocabulary = Vocabulary.read(byte_level(pre))
    encoder = ByteLevel(vocabulary)
    encoder("a " * SHORT_TEXT)  # a long text makes the whole tables
    assert encoder._whole is not None
    return encoder._whole, encoder._pipeline


@settings(max_examples=300)
@given(edges, st.sampled_from([1, 2, 256]), st.sampled_from(["qwen2", "gpt-2", "exaone-moe"]))
def test_ids_are_those_of_the_whole_text(text: str, together: int, pre: str) -> None:
    words, pipeline = encoder(pre)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "TOGETHER", together)
        patch.setattr(module, "MOST_WORDS", 20)
        assert words(text) == run(pipeline, [text])[0].ids
        assert words(text) == run(pipeline, [text])[0].ids  # now from memory


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_WORDS", 100)
    words = WordEncoder(encoder()[1], WORDS, byte_level()["tokenizer.ggml.tokens"])  # type: ignore[arg-type]
    for start in range(0, 1000, 50):
        words(" ".join(f"w{number}" for number in range(start, start + 50)))
        words("가" * 1000)
    assert len(words._known) <= 150 and max(map(len, words._known)) < 20


def test_a_text_that_cannot_be_cut_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    words, _ = encoder()
    monkeypatch.setattr(module, "LONGEST_STRETCH", 1000)
    assert len(words("가 " * 1000)) >= 1000
    with pytest.raises(TokenizerError, match=r"1001 characters without a place .* \(limit 1000\)"):
        words("가" * 1001)


@pytest.mark.parametrize(("change", "expected"), [
    ({}, WORDS), ({"normalizer": None}, WORDS),
    ({"normalizer": {"type": "Sequence", "normalizers": [{"type": "NFC"}]}}, WORDS),
    ({"normalizer": {"type": "NFKC"}}, NOWHERE),
    ({"normalizer": {"type": "Prepend", "prepend": "▁"}}, NOWHERE),
    ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False}}, WORDS),
    ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": True}}, NOWHERE),
    ({"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": False}}, NOWHERE),
    ({"pre_tokenizer": None}, NOWHERE), ({"pre_tokenizer": {"type": "Metaspace"}}, NOWHERE),
    ({"pre_tokenizer": {"type": "Digits", "individual_digits": True}}, NOWHERE),
    ({"added_tokens": [{"content": "<a b>"}]}, NOWHERE), ({"added_tokens": [{"content": "<a>"}]}, WORDS),
    ({"added_tokens": [{"content": "<a>", "rstrip": True}]}, NOWHERE),
])  # fmt: skip
def test_a_tokenizer_json_is_cut_only_where_it_is_known(change: dict[str, Any], expected: object) -> None:
    published = next(form for form in CUTS if r"|\p{N}| ?" in form and r"\s*[\r\n]+" in form)
    assert cuts_of(tokenizer_json(pattern=published) | change) is expected


def test_a_rule_of_its_own_is_not_cut() -> None:
    assert cuts_of(tokenizer_json()) is NOWHERE
    spans = next(form for form, cut in CUTS.items() if cut is CLAUSES)
    assert cuts_of(tokenizer_json(pattern=spans)) is CLAUSES
    only_digits = json.loads(json.dumps(tokenizer_json(pattern=r"\p{N}")))
    assert cuts_of(only_digits) is NOWHERE
