"""The families' chat formats: who is recognized by what, where a turn ends, what thinking changes."""

from __future__ import annotations

import pytest

from lumen_core.text.chat import Channels, ChatFamily, family_of
from lumen_models_korean import chats

CHATML = {"<|im_start|>", "<|im_end|>", "<|endoftext|>"}
VOCABULARIES: dict[str, tuple[set[str], ChatFamily]] = {
    "Qwen": (CHATML, chats.QWEN),
    "EXAONE": ({"[|system|]", "[|user|]", "[|assistant|]", "[|endofturn|]", "[BOS]"}, chats.EXAONE),
    "K-EXAONE": (
        {"<|user|>", "<|assistant|>", "<|endofturn|>", "<|tool|>", "<|tool_declare|>"},
        chats.K_EXAONE,
    ),
    "HyperCLOVA X": (CHATML | {"<|endofturn|>", "<|stop|>"}, chats.HYPERCLOVA_X),
    "Solar Open": (
        {"<|begin|>", "<|end|>", "<|content|>", "<|think|>", "<|flush|>", "<|calls|>", "<|endoftext|>"},
        chats.SOLAR_OPEN,
    ),
    "Mi:dm": ({"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|begin_of_text|>"}, chats.LLAMA3),
    "A.X": (CHATML | {"<|user|>", "<|assistant|>", "<|system|>"}, chats.A_X),
}


@pytest.mark.parametrize("name", VOCABULARIES)
def test_a_vocabulary_is_recognized(name: str) -> None:
    vocabulary, family = VOCABULARIES[name]
    assert family_of(vocabulary, chats.ALL) is family
    assert set(family.ends) <= vocabulary


def parts(family: ChatFamily, prompt: str, stream: str) -> list[tuple[str, str]]:
    channels = Channels(family.marks, prompt)
    return [*channels.push(stream), *channels.finish()]


def test_hyperclova_x_goes_on_after_its_thoughts() -> None:
    assert "<|im_end|>" not in chats.HYPERCLOVA_X.ends
    stream = "생각<|im_end|>\n<|im_start|>assistant\n답<|im_end|>"
    expected = [("reasoning", "생각"), ("answer", "답")]
    assert parts(chats.HYPERCLOVA_X, "<|im_start|>assistant/think\n", stream) == expected
    assert parts(chats.HYPERCLOVA_X, "<|im_start|>assistant", "/think\n" + stream) == expected
    called = "<|im_end|>\n<|im_start|>assistant -> tool/function_call\n[{}]<|im_end|>"
    assert parts(chats.HYPERCLOVA_X, "<|im_start|>assistant\n", "네" + called) == [
        ("answer", "네"),
        ("tool", "[{}]"),
    ]


def test_solar_open_ends_no_turn_with_a_section() -> None:
    assert "<|end|>" not in chats.SOLAR_OPEN.ends
    stream = "<|think|>생각<|end|><|begin|>assistant<|content|>답<|end|>"
    assert parts(chats.SOLAR_OPEN, "<|begin|>assistant", stream) == [("reasoning", "생각"), ("answer", "답")]


def test_exaone_and_qwen_think_between_tags() -> None:
    for family, prompt in ((chats.EXAONE, "[|assistant|]\n<think>\n"), (chats.QWEN, "assistant\n<think>\n")):
        found = parts(family, prompt, "생각\n</think>\n\n답")
        assert found == [("reasoning", "생각"), ("answer", "답")]
    assert parts(chats.EXAONE, "[|assistant|]\n<think>\n\n</think>\n\n", "답") == [("answer", "답")]
