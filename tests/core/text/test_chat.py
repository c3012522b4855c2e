"""Taking a stream apart into thoughts, answers and tool calls, however it is cut."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumen_core.errors import LumenError, TemplateError
from lumen_core.text.chat import Channels, ChatFamily, family_of
from lumen_core.text.tools import ToolCall, as_message, described, for_template, parse_calls

THINK = {"<think>": "reasoning", "</think>": "answer", "<tool_call>": "tool", "</tool_call>": "answer"}
ROLES = {"<s>bot/think\n": "reasoning", "<s>bot\n": "answer", "<s>bot -> call\n": "tool", "<e>": ""}
FRAME = {"<b>bot": "", "<t>": "reasoning", "<c>": "answer", "<e>": ""}


def texts(pieces: list[str], marks: dict[str, str], prompt: str = "") -> dict[str, str]:
    channels = Channels(marks, prompt)
    found: dict[str, str] = {}
    for parts in [*map(channels.push, pieces), channels.finish()]:
        for channel, text, _ in parts:
            found[channel] = found.get(channel, "") + text
    return found


CASES = [
    ("<think>\n생각\n\n중\n</think>\n\n답", THINK, "", {"reasoning": "생각\n\n중", "answer": "답"}),
    ("생각</think>답\n", THINK, "user<think>\n", {"reasoning": "생각", "answer": "답\n"}),
    ("답", THINK, "<think>\n\n</think>\n\n", {"answer": "답"}),
    ("a<tool_call>\n{}\n</tool_call>", THINK, "", {"answer": "a", "tool": "{}"}),
    ("a < b, <thin", THINK, "", {"answer": "a < b, <thin"}),
    ("t<e>\n<s>bot\na<e>", ROLES, "<s>bot/think\n", {"reasoning": "t", "answer": "a"}),
    ("/think\nt<e>\n<s>bot\na<e>", ROLES, "x<s>bot", {"reasoning": "t", "answer": "a"}),
    ("\na<e>\n<s>bot -> call\n[]<e>", ROLES, "x<s>bot", {"answer": "a", "tool": "[]"}),
    ("other", ROLES, "x<s>bot", {"answer": "other"}),
    ("<t>t<e><b>bot<c>a<e>", FRAME, "<b>bot", {"reasoning": "t", "answer": "a"}),
    ("a\n\n", {}, "", {"answer": "a\n\n"}),
]


@pytest.mark.parametrize(("stream", "marks", "prompt", "expected"), CASES)
def test_channels(stream: str, marks: dict[str, str], prompt: str, expected: dict[str, str]) -> None:
    assert texts([stream], marks, prompt) == expected
    assert texts(list(stream), marks, prompt) == expected


def test_sections_tell_calls_apart() -> None:
    channels = Channels(THINK)
    pieces = [*channels.push("<tool_call>a</tool_call>\n<tool_call>b</tool_call>"), *channels.finish()]
    assert [(piece.channel, piece.text) for piece in pieces] == [("tool", "a"), ("tool", "b")]
    assert pieces[0].section < pieces[1].section


@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<th", "ink>", "\n", "가", "<", "tool_call>"])),
    st.data(),
)
def test_how_it_is_cut_does_not_matter(words: list[str], data: st.DataObject) -> None:
    stream = "".join(words)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert texts(pieces, THINK) == texts([stream], THINK)


def test_the_family_with_most_tokens_is_chosen() -> None:
    small, large = ChatFamily("small", ("a",)), ChatFamily("large", ("a", "b"))
    assert family_of({"a", "b", "c"}, [small, large]) is large
    assert family_of({"a"}, [small, large]) is small
    assert family_of({"b"}, [small, large]) is None


def test_tool_calls() -> None:
    one = ToolCall("weather", {"city": "서울"})
    assert parse_calls("json", '{"name": "weather", "arguments": {"city": "서울"}}') == [one]
    assert parse_calls("json", '[{"name": "weather", "arguments": "{\\"city\\": \\"서울\\"}"}]') == [one]
    nested = '{"id": "7", "function": {"name": "f", "parameters": {}}}'
    assert parse_calls("json", nested) == [ToolCall("f", {}, "7")]
    assert parse_calls("json", f"{nested}\n{nested}") == [ToolCall("f", {}, "7")] * 2
    assert parse_calls("json", "[]") == []
    city, days = "<parameter=city>\n서울\n</parameter>", "<parameter=days>\n3\n</parameter>"
    xml = f"<function=weather>\n{city}\n{days}\n</function>"
    tools = [{"function": {"name": "weather", "parameters": {"properties": {"days": {"type": "integer"}}}}}]
    assert parse_calls("xml", xml, tools) == [ToolCall("weather", {"city": "서울", "days": 3})]
    assert parse_calls("xml", xml)[0].arguments["days"] == "3"
    tokens = "<|tool_call:begin|>c1<|tool_call:name|>f<|tool_call:args|>{}<|tool_call:end|>"
    assert parse_calls("tokens", tokens) == [ToolCall("f", {}, "c1")]


@pytest.mark.parametrize(
    ("form", "text"),
    [("json", "{"), ("json", "3"), ("json", '{"name": 1}'), ("json", '{"name": "f", "arguments": [1]}'),
     ("json", "[" * 100_000), ("json", ""), ("json", '{"name": "f"} and so on'),
     ("xml", "f(x)"), ("tokens", "{}")],
)  # fmt: skip
def test_a_wrong_call_is_refused(form: str, text: str) -> None:
    with pytest.raises(TemplateError):
        parse_calls(form, text)


def test_tools_are_described_as_templates_expect_them() -> None:
    function = {"name": "f", "parameters": {"type": "object"}}
    wrapped = {"type": "function", "function": function}
    assert described([function, wrapped]) == [wrapped, wrapped]
    assert described(()) == []


@pytest.mark.parametrize("tools", [{"name": "f"}, "f", [3], [{}], [{"function": {"name": ""}}], [{"name": 1}],
                                   [{"name": "f", "parameters": []}]])  # fmt: skip
def test_what_is_no_tool_is_refused(tools: object) -> None:
    with pytest.raises(LumenError, match="tool"):
        described(tools)


def test_a_turn_becomes_a_message() -> None:
    call = ToolCall("f", {"a": 1}, "c1")
    message = as_message("답", [call], "생각")
    assert message["reasoning_content"] == "생각" and message["content"] == "답"
    assert message["tool_calls"][0]["function"] == {"name": "f", "arguments": {"a": 1}}
    assert as_message("답", ()) == {"role": "assistant", "content": "답"}
    # as chat APIs write it: arguments in JSON, no content
    text = {**message, "content": None, "tool_calls": [
        {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    ]}  # fmt: skip
    assert for_template(text) == {**message, "content": ""}
    with pytest.raises(TemplateError, match="not valid JSON"):
        for_template({"tool_calls": [{"name": "f", "arguments": "{"}]})
