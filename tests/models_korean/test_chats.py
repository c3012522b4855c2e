"""The families' chat formats: who is recognized by what, where a turn ends, what thinking changes."""

from __future__ import annotations

import pytest

from lumen_core.text.chat import Channels, ChatFamily, family_of
from lumen_core.text.template import render
from lumen_models_korean import chats, templates

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


SYSTEM, USER, ANSWER = ({"role": role, "content": text} for role, text in
                        (("system", "S"), ("user", "U"), ("assistant", "A")))  # fmt: skip
_NO_THOUGHT = "<think>\n\n</think>\n\n"
# family's template -> what the models' documentation writes for system, user, answer, user
PROMPTS: dict[str, tuple[str, dict[str, object], str]] = {
    "EXAONE 3": (
        templates.EXAONE3, {},
        "[|system|]S[|endofturn|]\n[|user|]U\n[|assistant|]A[|endofturn|]\n[|user|]U\n[|assistant|]",
    ),
    "EXAONE 4": (
        templates.EXAONE4, {},
        "[|system|]\nS[|endofturn|]\n[|user|]\nU[|endofturn|]\n[|assistant|]\nA[|endofturn|]\n"
        "[|user|]\nU[|endofturn|]\n[|assistant|]\n" + _NO_THOUGHT,
    ),
    "EXAONE 4 thinking": (
        templates.EXAONE4, {"enable_thinking": True},
        "[|system|]\nS[|endofturn|]\n[|user|]\nU[|endofturn|]\n[|assistant|]\nA[|endofturn|]\n"
        "[|user|]\nU[|endofturn|]\n[|assistant|]\n<think>\n",
    ),
    "K-EXAONE": (
        templates.K_EXAONE, {"enable_thinking": True},
        "<|system|>\nS<|endofturn|>\n<|user|>\nU<|endofturn|>\n<|assistant|>\nA<|endofturn|>\n"
        "<|user|>\nU<|endofturn|>\n<|assistant|>\n<think>\n",
    ),
    "HyperCLOVA X": (
        templates.HYPERCLOVA_X, {"skip_reasoning": True},
        "<|im_start|>tool_list\n<|im_end|>\n<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
        "<|im_start|>assistant\nA<|im_end|><|endofturn|>\n<|im_start|>user\nU<|im_end|>\n"
        "<|im_start|>assistant\n",
    ),
    "HyperCLOVA X thinking": (
        templates.HYPERCLOVA_X, {"force_reasoning": True},
        "<|im_start|>tool_list\n<|im_end|>\n<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
        "<|im_start|>assistant\nA<|im_end|><|endofturn|>\n<|im_start|>user\nU<|im_end|>\n"
        "<|im_start|>assistant/think\n",
    ),
    "A.X": (
        templates.A_X, {},
        "<|im_start|><|system|>S<|im_end|><|im_start|><|user|>U<|im_end|><|im_start|><|assistant|>A<|im_end|>"
        "<|im_start|><|user|>U<|im_end|><|im_start|><|assistant|>",
    ),
    "Solar Open": (
        templates.SOLAR_OPEN, {},
        "<|begin|>system<|content|>S<|end|><|begin|>user<|content|>U<|end|><|begin|>assistant<|content|>A<|end|>"
        "<|begin|>user<|content|>U<|end|><|begin|>assistant",
    ),
    "Mi:dm, Kanana 1.5": (
        templates.LLAMA3, {"bos_token": "<|begin_of_text|>"},
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "Qwen": (
        templates.CHATML, {"enable_thinking": False},
        "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
        "<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n" + _NO_THOUGHT,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_are_those_of_the_families(name: str) -> None:
    template, variables, expected = PROMPTS[name]
    assert render(template, [SYSTEM, USER, ANSWER, USER], **variables) == expected  # type: ignore[arg-type]


def test_exaone_3_begins_with_an_empty_system_turn() -> None:
    assert render(templates.EXAONE3, [USER]) == "[|system|][|endofturn|]\n[|user|]U\n[|assistant|]"
