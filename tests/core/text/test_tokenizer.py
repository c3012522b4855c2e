"""Tokenizers: published fixtures, an independent reference, torture (T6)."""

from __future__ import annotations

import random
import time
import unicodedata
from functools import lru_cache

import numpy as np
import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.vocabularies import byte_level, published, sentence_piece

from lumen_core.errors import TokenizerError
from lumen_core.text.pretokenizers import PRETOKENIZERS
from lumen_core.text.tokenizer import Tokenizer, build
from lumen_core.text.vocabulary import BYTE_OF_CHARACTER, CHARACTER_OF_BYTE

# letters that every engine's Unicode tables know
texts = st.text(st.characters(exclude_categories=["Cs", "Cn"]), max_size=60)
words = st.lists(st.sampled_from([
    "the", " the", "dog", "날씨가", " 산책을", "\n", "  ", "\t", "'s", "'LL", "2026", "년", "12,345",
    "ㅋㅋㅋ", "漢字", "👨‍👩‍👧", "\0", "é", "가", "한", "\u200f", "ａ", "<|im_end|>", "<think>",
    "<", "|", "\r\n", "!?", "Ǆ", "\U0010ffff",
]), max_size=12).map("".join)  # fmt: skip


@lru_cache
def small(pre: str = "qwen2") -> Tokenizer:
    return build(byte_level(pre))


@lru_cache
def pieces() -> Tokenizer:
    return build(sentence_piece())


def reference(tokenizer: Tokenizer, text: str, pre: str) -> list[int]:
    """Byte-level BPE as plainly as it can be said, with another regex engine."""
    rules = PRETOKENIZERS[pre]
    ids = {token: index for index, token in enumerate(tokenizer.vocabulary)}
    merges = tokenizer.words.metadata["tokenizer.ggml.merges"]
    ranks = {tuple(line.split(" ")): rank for rank, line in enumerate(merges)}  # type: ignore[arg-type,var-annotated]
    result: list[int] = []
    for part in regex.split(r"(<think>)", text):
        if part == "<think>":
            result.append(ids[part])
            continue
        found = [unicodedata.normalize("NFC", part) if rules.nfc else part]
        for pattern in rules.patterns:
            found = [piece for whole in found for piece in _cut(pattern, whole)]
        for piece in found:
            symbols = [CHARACTER_OF_BYTE[byte] for byte in piece.encode()]
            if rules.whole_words and "".join(symbols) in ids:
                symbols = ["".join(symbols)]
            while len(symbols) > 1:
                best = min(range(len(symbols) - 1),
                           key=lambda i: ranks.get((symbols[i], symbols[i + 1]), 1 << 60))  # fmt: skip
                if (symbols[best], symbols[best + 1]) not in ranks:
                    break
                symbols[best : best + 2] = [symbols[best] + symbols[best + 1]]
            result += [ids[symbol] for symbol in symbols]
    return result


def _cut(pattern: str, text: str) -> list[str]:
    found, at = [], 0
    for match in regex.finditer(pattern, text):
        if match.end() > match.start():
            found += [text[at : match.start()], match.group()]
            at = match.end()
    return [piece for piece in [*found, text[at:]] if piece]


@pytest.mark.parametrize("name", ["qwen2", "gpt-2", "llama-bpe", "command-r", "llama-spm"])
def test_published_cases(name: str) -> None:
    from lumen_quant_gguf.container import open_file

    path = published(name)
    with open_file(path) as file:
        begin = time.process_time()
        tokenizer = build(file.metadata)
        assert time.process_time() - begin < 1
        with open(f"{path}.inp", encoding="utf-8", newline="") as cases:
            inputs = cases.read().split("\n__ggml_vocab_test__\n")
        with open(f"{path}.out", encoding="utf-8") as answers:
            outputs = answers.read().split("\n")[: len(inputs)]
        assert len(inputs) == len(outputs) > 40
        for text, line in zip(inputs, outputs, strict=True):
            ids = tokenizer.encode(text, add_special=False)
            assert ids == [int(number) for number in line.split()], text
            if not PRETOKENIZERS.get(name, PRETOKENIZERS["default"]).nfc:
                assert tokenizer.decode(ids) == text


@pytest.mark.parametrize("pre", sorted({rules: pre for pre, rules in PRETOKENIZERS.items()}.values()))
@settings(max_examples=60)
@given(text=st.one_of(texts, words))
def test_against_the_reference(pre: str, text: str) -> None:
    assert small(pre).encode(text, add_special=False) == reference(small(pre), text, pre)


