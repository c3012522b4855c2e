"""What a model's page says, in words for people: its settings, its rotations, its chat formats.

In: the registry and a model's source.  Out: rows of text; nothing is compiled.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from lumen_core.dsl import ast
from lumen_core.dsl.printer import print_expression
from lumen_core.dsl.typed import TypedExpr, TypedModel
from lumen_core.engine.session import load_page
from lumen_core.plugins.registry import Registry
from lumen_core.plugins.sources import ModelSource
from lumen_core.text.chat import ChatFamily
from lumen_core.text.template import render

PAIRS = {"half": "pairs (i, i + R/2)", "interleaved": "pairs (2i, 2i + 1)"}
# Keys of config.json that are not taken over one by one.
_ROPE = {"rope.freq_base": "rope_theta", "rope.scaling": "rope_scaling, rope_parameters"}


@dataclass(frozen=True)
class Setting:
    """key: in a model file, below "<architecture>."; config: in a checkpoint's config.json."""

    name: str
    key: str
    config: str
    otherwise: str


@dataclass(frozen=True)
class ChatFormat:
    """prompt: of a system and a user message; thinking: what turns it on and off; tools: how calls look."""

    name: str
    prompt: str
    ends: tuple[str, ...]
    thinking: str
    tools: str


@dataclass(frozen=True)
class Page:
    settings: tuple[Setting, ...]
    rotations: tuple[str, ...]
    chats: tuple[ChatFormat, ...]


def describe_page(registry: Registry, source: ModelSource) -> Page:
    model = load_page(registry, source.architectures[0])[1]
    return Page(
        tuple(_setting(entry, source) for entry in model.config),
        tuple(dict.fromkeys(_rotations(model))),
        tuple(_chat(family) for family in source.chats),
    )


def _setting(entry: ast.Config, source: ModelSource) -> Setting:
    key = entry.key or ""
    theirs: list[str] = [_ROPE[key]] if key in _ROPE and source.checkpoints else []
    for checkpoint in source.checkpoints:
        if key in checkpoint.keys:
            names: str | Sequence[str] = checkpoint.keys[key]
            theirs += [names] if isinstance(names, str) else names
        elif key in checkpoint.flags:
            theirs.append(checkpoint.flags[key].setting)
    otherwise = "" if entry.default is None else print_expression(entry.default)
    if entry.type == "scaling":
        otherwise = "none"
    return Setting(entry.name, key, ", ".join(dict.fromkeys(theirs)), otherwise)


def _rotations(model: TypedModel) -> Iterator[str]:
    keys = {entry.name: entry.key or entry.name for entry in model.config}
    for function in model.functions.values():
        for value in (*(let.value for let in function.lets), function.value):
            for call in _calls(value, "rope"):
                names = [str(arg.attributes.get("name", "")) for arg in call.args[2:]]
                parts = [PAIRS[str(call.attributes["pairs"])], f"base {keys.get(names[1], names[1])}"]
                if len(names) > 2:
                    parts.append(f"stretched by {keys.get(names[2], names[2])} (linear, YaRN)")
                yield ", ".join([*parts, f"divided by the tensor {names[0]} where a file has it (Llama 3)"])


def _calls(expression: TypedExpr, operation: str) -> Iterator[TypedExpr]:
    if expression.op == operation:
        yield expression
    for arg in expression.args:
        yield from _calls(arg, operation)


def _chat(family: ChatFamily) -> ChatFormat:
    messages = [{"role": "system", "content": "S"}, {"role": "user", "content": "U"}]
    prompt = render(family.template, messages) if family.template else ""
    switches = [f"{key}={value}" for table in (family.on, family.off) for key, value in table.items()]
    limited = "a budget" if family.budget or family.end_thinking else ""
    thinking = ", ".join([*switches, limited]) if switches and limited else ", ".join(switches)
    calls = [mark for mark, channel in family.marks.items() if channel == "tool"]
    tools = f"{family.tools} after {calls[0]!r}" if calls else ""
    return ChatFormat(family.name, prompt, family.ends, thinking, tools)
