"""The families' chat formats: who is recognized by what, where a turn ends, what thinking changes."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest
from kit import checkpoints, published_styles

import lumen_core as lumen
from lumen_core.plugins.registry import Registry
from lumen_core.text.chat import Channels, ChatFamily
from lumen_core.text.template import render
from lumen_core.text.tools import ToolCall, parse_calls
from lumen_models_korean import chats, templates

CHATML = {"<|im_start|>", "<|im_end|>", "<|endoftext|>"}
LLAMA = {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|begin_of_text|>"}
EXAONE = {"[|system|]", "[|user|]", "[|assistant|]", "[|endofturn|]", "[BOS]"}
HYPERCLOVA_X = CHATML | {"<|endofturn|>", "<|stop|>"}
K_EXAONE = {"<|user|>", "<|assistant|>", "<|endofturn|>", "<|tool|>", "<|tool_declare|>"}
# model -> its architecture, some of its tokens, its family
MODELS: dict[str, tuple[str, set[str], ChatFamily]] = {
    "Qwen2.5": ("qwen2", CHATML, chats.QWEN),
    "Qwen3": ("qwen3", CHATML | {"<think>", "</think>"}, chats.QWEN3),
    "A.X 4.0": ("qwen2", CHATML | {"<|user|>", "<|assistant|>", "<|system|>"}, chats.A_X),
    "Kanana 1.5": ("llama", LLAMA | {"<|eom_id|>"}, chats.LLAMA3),
    "Kanana-2 3B": ("qwen3", CHATML | {"<|begin_of_text|>", "<think>"}, chats.KANANA2),
    "Kanana-2 1.3B": ("kanana2_tiny", CHATML | {"<|begin_of_text|>"}, chats.KANANA2),
    "Mi:dm": ("llama", LLAMA, chats.LLAMA3),
    "EXAONE 3.5": ("exaone", EXAONE, chats.EXAONE3),
    "EXAONE 4": ("exaone4", EXAONE | {"[|tool|]"}, chats.EXAONE4),
    "EXAONE 4.5": ("exaone4", K_EXAONE, chats.K_EXAONE),
    "HyperCLOVA X Text": ("llama", HYPERCLOVA_X, chats.HYPERCLOVA_X_TEXT),
    "HyperCLOVA X Think": ("hyperclovax", HYPERCLOVA_X, chats.HYPERCLOVA_X),
    "Qwen3 30B-A3B": ("qwen3moe", CHATML | {"<think>", "</think>"}, chats.QWEN3),
    "K-EXAONE": ("exaone-moe", K_EXAONE, chats.K_EXAONE),
    "Solar Open": ("glm4moe", {*chats.SOLAR_OPEN.tokens, "<|endoftext|>"}, chats.SOLAR_OPEN),
    "a Llama with Qwen's marks": ("llama", CHATML, chats.QWEN),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_is_recognized(name: str) -> None:
    architecture, vocabulary, family = MODELS[name]
    assert Registry.load().chat_family(architecture, vocabulary) is family
    assert set(family.ends) <= vocabulary


def test_other_vocabularies_have_no_family() -> None:
    assert Registry.load().chat_family("llama", {"<s>", "</s>"}) is None


def parts(family: ChatFamily, prompt: str, stream: str) -> list[tuple[str, str]]:
    channels = Channels(family.marks, prompt)
    return [piece[:2] for piece in (*channels.push(stream), *channels.finish())]


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
    expected = [("reasoning", "생각"), ("answer", "답")]
    assert parts(chats.SOLAR_OPEN, "<|begin|>assistant", stream) == expected
    cut = f"<|think|>생각{chats.SOLAR_OPEN.end_thinking}답<|end|>"
    assert parts(chats.SOLAR_OPEN, "<|begin|>assistant", cut) == expected


def test_exaone_and_qwen_think_between_tags() -> None:
    for family, prompt in (
        (chats.EXAONE4, "[|assistant|]\n<think>\n"),
        (chats.QWEN3, "assistant\n<think>\n"),
    ):
        found = parts(family, prompt, "생각\n</think>\n\n답")
        assert found == [("reasoning", "생각"), ("answer", "답")]
    assert parts(chats.EXAONE4, "[|assistant|]\n<think>\n\n</think>\n\n", "답") == [("answer", "답")]


@pytest.mark.parametrize(("names", "family", "ends"), [
    (("<|im_start|>", "<|im_end|>", "<|endofturn|>", "<|stop|>"), "HyperCLOVA X Text",
     {"<|endofturn|>", "<|stop|>"}),
    (("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"), "Llama 3",
     {"<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|eom_id|>"}),
])  # fmt: skip
def test_what_ends_a_turn_of_a_loaded_model(
    tmp_path: Path, names: tuple[str, ...], family: str, ends: set[str]
) -> None:
    """The configs of the directory call the first two tokens ends; a family's own list overrides that."""
    checkpoints.write(tmp_path, "llama")
    content = checkpoints.tokenizer_json()
    content["added_tokens"] = [
        {**content["added_tokens"][0], "id": 257 + number, "content": name}
        for number, name in enumerate(names)
    ]
    (tmp_path / "tokenizer.json").write_text(json.dumps(content))
    with lumen.load(tmp_path, context=64, threads=1) as model:
        assert model.family is not None and model.family.name == family
        assert {model.tokenizer.vocabulary[token] for token in model._ends} == ends