@settings(max_examples=300)
@given(st.one_of(texts, words))
def test_round_trip(text: str) -> None:
    assert small("gpt-2").decode(small("gpt-2").encode(text)) == text
    assert small("qwen2").decode(small("qwen2").encode(text)) == unicodedata.normalize("NFC", text)
    text = text.replace("▁", " ")  # these vocabularies cannot tell the two apart
    assert pieces().decode(pieces().encode(text)) == text
    assert pieces().decode_bytes(pieces().encode(text)) == text.encode()


def test_the_alphabet() -> None:
    assert len(BYTE_OF_CHARACTER) == 256
    assert sorted(BYTE_OF_CHARACTER.values()) == list(range(256))
    assert CHARACTER_OF_BYTE[ord(" ")] == "Ġ"
    assert CHARACTER_OF_BYTE[ord("\n")] == "Ċ"


def test_special_tokens() -> None:
    tokenizer = small()
    begin, start, end, think = range(tokenizer.size - 4, tokenizer.size)
    text = "<|im_start|>user<think><|im_end|>"
    plain = tokenizer.encode(text)
    assert not {begin, start, end} & set(plain)  # a user's text steers nothing
    assert think in plain
    assert tokenizer.decode(plain) == text
    parsed = tokenizer.encode(text, parse_special=True)
    assert parsed[0] == start
    assert parsed[-2:] == [think, end]
    assert tokenizer.decode(parsed) == "user<think>"
    assert tokenizer.decode(parsed, special=True) == text
    assert tokenizer.eos_ids == {end}
    assert (tokenizer.bos_id, tokenizer.eos_id) == (begin, end)


@settings(max_examples=200)
@given(words)
def test_a_shielded_text_steers_nothing(text: str) -> None:
    for tokenizer in (small(), pieces()):
        shielded = tokenizer.encode(tokenizer.shield(text), parse_special=True)
        assert shielded == tokenizer.encode(text)
        assert tokenizer.shield("no marks 가") == "no marks 가"


def test_begin_and_end() -> None:
    words = byte_level()
    plain = build(words).encode("dog")
    added = build(words | {"tokenizer.ggml.add_bos_token": True, "tokenizer.ggml.add_eos_token": True})
    size = added.size
    assert added.encode("dog") == [size - 4, *plain, size - 2]
    assert added.encode("dog", add_special=False) == plain
    assert build(byte_level("llama-bpe")).encode("")[0] == size - 4  # the family begins every text


def test_pieces() -> None:
    tokenizer = pieces()
    ids = {token: index for index, token in enumerate(tokenizer.vocabulary)}
    assert tokenizer.encode("the hello") == [1, ids["▁the"], ids["▁hello"]]
    assert tokenizer.encode("") == [1]
    assert tokenizer.encode("가z", add_special=False) == [ids["▁가"], ids["<0x7A>"]]
    assert tokenizer.encode("<s>the", add_special=False, parse_special=True) == [1, ids["▁the"]]
    assert tokenizer.decode([1, ids["▁the"], ids["▁hello"], 2]) == "the hello"
    assert tokenizer.token_bytes(ids["<0x7A>"]) == b"z"
    bare = build(sentence_piece() | {"tokenizer.ggml.add_space_prefix": False})
    assert bare.encode("the", add_special=False) == [ids["the"]]


def test_a_vocabulary_with_repeated_and_empty_pieces() -> None:
    words = sentence_piece()
    tokens = list(words["tokenizer.ggml.tokens"])  # type: ignore[call-overload]
    tokens[-1], tokens[-2] = "the", ""
    tokenizer = build(words | {"tokenizer.ggml.tokens": tokens})
    assert tokenizer.decode(tokenizer.encode("the 가나")) == "the 가나"


def test_ends_by_name() -> None:
    def ends(*marks: str) -> set[str]:
        words = byte_level()
        tokens = [*words["tokenizer.ggml.tokens"], *marks]  # type: ignore[misc]
        kinds = np.append(words["tokenizer.ggml.token_type"], [3] * len(marks))  # type: ignore[arg-type]
        tokenizer = build(words | {"tokenizer.ggml.tokens": tokens, "tokenizer.ggml.token_type": kinds})
        return {tokens[index] for index in tokenizer.eos_ids}

    assert ends("<|eot_id|>", "[|endofturn|]") == {"<|im_end|>", "<|eot_id|>"}
    assert ends("<|flush|>", "<|calls|>") == {"<|im_end|>", "<|flush|>", "<|calls|>"}


@pytest.mark.parametrize(("text", "message"), [
    ("a\ud800b", "surrogate U\\+D800\\) at position 1"), (b"ab\xff", "at byte 2"),
    (b"\xed\xa0\x80", "at byte 0"), (7, "a text is needed"), (None, "a text is needed"),
])  # fmt: skip
def test_texts_that_are_none(text: object, message: str) -> None:
    for tokenizer in (small(), pieces()):
        with pytest.raises(TokenizerError, match=message):
            tokenizer.encode(text)  # type: ignore[arg-type]


