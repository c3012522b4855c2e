"""Tool calls as models write them, into names and arguments.

In: the text of a tool call, its form, and the tools that were offered.  Out: calls, or a TemplateError that
says what is wrong with the text (a model's mistake, not the user's).
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lumen_core.errors import TemplateError

_FUNCTION = re.compile(r"<function=([^>\n]{1,256})>(.*?)(?:</function>|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^>\n]{1,256})>\n?(.*?)\n?</parameter>", re.DOTALL)
_TOKENS = re.compile(
    r"<\|tool_call:begin\|>(.*?)<\|tool_call:name\|>(.*?)<\|tool_call:args\|>(.*?)<\|tool_call:end\|>",
    re.DOTALL,
)


@dataclass(frozen=True)
class ToolCall:
    name: str
    arguments: Mapping[str, Any]
    id: str = ""


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
        raise TemplateError(f"the model's tool call is not valid JSON ({error}): {text[:200]!r}") from None


def _arguments(value: Any) -> Mapping[str, Any]:
    if isinstance(value, str):
        value = _load(value) if value.strip() else {}
    if not isinstance(value, dict):
        raise TemplateError(f"the arguments of the model's tool call are no table: {str(value)[:200]}")
    return value


def _from_json(text: str) -> list[ToolCall]:
    content = _load(text)
    calls = []
    for entry in content if isinstance(content, list) else [content]:
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