SYSTEM, USER, ANSWER = ({"role": role, "content": text} for role, text in
                        (("system", "S"), ("user", "U"), ("assistant", "A")))  # fmt: skip
_EXAONE4 = (  # answers stand behind an empty thought, as they are asked for without thinking
    "[|system|]\nS[|endofturn|]\n[|user|]\nU[|endofturn|]\n"
    "[|assistant|]\n<think>\n\n</think>\n\nA[|endofturn|]\n[|user|]\nU[|endofturn|]\n[|assistant|]\n"
)
_K_EXAONE = _EXAONE4.replace("[|", "<|").replace("|]", "|>")
_HYPERCLOVA_X = (
    "<|im_start|>tool_list\n<|im_end|>\n<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n"
    "<|im_start|>assistant\nA<|im_end|><|endofturn|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant"
)
_SOLAR_OPEN = (
    "<|begin|>system<|content|>S<|end|><|begin|>user<|content|>U<|end|><|begin|>assistant<|content|>A<|end|>"
    "<|begin|>user<|content|>U<|end|><|begin|>assistant"
)
_CHATML = (
    "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\nA<|im_end|>\n"
    "<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n"
)
_NO_THOUGHT = "<think>\n\n</think>"
_OFF, _ON = {"enable_thinking": False}, {"enable_thinking": True}
# our template, one in the style of the published one, variables -> system, user, answer, user as documented
PROMPTS: dict[str, tuple[str, str, dict[str, object], str]] = {
    "EXAONE 3": (
        templates.EXAONE3, published_styles.EXAONE3, {},
        "[|system|]S[|endofturn|]\n[|user|]U\n[|assistant|]A[|endofturn|]\n[|user|]U\n[|assistant|]",
    ),
    "EXAONE 4": (templates.EXAONE4, published_styles.EXAONE4, {}, f"{_EXAONE4}{_NO_THOUGHT}\n\n"),
    "EXAONE 4 off": (templates.EXAONE4, published_styles.EXAONE4, _OFF, f"{_EXAONE4}{_NO_THOUGHT}\n\n"),
    "EXAONE 4 on": (templates.EXAONE4, published_styles.EXAONE4, _ON, f"{_EXAONE4}<think>\n"),
    "K-EXAONE on": (templates.K_EXAONE, published_styles.K_EXAONE, _ON, f"{_K_EXAONE}<think>\n"),
    "K-EXAONE off": (templates.K_EXAONE, published_styles.K_EXAONE, _OFF, f"{_K_EXAONE}{_NO_THOUGHT}\n\n"),
    "HyperCLOVA X": (templates.HYPERCLOVA_X, published_styles.HYPERCLOVA_X, {}, _HYPERCLOVA_X),
    "HyperCLOVA X off": (
        templates.HYPERCLOVA_X, published_styles.HYPERCLOVA_X, {"skip_reasoning": True}, f"{_HYPERCLOVA_X}\n",
    ),
    "HyperCLOVA X on": (
        templates.HYPERCLOVA_X, published_styles.HYPERCLOVA_X, {"force_reasoning": True},
        f"{_HYPERCLOVA_X}/think\n",
    ),
    "HyperCLOVA X Text": (
        templates.HYPERCLOVA_X_TEXT, published_styles.HYPERCLOVA_X, {"skip_reasoning": True},
        f"{_HYPERCLOVA_X}\n",
    ),
    "A.X": (
        templates.A_X, published_styles.A_X, {},
        "<|im_start|><|system|>S<|im_end|><|im_start|><|user|>U<|im_end|><|im_start|><|assistant|>A<|im_end|>"
        "<|im_start|><|user|>U<|im_end|><|im_start|><|assistant|>",
    ),
    "Solar Open": (
        templates.SOLAR_OPEN, published_styles.SOLAR_OPEN, {"default_system_prompt": False}, _SOLAR_OPEN,
    ),
    "Solar Open off": (
        templates.SOLAR_OPEN, published_styles.SOLAR_OPEN,
        {"default_system_prompt": False, "reasoning_effort": "minimal"},
        f"{_SOLAR_OPEN}<|think|><|end|><|begin|>assistant",
    ),
    "Mi:dm, Kanana 1.5": (
        templates.LLAMA3, published_styles.MIDM, {"bos_token": "<|begin_of_text|>"},
        "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nS<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\nA<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nU<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n",
    ),
    "Kanana-2": (templates.KANANA2, published_styles.KANANA2, {}, _CHATML),
    "Kanana-2 off": (templates.KANANA2, published_styles.KANANA2, _OFF, f"{_CHATML}{_NO_THOUGHT}"),
    "Qwen": (templates.CHATML, published_styles.QWEN3, {}, _CHATML),
    "Qwen on": (templates.CHATML, published_styles.QWEN3, _ON, _CHATML),
    "Qwen off": (templates.CHATML, published_styles.QWEN3, _OFF, f"{_CHATML}{_NO_THOUGHT}\n\n"),
}  # fmt: skip


