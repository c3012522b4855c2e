"""Tools that a model may call: what is offered, the calls that it writes, and how both stand in messages.

In: descriptions as users of chat APIs write them, or the text of a tool call and its form.  Out: descriptions
that chat templates understand, or calls; else a LumenError about the descriptions, a TemplateError that says
what is wrong with the text (a model's mistake, not the user's).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lumen_core.errors import LumenError, TemplateError

_FUNCTION = re.compile(r"<function=([^>\n]{1,256})>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\n]{1,256})>\n?(.*?)\n?</parameter>", re.DOTALL)
_GAP = re.compile(r"[\s,;]*")
_TOKENS = re.compile(
    r"<\|tool_call:begin\|>(.*?)<\|tool_call:name\|>(.*?)<\|tool_call:args\|>(.*?)<\|tool_call:end\|>",
    re.DOTALL,
)


@dataclass(frozen=True)
class ToolCall:
    name: str
    arguments: Mapping[str, Any]
    id: str = ""


def described(tools: object) -> list[Mapping[str, Any]]:
    """Check a list of tools and return it as chat templates expect it.

    A tool is {"type": "function", "function": {"name": ..., "description": ..., "parameters": SCHEMA}}, or
    the inner table alone.
    """
    if not isinstance(tools, list | tuple):
        raise LumenError(f"tools are a list of descriptions, found {type(tools).__name__}")
    found = []
    for number, tool in enumerate(tools, 1):
        function = tool.get("function", tool) if isinstance(tool, Mapping) else None
        name = function.get("name") if isinstance(function, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(name, str) or not name:
            raise LumenError(
                f'tool {number} has no name: expected {{"type": "function", "function": {{"name": ...}}}}, '
                f"found {json.dumps(tool, ensure_ascii=False, default=str)[:120]}"
            )
        parameters = function.get("parameters")
        if parameters is not None and not isinstance(parameters, Mapping):
            raise LumenError(
                f"tool {number} ({name}): parameters are a JSON schema, found {parameters!r:.80}"
            )
        found.append(tool if tool is not function else {"type": "function", "function": dict(function)})
    return found


def as_message(text: str, calls: Sequence[ToolCall], reasoning: str = "") -> dict[str, Any]:
    """Return a turn of the model as the message that stands for it in the rest of the conversation."""
    message: dict[str, Any] = {"role": "assistant", "content": text}
    if reasoning:
        message["reasoning_content"] = reasoning
    if calls:
        message["tool_calls"] = [
            {"id": call.id, "type": "function",
             "function": {"name": call.name, "arguments": dict(call.arguments)}}
            for call in calls
        ]  # fmt: skip
    return message


def for_template(message: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a message with the arguments of its calls as tables, where an API has them as JSON text."""
    if not isinstance(message.get("tool_calls"), list | tuple):
        return message
    calls = []
    for call in message["tool_calls"]:
        function = call.get("function", call) if isinstance(call, Mapping) else None
        if isinstance(function, Mapping) and isinstance(function.get("arguments"), str):
            changed = {**function, "arguments": _arguments(function["arguments"])}
            call = {**call, "function": changed} if function is not call else changed
        calls.append(call)
    content = message.get("content")
    return {**message, "content": "" if content is None else content, "tool_calls": calls}


def parse_calls(form: str, text: str, tools: Sequence[Mapping[str, Any]] = ()) -> list[ToolCall]:
    """Read the calls in a text; `tools` says which arguments are texts in forms that do not."""
    if form == "json":
        return _from_json(text)
    if form == "xml":
        return [_from_xml(match[1].strip(), match[2], tools) for match in _found(_FUNCTION, text)]
    if form == "tokens":
        return [
            ToolCall(match[2].strip(), _arguments(_load(match[3])), match[1].strip())
            for match in _found(_TOKENS, text)
        ]
    raise ValueError(f"no form of tool calls is named {form}")


def _found(pattern: re.Pattern[str], text: str) -> list[re.Match[str]]:
    matches = list(pattern.finditer(text))
    if not matches:
        raise TemplateError(f"the model's tool call cannot be read: {text[:200]!r}")
    return matches


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _no_json(text, error) from None


def _no_json(text: str, error: Exception) -> TemplateError:
    return TemplateError(f"the model's tool call is not valid JSON ({error}): {text[:200]!r}")


def _arguments(value: Any) -> Mapping[str, Any]:
    if isinstance(value, str):
        value = _load(value) if value.strip() else {}
    if not isinstance(value, dict):
        raise TemplateError(f"the arguments of the model's tool call are no table: {str(value)[:200]}")
    return value


def _values(text: str) -> list[Any]:
    """The JSON values of a text: one, a list, or several one after the other."""
    values: list[Any] = []
    decoder = json.JSONDecoder()
    at = _GAP.match(text).end()  # type: ignore[union-attr]
    while True:
        try:
            value, at = decoder.raw_decode(text, at)
        except (ValueError, RecursionError) as error:
            raise _no_json(text, error) from None
        values += value if isinstance(value, list) else [value]
        at = _GAP.match(text, at).end()  # type: ignore[union-attr]
        if at == len(text):
            return values


def _from_json(text: str) -> list[ToolCall]:
    calls = []
    for entry in _values(text):
        if isinstance(entry, dict) and isinstance(entry.get("function"), dict):
            entry = {"id": entry.get("id"), **entry["function"]}
        if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
            raise TemplateError(f"the model's tool call has no name: {text[:200]!r}")
        arguments = _arguments(entry.get("arguments", entry.get("parameters")) or {})
        calls.append(ToolCall(entry["name"], arguments, str(entry.get("id") or "")))
    return calls


def _from_xml(name: str, body: str, tools: Sequence[Mapping[str, Any]]) -> ToolCall:
    kinds = _kinds(name, tools)
    arguments: dict[str, Any] = {}
    for match in _PARAMETER.finditer(body):
        key, value = match[1].strip(), match[2]
        arguments[key] = value
        if kinds.get(key, "string") != "string":
            try:
                arguments[key] = json.loads(value)
            except (ValueError, RecursionError):
                continue  # left as the text that the model wrote; the tool can say more than we
    return ToolCall(name, arguments)


def _kinds(name: str, tools: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    for tool in tools:
        function = tool.get("function", tool)
        if isinstance(function, Mapping) and function.get("name") == name:
            properties = (function.get("parameters") or {}).get("properties") or {}
            return {key: entry.get("type") for key, entry in properties.items() if isinstance(entry, Mapping)}
    return {}