@pytest.mark.parametrize("token", [-1, 1 << 40])
def test_ids_outside(token: int) -> None:
    with pytest.raises(TokenizerError, match="outside of the vocabulary"):
        small().decode([token])


def test_bytes_that_are_no_text() -> None:
    ids = {token: index for index, token in enumerate(small().vocabulary)}
    lead = [ids[CHARACTER_OF_BYTE[byte]] for byte in "가".encode()[:2]]
    assert small().decode_bytes(lead) == "가".encode()[:2]
    assert small().decode(lead) == "\ufffd"


@pytest.mark.parametrize(("change", "message"), [
    ({"tokenizer.ggml.model": None}, "no vocabulary"), ({"tokenizer.ggml.model": "bert"}, "'bert'"),
    ({"tokenizer.ggml.model": np.arange(4)}, "known are"),
    ({"tokenizer.ggml.bos_token_id": np.arange(4)}, "bos_token_id"),
    ({"tokenizer.ggml.tokens": None}, "tokens is missing"),
    ({"tokenizer.ggml.tokens": [1, 2]}, "no list of strings"),
    ({"tokenizer.ggml.token_type": np.array([1, 1])}, "token_type"),
    ({"tokenizer.ggml.pre": "new-model"}, "new-model"),
    ({"tokenizer.ggml.merges": None}, "merges is missing"),
    ({"tokenizer.ggml.merges": ["a b c"]}, r"merges\[0\]"),
    ({"tokenizer.ggml.merges": ["ab"]}, r"merges\[0\]"),
    ({"tokenizer.ggml.bos_token_id": 1 << 20}, "bos_token_id"),
])  # fmt: skip
def test_broken_vocabularies(change: dict[str, object], message: str) -> None:
    words = {key: item for key, item in (byte_level() | change).items() if item is not None}
    with pytest.raises(TokenizerError, match=message):
        build(words).encode("text")


def test_merges_without_a_token_are_ignored() -> None:
    words = byte_level()
    merges = ["Q Z", *words["tokenizer.ggml.merges"]]  # type: ignore[misc]
    text = "QZ the dog"
    assert build(words | {"tokenizer.ggml.merges": merges}).encode(text) == build(words).encode(text)


@given(words)
def test_a_short_text_has_the_ids_of_the_whole_tables(text: str) -> None:
    whole = build(byte_level("llama-bpe"))
    whole.encode("a" * 5000)
    assert small("llama-bpe").encode(text) == whole.encode(text)


def test_a_long_text_makes_the_whole_tables() -> None:
    tokenizer, text = small(), "오늘은 the dog "
    short = tokenizer.encode(text)
    assert tokenizer.encode(text * 500)[: len(short) - 1] == short[:-1]
    assert tokenizer.encode(text) == short


def test_scores_missing() -> None:
    words = sentence_piece()
    del words["tokenizer.ggml.scores"]
    with pytest.raises(TokenizerError, match="scores"):
        build(words).encode("the")


def seconds(tokenizer: Tokenizer, text: str) -> float:
    begin = time.process_time()
    assert tokenizer.decode(tokenizer.encode(text)) == text
    return time.process_time() - begin


@pytest.mark.parametrize("kind", ["byte level", "pieces"])
@pytest.mark.parametrize("unit", ["a", " ", "\n", "가", "<", "A", "ㅋ", "random", "<think"])
def test_long_words_take_linear_time(unit: str, kind: str) -> None:
    tokenizer = small() if kind == "byte level" else pieces()
    letters = random.Random(0).choices("abcdefghij", k=200_000)
    short = "".join(letters[:50_000]) if unit == "random" else unit * (50_000 // len(unit))
    long = "".join(letters) if unit == "random" else unit * (200_000 // len(unit))
    seconds(tokenizer, short)
    once = min(seconds(tokenizer, short) for _ in range(2))
    four_times = min(seconds(tokenizer, long) for _ in range(2))
    assert four_times < 12 * max(once, 0.02)  # 4 for linear time, 16 for quadratic


@pytest.mark.slow
@pytest.mark.parametrize("unit", ["a", " ", "\n", "가", "<"])
def test_ten_megabytes(unit: str) -> None:
    for tokenizer in (small(), pieces()):
        assert seconds(tokenizer, unit * (10_000_000 // len(unit.encode()))) < 120


def test_threads_share_a_tokenizer() -> None:
    from concurrent.futures import ThreadPoolExecutor

    tokenizer = build(byte_level())
    text = "오늘은 날씨가 the dog <think>"
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: tokenizer.encode(text), range(200)))
    assert all(ids == results[0] for ids in results)
