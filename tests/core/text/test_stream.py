"""Streaming: pieces of text add up to the whole, characters stay whole, stop strings never leak."""

from __future__ import annotations

from itertools import accumulate

import pytest
import regex
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.vocabularies import byte_level, published, sentence_piece

from lumen_core.errors import TokenizerError
from lumen_core.text.stream import StreamDecoder
from lumen_core.text.tokenizer import Tokenizer, build


class Bytes:
    """A tokenizer whose tokens 0 to 255 are bytes and 256 is control."""

    add_space_prefix = True

    def token_bytes(self, token: int) -> bytes:
        return b"<control>" if token == 256 else bytes((token,))

    def is_control(self, token: int) -> bool:
        return token == 256


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def run(data: bytes | list[int], **options: object) -> tuple[list[str], StreamDecoder]:
    decoder = StreamDecoder(Bytes(), **options)  # type: ignore[arg-type]
    return [*(decoder.push(token) for token in data), decoder.finish()], decoder


def test_characters_come_whole() -> None:
    assert run("가a🙂b".encode())[0] == ["", "", "가", "a", "", "", "", "", "🙂b", ""]


@pytest.mark.parametrize(
    "sign", ["👨\u200d👩\u200d👧", "👍🏽", "❤\ufe0f", "🇰🇷", "\u1112\u1161\u11ab", "\u1100\u1100\u1161", "🙂"]
)
def test_signs_come_whole(sign: str) -> None:
    pieces = [piece for piece in run(f"a{sign}b".encode())[0] if piece]
    assert pieces == ["a", f"{sign}b"]
    assert [piece for piece in run(f"a{sign}".encode())[0] if piece] == ["a", sign]


def test_what_may_grow_is_not_held_for_ever() -> None:
    pieces, _ = run(("🙂" * 100).encode())
    assert max(map(len, pieces)) == 1
    pieces, _ = run(("\u1100" * 1000).encode())
    assert "".join(pieces) == "\u1100" * 1000 and max(map(len, pieces[:-1])) < 40


def test_an_unfinished_character_is_one_mark() -> None:
    assert run("가".encode()[:2])[0] == ["", "", "\ufffd"]
    assert run("🙂".encode()[:3])[0][-1] == "\ufffd"
    assert run(b"a\x80b")[0] == ["a", "\ufffd", "b", ""]


@settings(max_examples=300)
@given(st.one_of(st.binary(max_size=40), texts.map(str.encode)))
def test_the_pieces_are_the_text(data: bytes) -> None:
    pieces, _ = run(data)
    assert "".join(pieces) == data.decode("utf-8", "replace")


@settings(max_examples=400)
@given(st.text("ab가", max_size=30), st.lists(st.text("ab가", min_size=1, max_size=4), max_size=3))
def test_stop_strings(text: str, stop: list[str]) -> None:
    pieces, decoder = run(text.encode(), stop=stop)
    # what a reader sees ends before the stop string that is complete first
    ends = [(text.find(word) + len(word), word) for word in stop if word in text]
    if not ends:
        assert "".join(pieces) == text
        assert decoder.stopped is None
    else:
        first = min(end for end, _ in ends)
        candidates = [word for end, word in ends if end == first]
        assert decoder.stopped == max(candidates, key=len)
        assert "".join(pieces) == text[: first - len(decoder.stopped)]


VOCABULARIES = {"byte level": build(byte_level()), "byte fallback": build(sentence_piece())}
SYLLABLES = "".join(map(chr, range(0xAC00, 0xD7A4)))


@pytest.mark.parametrize("kind", VOCABULARIES)
@settings(max_examples=400)
@given(data=st.data(), special=st.booleans())
def test_any_tokens_stream_as_they_decode(kind: str, data: st.DataObject, special: bool) -> None:
    tokenizer = VOCABULARIES[kind]
    ids = data.draw(st.lists(st.integers(0, tokenizer.size - 1), max_size=40))
    decoder = StreamDecoder(tokenizer, at_start=True, special=special)
    pieces = [*map(decoder.push, ids), decoder.finish()]
    assert "".join(pieces) == tokenizer.decode(ids, special)


def streamed(tokenizer: Tokenizer, text: str) -> list[str]:
    decoder = StreamDecoder(tokenizer, at_start=True)
    ids = tokenizer.encode(text, add_special=False)
    return [piece for piece in [*map(decoder.push, ids), decoder.finish()] if piece]


@pytest.mark.parametrize("kind", VOCABULARIES)
def test_every_syllable_comes_whole(kind: str) -> None:
    pieces = streamed(VOCABULARIES[kind], SYLLABLES)
    assert "".join(pieces) == SYLLABLES
    assert len(pieces) > 11_000  # and at once


@pytest.mark.parametrize("name", ["qwen2", "llama-bpe", "llama-spm"])
def test_every_syllable_of_published_vocabularies(name: str) -> None:
    from lumen_quant_gguf.container import open_file

    with open_file(published(name)) as file:
        assert "".join(streamed(build(file.metadata), SYLLABLES)) == SYLLABLES


SIGNS = st.sampled_from(
    ["\u1112\u1161\u11ab", "\u1100\u1161", "\u1105", "👨\u200d👩\u200d👧", "👍🏽", "🇰🇷", "가", "a", " "]
)


@settings(max_examples=300)
@given(st.lists(SIGNS, max_size=8).map("".join))
def test_no_piece_ends_inside_a_sign(text: str) -> None:
    pieces = [piece for piece in run(text.encode())[0] if piece]
    assert "".join(pieces) == text
    signs = set(accumulate(map(len, regex.findall(r"\X", text))))  # by Unicode's rules, where each one ends
    assert set(accumulate(map(len, pieces))) <= signs


def test_nothing_is_held_back_without_need() -> None:
    pieces, decoder = run(b"abxab<end>more", stop=["<end>", "abc"])
    assert pieces[:5] == ["", "", "abx", "", ""]
    assert "".join(pieces) == "abxab"
    assert decoder.stopped == "<end>"
    assert decoder.push(65) == decoder.finish() == ""


def test_control_tokens() -> None:
    assert run([65, 256, 66])[0] == ["A", "", "B", ""]
    assert run([65, 256, 66], special=True)[0] == ["A", "<control>", "B", ""]
    assert run([0xEA, 256, 0xB0, 0x80])[0] == ["", "", "", "가", ""]


def test_the_space_at_the_begin() -> None:
    assert run(b" a b", at_start=True)[0] == ["", "a", " ", "b", ""]
    assert run(b" a")[0] == [" ", "a", ""]


@pytest.mark.parametrize("stop", ["text", [""], [1], 5, None])
def test_stop_strings_that_are_none(stop: object) -> None:
    with pytest.raises(TokenizerError, match="stop strings"):
        StreamDecoder(Bytes(), stop)  # type: ignore[arg-type]
