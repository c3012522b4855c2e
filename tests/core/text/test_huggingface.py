"""A `tokenizer.json` is obeyed as it stands: equality with the library that defines it, on Korean texts."""

from __future__ import annotations

import json
import time
import unicodedata
from functools import lru_cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.checkpoints import tokenizer_json
from kit.vocabularies import CORPUS, sentence_piece

from lumen_core.engine.loading import load_tokenizer
from lumen_core.errors import TokenizerError
from lumen_core.text import json_encoder
from lumen_core.text.huggingface import from_json
from lumen_core.text.pretokenizers import PRETOKENIZERS
from lumen_core.text.recognize import recognized
from lumen_core.text.stream import StreamDecoder
from lumen_core.text.tokenizer import Tokenizer, build

SYLLABLES = st.characters(min_codepoint=0xAC00, max_codepoint=0xD7A3)
JAMO = st.characters(min_codepoint=0x1100, max_codepoint=0x11FF, categories=["Lo"])
COMPATIBLE = st.characters(min_codepoint=0x3131, max_codepoint=0x318E, categories=["Lo"])
HANJA = st.characters(min_codepoint=0x4E00, max_codepoint=0x9FA5)
OTHERS = st.sampled_from(
    ["👨\u200d👩\u200d👧", "🇰🇷", "a\u0301", "\0", "\x1b", "\u200f", "\u302e", "1,234", " ", "  ", "\n",
     "\r\n", "\t", "don't", "AI모델", "가\u1102", "<|im_end|>", "<think>",
     "</think>", "<|im_start", "한글", "ﬀ", "Ａ"]
)  # fmt: skip
KOREAN = st.lists(
    st.one_of(SYLLABLES, JAMO, COMPATIBLE, HANJA, OTHERS, st.characters(max_codepoint=0x7F)), max_size=24
).map("".join)
TEXTS = st.one_of(KOREAN, KOREAN.map(lambda text: unicodedata.normalize("NFD", text)))
SETTINGS = settings(max_examples=150)


@lru_cache
def trained(normalizer: str | None, pre: str) -> tuple[Any, Tokenizer]:
    """A vocabulary with merges, by the library alone and by us."""
    from tokenizers import AddedToken, trainers
    from tokenizers import Tokenizer as Library

    from lumen_core.text.encoders import cutter

    content = tokenizer_json(normalizer)
    library = Library.from_str(json.dumps(content | {"added_tokens": []}))
    library.pre_tokenizer = cutter(PRETOKENIZERS[pre])
    trainer = trainers.BpeTrainer(vocab_size=700, show_progress=False,
                                  initial_alphabet=list(content["model"]["vocab"])[:256])  # fmt: skip
    library.train_from_iterator([CORPUS * 4], trainer)
    for entry in content["added_tokens"]:
        add = library.add_special_tokens if entry["special"] else library.add_tokens
        add([AddedToken(entry["content"], special=entry["special"], normalized=False)])
    return library, build(from_json(library.to_str()))


FORMS = [(None, "gpt-2"), ("NFC", "qwen2"), (None, "exaone"), ("NFC", "exaone-moe"), (None, "gpt-4o")]


@pytest.mark.parametrize("form", FORMS, ids=str)
@SETTINGS
@given(TEXTS)
def test_ids_are_those_of_the_library(form: tuple[str | None, str], text: str) -> None:
    library, ours = trained(*form)
    assert ours.encode(text, parse_special=True) == library.encode(text).ids
    ids = ours.encode(text)
    assert not any(map(ours.is_control, ids))
    whole = text if form[0] is None else unicodedata.normalize("NFC", text)
    assert ours.decode(ids) == whole
    decoder = StreamDecoder(ours)
    assert "".join([*map(decoder.push, ids), decoder.finish()]) == whole


