"""How a family of models converses, as data: where thoughts, answers and tool calls begin, what ends a turn.

A `ChatFamily` is stated by a model's package and recognized by the tokens of a vocabulary.
`Channels` takes a generated text apart by it while it streams.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

ANSWER, REASONING, TOOL, NOTHING = "answer", "reasoning", "tool", ""


@dataclass(frozen=True)
class ChatFamily:
    """What the generated text of a family means.

    tokens        tokens that a vocabulary must all have; of several such families the one with most is chosen
    marks         text in the stream -> what follows it: "answer", "reasoning", "tool", "" (not to be shown)
    shown         further control tokens that tool calls are written with
    ends          tokens that alone end a generation; empty: what the file declares
    on, off       variables for the chat template that turn thinking on and off
    end_thinking  what is put into the text where a budget of thought is used up; empty: cannot be done
    budget        what is added to the user's last message instead, with {tokens}
    template      chat template for files without one
    tools         form of a tool call: "json", "xml" or "tokens" (`lumen_core.text.tools`)
    """

    name: str
    tokens: tuple[str, ...]
    marks: Mapping[str, str] = field(default_factory=dict)
    shown: tuple[str, ...] = ()
    ends: tuple[str, ...] = ()
    on: Mapping[str, object] = field(default_factory=dict)
    off: Mapping[str, object] = field(default_factory=dict)
    end_thinking: str = ""
    budget: str = ""
    template: str = ""
    tools: str = "json"

    @property
    def thinks(self) -> bool:
        """Whether its thinking can be turned on and off."""
        return bool(self.on or self.off)


def family_of(vocabulary: Collection[str], families: Iterable[ChatFamily]) -> ChatFamily | None:
    """The family that claims most tokens of those that the vocabulary has all of."""
    fitting = [f for f in families if f.tokens and all(token in vocabulary for token in f.tokens)]
    return max(fitting, key=lambda family: len(family.tokens), default=None)


class Piece(NamedTuple):
    """Some text of one channel; every mark begins another section (two calls follow each other, say)."""

    channel: str
    text: str
    section: int


class Channels:
    """Push text, get its pieces; line breaks beside a mark belong to neither side.

    prompt  what the model continues: its end may already be a mark, or the begin of one
    """

    def __init__(self, marks: Mapping[str, str], prompt: str = ""):
        self._marks = dict(marks)
        self._longest = max(map(len, self._marks), default=0)
        self.channel = ANSWER
        self._section = 0
        self._fresh = True  # nothing of this channel was shown yet
        self._held = ""
        self._borrowed = 0  # characters of `_held` that stand in the prompt already
        self._begin(prompt)

    def _begin(self, prompt: str) -> None:
        ending = prompt.rstrip("\n")
        for mark, channel in self._marks.items():
            if ending.endswith(mark.rstrip("\n")) and prompt.endswith(
                mark.rstrip("\n") + prompt[len(ending) :]
            ):
                complete = prompt.endswith(mark) or not mark.endswith("\n")
                if complete:
                    self.channel = channel
                    return
        for length in range(min(self._longest - 1, len(prompt)), 1, -1):
            if any(mark.startswith(prompt[-length:]) for mark in self._marks):
                self._held, self._borrowed = prompt[-length:], length
                return

    def push(self, text: str) -> list[Piece]:
        """Take text; return what is certain now."""
        self._held += text
        parts: list[Piece] = []
        while True:
            found = [(at, -len(mark), mark) for mark in self._marks if (at := self._held.find(mark)) >= 0]
            if not found:
                break
            at, _, mark = min(found)
            self._emit(parts, at, final=True)
            self._held = self._held[len(mark) :]
            self._borrowed = max(0, self._borrowed - len(mark))
            self.channel, self._fresh = self._marks[mark], True
            self._section += 1
        self._emit(parts, len(self._held) - self._possible(), final=False)
        return parts

    def finish(self) -> list[Piece]:
        parts: list[Piece] = []
        self._emit(parts, len(self._held), final=True)
        return parts

    def _emit(self, parts: list[Piece], count: int, final: bool) -> None:
        """Move characters out; line breaks at the end wait until something follows, or go with a mark."""
        text = self._held[:count]
        skipped = min(self._borrowed, count)
        self._borrowed -= skipped
        self._held = self._held[count:]
        text = text[skipped:]
        if self._fresh and self._marks:
            text = text.lstrip("\n")
        if final:
            text = text.rstrip("\n") if self._held else text
        elif self._marks:
            kept = text.rstrip("\n")
            self._held = text[len(kept) :] + self._held
            text = kept
        if text:
            self._fresh = False
            if self.channel != NOTHING:
                parts.append(Piece(self.channel, text, self._section))

    def _possible(self) -> int:
        """How many characters at the end could be the begin of a mark."""
        for length in range(min(self._longest - 1, len(self._held)), 0, -1):
            tail = self._held[-length:]
            if any(mark.startswith(tail) for mark in self._marks):
                return length
        return 0
