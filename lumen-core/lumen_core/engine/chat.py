"""Conversations: thoughts, answers and tool calls apart, as the model's family writes them.

In: a model and messages.  Out: a `Turn` to be read while it comes, then its `Reply`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lumen_core.engine.generation import Completion, Run
from lumen_core.engine.sampling import Sampling
from lumen_core.errors import LumenError, TemplateError
from lumen_core.text.chat import ANSWER, REASONING, TOOL, Channels, ChatFamily, Piece
from lumen_core.text.template import render
from lumen_core.text.tokenizer import Tokenizer
from lumen_core.text.tools import ToolCall, as_message, described, for_template, parse_calls

if TYPE_CHECKING:
    from lumen_core.engine.model import Model

Messages = Sequence[Mapping[str, Any]]
_PLAIN = ChatFamily("plain", ())


@dataclass(frozen=True)
class Reply:
    """A whole turn. `text` is the answer; `unread` are tool calls that the model wrote wrongly."""

    text: str
    reasoning: str
    tool_calls: tuple[ToolCall, ...]
    unread: tuple[str, ...]
    completion: Completion

    @property
    def message(self) -> dict[str, Any]:
        """The turn as the conversation goes on with it; results of its calls follow as messages of `tool`."""
        return as_message(self.text, self.tool_calls, self.reasoning)


@dataclass
class Turn:
    """The next turn of a conversation: iterate over its parts while they come, then ask for the `reply`."""

    model: Model
    messages: Messages
    think: bool | int | None
    tools: Sequence[Mapping[str, Any]]
    template: Mapping[str, Any]
    max_tokens: int | None
    options: dict[str, Any]
    run: Run | None = None
    tokens: list[list[int]] = field(default_factory=list)  # of each run, and what ends a thought that is cut
    over: bool = False
    read: list[Piece] = field(default_factory=list)

    def __iter__(self) -> Iterator[Piece]:
        if self.run is not None:
            raise LumenError("the turn was read already; `reply()` has what came")
        for part in self.parts():
            self.read.append(part)
            yield part

    def reply(self) -> Reply:
        """Return what was read of the turn so far, its tool calls taken apart."""
        if self.run is None:
            raise LumenError("the turn has not begun: read its parts first")
        texts = {ANSWER: "", REASONING: ""}
        written: list[str] = []
        for (channel, _), parts in groupby(self.read, lambda part: (part.channel, part.section)):
            text = "".join(part.text for part in parts)
            if channel == TOOL:
                written.append(text)
            else:
                texts[channel] += text
        calls: list[ToolCall] = []
        unread = []
        for text in written:
            try:
                calls += parse_calls(self.family.tools, text, self.tools)
            except TemplateError:
                unread.append(text)
        before = sum(len(message.get("tool_calls") or ()) for message in self.messages)
        named = (replace(call, id=call.id or f"call_{n}") for n, call in enumerate(calls, before + 1))
        tokens = tuple(token for part in self.tokens for token in part)
        completion = Completion(texts[ANSWER], tokens, self.run.finish_reason, self.run.statistics())
        return Reply(texts[ANSWER], texts[REASONING], tuple(named), tuple(unread), completion)

    @property
    def family(self) -> ChatFamily:
        return self.model.family or _PLAIN

    def parts(self) -> Iterator[Piece]:
        prompt = self.prompt()
        channels = Channels(self.family.marks, prompt)
        ids = self.model.tokenizer.encode(prompt, add_special=False, parse_special=True)
        if type(self.think) is int and self.think > 0 and self.family.end_thinking:
            if channels.channel != REASONING:  # the model begins its thoughts itself, if it has any
                yield from self._some(ids, channels, until=REASONING)
            if channels.channel == REASONING:
                yield from self._some(ids, channels, most=self.think)
            if channels.channel == REASONING and not self.over:
                end = self.family.end_thinking
                self.tokens.append(self.model.tokenizer.encode(end, add_special=False, parse_special=True))
                yield from channels.push(end)
        yield from self._some(ids, channels)
        yield from channels.finish()

    def _some(self, prompt: list[int], channels: Channels, most: int | None = None,
              until: str | None = None) -> Iterator[Piece]:  # fmt: skip
        """Go on with the turn unless it is over: to its end, for `most` tokens, or until a channel begins."""
        written = [token for part in self.tokens for token in part]
        left = None if self.max_tokens is None else max(0, self.max_tokens - len(written))
        if self.over or (left == 0 and self.run is not None):
            return
        before = None if self.run is None else self.run.statistics()
        limit = min((number for number in (left, most) if number is not None), default=None)
        run = self.run = self.model.prepare(
            prompt + written, max_tokens=limit, shown=self.shown(), **self.options
        )
        run.before = before
        self.tokens.append(run.tokens)
        with closing(self.model.pieces(run)) as pieces:
            for piece in pieces:
                yield from channels.push(piece)
                if channels.channel == until:
                    return
        self.over = run.finish_reason == "stop" or run.limit != most

    def prompt(self) -> str:
        """Render the conversation, with what turns thinking on or off."""
        variables = dict(self.template)
        messages = list(self.messages)
        if self.think is not None:
            wanted = self.family.off if self.think is False or self.think == 0 else self.family.on
            if not self.family.thinks:
                raise LumenError(f"{self.model.path}: this model has no thinking mode to turn on or off")
            variables = {**wanted, **variables}
        if type(self.think) is int and self.think > 0:
            if not self.family.budget and not self.family.end_thinking:
                raise LumenError(f"{self.model.path}: this model's thinking cannot be limited")
            if self.family.budget and messages and isinstance(messages[-1].get("content"), str):
                text = messages[-1]["content"] + self.family.budget.format(tokens=self.think)
                messages[-1] = {**messages[-1], "content": text}
        if not self.tools:
            return self.model.chat_prompt(messages, **variables)
        prompt = self.model.chat_prompt(messages, **variables, tools=self.tools)
        if prompt == self.model.chat_prompt(messages, **variables):
            raise TemplateError(f"{self.model.path}: the model's chat template has no place for tools")
        return prompt

    def shown(self) -> frozenset[int]:
        """Control tokens that the family's marks are made of."""
        special = self.model.tokenizer.words.of_kind(2, 3)
        texts = [*self.family.marks, *self.family.shown]
        return frozenset(number for token, number in special.items() if any(token in text for text in texts))


