"""The demo model's text and file: right particles, right sums, honest held-out text, a true GGUF."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "demo"
SHIPPED = ROOT / "lumen-models-korean" / "lumen_models_korean" / "demo" / "demo.gguf"
REFERENCE = Path(__file__).parent / "data" / "demo_reference.npz"
sys.path.insert(0, str(DEMO))

import heldout  # noqa: E402  (the demo folder is no package)
from text.corpus import documents, is_held_out  # noqa: E402
from text.korean import Word, counting_number, final_consonant, sino_number, with_particle  # noqa: E402
from text.numbers import WEEKDAYS  # noqa: E402
from text.stories import NAMES  # noqa: E402


@pytest.fixture(scope="module")
def training_text() -> list[str]:
    return list(itertools.islice(documents(seed=99), 4000))


@pytest.fixture(scope="module")
def shipped() -> gguf.GGUFReader:
    return gguf.GGUFReader(SHIPPED)


@pytest.mark.parametrize(
    ("word", "particle", "expected"),
    [
        ("토끼", "은", "토끼는"),
        ("곰", "은", "곰은"),
        ("사과", "를", "사과를"),
        ("감", "를", "감을"),
        ("물", "로", "물로"),
        ("집", "로", "집으로"),
        ("학교", "으로", "학교로"),
        ("민준", "아", "민준아"),
        ("지우", "아", "지우야"),
        ("7", "로", "7로"),
        ("6", "로", "6으로"),
        ("10", "은", "10은"),
        ("2", "이므로", "2므로"),
        ("루멘(Lumen)", "은", "루멘(Lumen)은"),
        ("여름", "이었", "여름이었"),
        ("토끼", "이었", "토끼였"),
    ],
)
def test_particle_follows_last_sound(word: str, particle: str, expected: str) -> None:
    assert with_particle(word, particle) == expected
    assert f"{Word(word):{particle}}" == expected


def test_numbers_in_words() -> None:
    assert [counting_number(n) for n in (1, 4, 5, 20, 21, 33)] == [
        "한",
        "네",
        "다섯",
        "스무",
        "스물한",
        "서른세",
    ]
    assert [sino_number(n) for n in (0, 7, 10, 16, 40, 99)] == ["영", "칠", "십", "십육", "사십", "구십구"]


def test_same_seed_same_text() -> None:
    first, again, other = (list(itertools.islice(documents(seed), 200)) for seed in (5, 5, 6))
    assert first == again
    assert first != other


def test_text_varies(training_text: list[str]) -> None:
    assert len(set(training_text)) > 0.9 * len(training_text)


def test_sums_are_right(training_text: list[str]) -> None:
    operators = {
        "+": lambda a, b: a + b,
        "-": lambda a, b: a - b,
        "×": lambda a, b: a * b,
        "÷": lambda a, b: a // b,
    }
    found = re.findall(r"(?<![+\d] )\b(\d+) ([+×÷-]) (\d+) = (\d+)", "\n".join(training_text))
    assert len(found) > 500
    wrong = [sum_ for sum_ in found if operators[sum_[1]](int(sum_[0]), int(sum_[2])) != int(sum_[3])]
    assert not wrong


def test_weekdays_are_right(training_text: list[str]) -> None:
    found = re.findall(r"오늘이 (.요일)이면 (어제|내일|모레)는 (.요일)", "\n".join(training_text))
    assert found
    distance = {"어제": -1, "내일": 1, "모레": 2}
    for today, when, answer in found:
        assert WEEKDAYS[(WEEKDAYS.index(Word(today)) + distance[when]) % 7] == answer


def test_names_take_the_right_particles(training_text: list[str]) -> None:
    closed, opened = ("은", "을", "과"), ("는", "를", "와")
    pattern = re.compile(rf"(?<![가-힣])({'|'.join(NAMES)})([은을과는를와])(?=[ ,.])")
    found = pattern.findall("\n".join(training_text))
    assert len(found) > 5000
    assert all(particle in (closed if final_consonant(name) else opened) for name, particle in found)


def test_held_out_text_is_not_trained_on(training_text: list[str]) -> None:
    held_out = heldout.read()
    assert len(held_out) == heldout.COUNT
    assert not set(held_out) & set(training_text)
    assert is_held_out("a key") == is_held_out("a key")


@pytest.mark.slow
def test_held_out_file_is_the_generator_s() -> None:
    assert (DEMO / "heldout.txt").read_text(encoding="utf-8") == heldout.text()


def _value(reader: gguf.GGUFReader, key: str) -> object:
    return reader.fields[key].contents()


def test_file_describes_a_qwen3(shipped: gguf.GGUFReader) -> None:
    assert SHIPPED.stat().st_size <= 8_000_000
    assert _value(shipped, "general.architecture") == "qwen3"
    assert _value(shipped, "qwen3.embedding_length") == 256
    assert _value(shipped, "tokenizer.ggml.model") == "gpt2"
    assert _value(shipped, "tokenizer.ggml.pre") == "qwen2"
    assert "im_start" in str(_value(shipped, "tokenizer.chat_template"))
    assert _value(shipped, "tokenizer.ggml.add_bos_token") is False


def test_every_block_format_fits(shipped: gguf.GGUFReader) -> None:
    for tensor in shipped.tensors:
        if len(tensor.shape) == 1:
            assert tensor.tensor_type == gguf.GGMLQuantizationType.F32
        else:
            assert tensor.tensor_type == gguf.GGMLQuantizationType.Q8_0
            assert int(tensor.shape[0]) % 256 == 0


def test_vocabulary_holds_every_byte(shipped: gguf.GGUFReader) -> None:
    tokens = _value(shipped, "tokenizer.ggml.tokens")
    assert isinstance(tokens, list)
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    byte_tokens = {chr(b) for b in printable} | {chr(256 + i) for i in range(256 - len(printable))}
    assert byte_tokens <= set(tokens)
    assert len(set(tokens)) == len(tokens)
    definition = json.loads((DEMO / "tokenizer.json").read_text(encoding="utf-8"))
    assert {token: tokens.index(token) for token in definition["model"]["vocab"]} == definition["model"][
        "vocab"
    ]
    end = _value(shipped, "tokenizer.ggml.eos_token_id")
    assert tokens[end] == "<|im_end|>"


def test_reference_is_of_the_shipped_file() -> None:
    reference = np.load(REFERENCE)
    assert str(reference["sha256"]) == hashlib.sha256(SHIPPED.read_bytes()).hexdigest()
    for number in range(5):
        assert reference[f"greedy_{number}"].shape == (48,)
        assert int(reference[f"logits_{number}"][-1].argmax()) == int(reference[f"greedy_{number}"][0])