@lru_cache
def with_byte_fallback() -> tuple[Any, Tokenizer]:
    """Pieces with marked spaces, bytes for what they lack: as SentencePiece models are converted."""
    from tokenizers import Tokenizer as Library

    words = sentence_piece()
    tokens: Any = words["tokenizer.ggml.tokens"]
    known = set(tokens)
    merges = [[whole[:cut], whole[cut:]] for whole in tokens[259:] for cut in range(1, len(whole))
              if whole[:cut] in known and whole[cut:] in known]  # fmt: skip
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    spaces = {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}
    undone = {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}
    start = [
        {"type": "ByteFallback"},
        {"type": "Fuse"},
        {"type": "Strip", "content": " ", "start": 1, "stop": 0},
    ]
    content = {
        "version": "1.0", "pre_tokenizer": None, "post_processor": None,
        "normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, spaces]},
        "decoder": {"type": "Sequence", "decoders": [undone, *start]},
        "added_tokens": [{"id": i, "content": text, **flags} for i, text in enumerate(tokens[:3])],
        "model": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True,
                  "vocab": {text: i for i, text in enumerate(tokens)}, "merges": merges},
    }  # fmt: skip
    return Library.from_str(json.dumps(content)), build(from_json(json.dumps(content)))


@SETTINGS
@given(st.one_of(TEXTS, st.text("thelo 가나\n", max_size=20)))
def test_byte_fallback_is_that_of_the_library(text: str) -> None:
    library, ours = with_byte_fallback()
    assert ours.encode(text, parse_special=True) == library.encode(text).ids
    ids = ours.encode(text)
    assert ours.decode(ids) == text and not any(map(ours.is_control, ids))
    decoder = StreamDecoder(ours, at_start=True)
    assert "".join([*map(decoder.push, ids), decoder.finish()]) == text


@SETTINGS
@given(TEXTS)
def test_what_is_shielded_steers_nothing(text: str) -> None:
    ours = trained(None, "gpt-2")[1]
    shielded = ours.encode(ours.shield(text) + "<|im_end|>", parse_special=True)
    assert sum(map(ours.is_control, shielded)) == 1
    assert ours.decode(shielded) == text.replace("\ufdd0", "")


@pytest.mark.parametrize(
    "pre", ["gpt-2", "qwen2", "exaone", "exaone-moe", "gpt-4o", "qwen35", "dbrx", "hyperclovax"]
)
def test_the_rules_are_recognized(pre: str) -> None:
    library, _ = trained(None, pre)
    assert recognized(from_json(library.to_str())) == pre


@pytest.mark.parametrize(
    "unit", [" ", "a", "\u1100", "가", "1", "\n", "!", "ㅋ", "가 ", "\u1112\u1161\u11ab"]
)
@pytest.mark.parametrize("form", [FORMS[1], FORMS[3]], ids=str)
def test_time_is_linear(form: tuple[str | None, str], unit: str) -> None:
    ours = trained(*form)[1]
    count = 200_000 // len(unit)
    ours.encode("warm")
    begin = time.process_time()
    ours.encode(unit * count)
    assert time.process_time() - begin < 2.0


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"model": {"type": "Unigram", "vocab": {}}}, "Unigram"),
        ({"model": {"vocab": []}}, "model.vocab"),
        ({"model": {"type": "BPE", "vocab": {"a": "0"}}}, "has the id"),
        ({"model": {"type": "BPE", "vocab": {"a": 0, "b": 0}}}, "the id 0 stands for"),
        ({"model": {"type": "BPE", "vocab": {"a": 0}, "merges": ["a"]}}, "not two parts"),
        ({"pre_tokenizer": None, "decoder": None}, "neither a byte-level"),
        ({"added_tokens": {}}, None),
        ({"added_tokens": [3]}, "no token"),
    ],
)
def test_wrong_files_are_refused(change: dict[str, Any], reason: str | None) -> None:
    text = json.dumps(tokenizer_json() | change)
    if reason is None:
        from_json(text)
        return
    with pytest.raises(TokenizerError, match=reason):
        from_json(text)


def test_no_json_is_refused() -> None:
    for text in ("", "[]", "{", "3", '"a"', "[" * 100_000):
        with pytest.raises(TokenizerError):
            from_json(text)


def test_a_directorys_pipeline_is_built_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By reading the directory, for both ways to read names of control tokens."""
    (tmp_path / "tokenizer.json").write_text(json.dumps(tokenizer_json()))
    built: list[str] = []
    build_pipeline = json_encoder.load_pipeline
    monkeypatch.setattr(
        json_encoder, "load_pipeline", lambda text: (built.append(text), build_pipeline(text))[1]
    )
    tokenizer = load_tokenizer(tmp_path)
    ids = tokenizer.encode("ab<|begin|>", parse_special=True)
    assert ids == [256, 257] and len(tokenizer.encode("ab<|begin|>")) > 2
    assert tokenizer.encode("ab<|begin|>", parse_special=True) == ids
    assert len(built) == 1