def turn(model: Model, messages: Messages, *, think: bool | int | None = None,
         tools: Sequence[Mapping[str, Any]] | None = None, template: Mapping[str, Any] | None = None,
         max_tokens: int | None = None, stop: Sequence[str] = (), ignore_end: bool = False,
         speculate: Any = None, **sampling: Any) -> Turn:  # fmt: skip
    """Begin a turn; see `Model.stream_parts`."""
    Sampling(**sampling)  # what is wrong is said now
    options = {"stop": stop, "ignore_end": ignore_end, "speculate": speculate, **sampling}
    return Turn(model, messages, think, described(tools or ()), template or {}, max_tokens, options)


def chat_prompt(path: Path, tokenizer: Tokenizer, family: ChatFamily | None, messages: Messages,
                variables: Mapping[str, Any]) -> str:  # fmt: skip
    """Render a chat template, the file's or the family's; names of control tokens are shielded."""
    template = tokenizer.chat_template or (family.template if family is not None else "")
    if not template:
        raise TemplateError(f"{path} has no chat template; use plain prompts with it")

    def text(token: int | None) -> str:
        return tokenizer.vocabulary[token] if token is not None else ""

    # What stands in a message must not act as a control token. A model's own earlier words may hold the marks
    # of its family, which templates look for.
    marks = frozenset(family.marks) if family is not None else frozenset()
    try:
        shielded = [_shielded(tokenizer, message, marks) for message in messages]
        if variables.get("tools"):
            variables = {**variables, "tools": _texts(variables["tools"], tokenizer.shield)}
    except RecursionError:
        raise TemplateError("a message or a tool is nested too deeply") from None
    return render(
        template, shielded, bos_token=text(tokenizer.bos_id), eos_token=text(tokenizer.eos_id), **variables
    )


def _shielded(tokenizer: Tokenizer, message: Mapping[str, Any], marks: frozenset[str]) -> Mapping[str, Any]:
    if not isinstance(message, Mapping):
        raise TemplateError(f"a message is a table with role and content, not a {type(message).__name__}")
    kept = marks if message.get("role") == "assistant" else frozenset[str]()
    # Arguments in JSON are taken apart first: an escape in them would hide a name.
    found: Mapping[str, Any] = _texts(for_template(message), lambda text: tokenizer.shield(text, kept))
    return found


def _texts(value: Any, change: Callable[[str], str]) -> Any:
    """A value with all texts in it changed, but for keys."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Mapping):
        return {key: _texts(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_texts(item, change) for item in value]
    return value