@pytest.mark.parametrize("name", PROMPTS)
def test_prompts_are_those_of_the_families(name: str) -> None:
    ours, published, variables, expected = PROMPTS[name]
    for template in (ours, published):
        assert render(template, [SYSTEM, USER, ANSWER, USER], **variables) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("template", [templates.EXAONE3, published_styles.EXAONE3], ids=["ours", "published"])
def test_exaone_3_begins_with_an_empty_system_turn(template: str) -> None:
    assert render(template, [USER]) == "[|system|][|endofturn|]\n[|user|]U\n[|assistant|]"


CALLING = (chats.QWEN, chats.QWEN3, chats.EXAONE4, chats.K_EXAONE, chats.HYPERCLOVA_X, chats.SOLAR_OPEN,
           chats.LLAMA3, chats.A_X, chats.KANANA2)  # fmt: skip
FUNCTION = {"name": "날씨", "arguments": {"도시": "서울"}}
CALLED = {"role": "assistant", "content": "",
          "tool_calls": [{"id": "c1", "type": "function", "function": FUNCTION}]}  # fmt: skip
GIVEN = {"role": "tool", "content": "맑음", "tool_call_id": "c1", "name": "날씨"}
_JSON = '{"name": "날씨", "arguments": {"도시": "서울"}}'
_CALL = f"<tool_call>\n{_JSON}\n</tool_call>"
_XML = "<tool_call>\n<function=날씨>\n<parameter=도시>\n서울\n</parameter>\n</function>\n</tool_call>"
_RESPONSE = "<|im_start|>user\n<tool_response>\n맑음\n</tool_response><|im_end|>\n"
# family -> our template, the published style's, how a call and its result stand in the prompt
CALLS = {
    "Qwen": (
        templates.CHATML, published_styles.QWEN3, f"<|im_start|>assistant\n{_CALL}<|im_end|>\n{_RESPONSE}",
    ),
    "HyperCLOVA X": (
        templates.HYPERCLOVA_X, published_styles.HYPERCLOVA_X,
        f"<|im_start|>assistant -> tool/function_call\n[{_JSON}]<|im_end|><|stop|>\n"
        "<|im_start|>tool/function_call\n맑음<|im_end|>\n",
    ),
    "Solar Open": (
        templates.SOLAR_OPEN, published_styles.SOLAR_OPEN,
        "<|begin|>assistant<|tool_calls|><|tool_call:begin|>c1<|tool_call:name|>날씨<|tool_call:args|>"
        '{"도시": "서울"}<|tool_call:end|><|calls|>',
    ),
    "Solar Open's result": (
        templates.SOLAR_OPEN, None,
        "<|begin|>tool<|tool_response:id|>c1<|tool_response:name|>날씨<|tool_response:result|>맑음"
        "<|tool_response:end|><|end|>",
    ),
    "Kanana-2": (templates.KANANA2, published_styles.KANANA2, f"{_XML}<|im_end|>\n"),
    "Kanana-2's result": (templates.KANANA2, None, f"{_XML}<|im_end|>\n{_RESPONSE}"),
    "Mi:dm": (templates.LLAMA3, published_styles.MIDM, f"<tool_call>{_JSON}</tool_call><|eot_id|>"),
    "A.X": (templates.A_X, None, f"<|im_start|><|assistant|>{_CALL}<|im_end|>"),
    "EXAONE 4": (
        templates.EXAONE4, None,
        f"<think>\n\n</think>\n\n<tool_call>{_JSON}</tool_call>[|endofturn|]\n"
        '[|tool|]\n<tool_result>{"result": "맑음"}</tool_result>[|endofturn|]\n',
    ),
    "K-EXAONE": (
        templates.K_EXAONE, None,
        f"<think>\n\n</think>\n\n<tool_call>{_JSON}</tool_call><|endofturn|>\n"
        "<|tool|>\n<tool_result>맑음</tool_result><|endofturn|>\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CALLS)
def test_tool_calls_stand_in_the_prompt(name: str) -> None:
    ours, published, expected = CALLS[name]
    for template in filter(None, (ours, published)):
        assert expected in render(template, [SYSTEM, USER, CALLED, GIVEN])


def test_what_stands_in_the_prompt_is_read_back() -> None:
    """The text of a call, as a template writes it and a model repeats it, gives the call again."""
    call = ToolCall("날씨", {"도시": "서울"})
    published = ((chats.QWEN3, published_styles.QWEN3), (chats.LLAMA3, published_styles.MIDM),
                 (chats.KANANA2, published_styles.KANANA2),
                 (chats.HYPERCLOVA_X, published_styles.HYPERCLOVA_X))  # fmt: skip
    for family, template in (*published, *((family, family.template) for family in CALLING)):
        begin = render(template, [USER])
        stream = render(template, [USER, CALLED], add_generation_prompt=False)
        texts = [text for channel, text in parts(family, begin, stream) if channel == "tool"]
        read = [(one.name, one.arguments) for text in texts for one in parse_calls(family.tools, text)]
        assert read == [(call.name, call.arguments)], family.name


RESULTS = [CALLED, GIVEN, {**GIVEN, "tool_call_id": "c2", "content": "비"}]
TOOLS = [{"type": "function", "function": {"name": "날씨", "description": "말한다"}}]


@pytest.mark.parametrize("family", CALLING, ids=lambda family: family.name)
def test_every_family_with_a_form_of_calls_shows_the_tools(family: ChatFamily) -> None:
    """The list stands once, in front of the conversation, with the system's message or without."""
    shown = json.dumps(TOOLS[0] if family is not chats.SOLAR_OPEN else TOOLS[0]["function"],
                       ensure_ascii=False)  # fmt: skip
    system, user = {"role": "system", "content": "친절하게"}, {"role": "user", "content": "서울은?"}
    for messages in ([system, user], [user], [system, user, *RESULTS]):
        prompt = render(family.template, messages, tools=TOOLS)
        assert prompt.count(shown) == prompt.count("서울은?") == 1
        assert prompt.index(shown) < prompt.index("서울은?")
        assert prompt.count("친절하게") == (messages[0] is system)
        assert shown not in render(family.template, messages)


def test_results_of_one_step_stand_together() -> None:
    qwen = render(templates.CHATML, [USER, *RESULTS])
    assert "\n맑음\n</tool_response>\n<tool_response>\n비\n</tool_response><|im_end|>\n" in qwen
    exaone = render(templates.EXAONE4, [USER, *RESULTS])
    assert (
        '[|tool|]\n<tool_result>{"result": "맑음"}</tool_result>\n'
        '<tool_result>{"result": "비"}</tool_result>[|endofturn|]\n'
    ) in exaone


def test_published_styles_with_tools_dates_and_thoughts() -> None:
    tools = [{"type": "function", "function": {"name": "날씨"}}]
    shown = '{"type": "function", "function": {"name": "날씨"}}'
    assert shown in render(published_styles.QWEN3, [SYSTEM, USER], tools=tools)
    assert f"tool_list\n[{shown}]<|im_end|>" in render(published_styles.HYPERCLOVA_X, [USER], tools=tools)
    year = str(datetime.datetime.now().year)
    assert f"Today is {year}-" in render(published_styles.SOLAR_OPEN, [USER])
    midm = render(published_styles.MIDM, [USER], bos_token="<|begin_of_text|>")
    assert published_styles.PREAMBLE in midm and f"오늘: {year}년" in midm
    thought = {"role": "assistant", "content": "<think>\n생각\n</think>\n\n답"}
    for template in (published_styles.QWEN3, published_styles.EXAONE4):
        prompt = render(template, [USER, thought, USER])
        assert "생각" not in prompt and "답" in prompt
