"""How a family of models converses, as data: where thoughts, answers and tool calls begin, what ends a turn.

A `ChatFamily` is stated by a model's package and recognized by the control tokens of a vocabulary.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

ANSWER, REASONING, TOOL, NOTHING = "answer", "reasoning", "tool", ""


@dataclass(frozen=True)
class ChatFamily:
    """What the generated text of a family means.

    tokens    tokens that a vocabulary must all have; of several such families the one with most is chosen
    marks     text in the stream -> what follows it: an answer, reasoning, a tool call, nothing to be shown
    ends      tokens that alone end a generation; empty: what the file declares
    switch    variable of the chat template that turns thinking on and off, and its values for on and for off
    budget    text that is added to the user's last message to limit thinking to {tokens}
    tools     form of a tool call: "json", "xml" or "tokens" (`lumen_core.text.tools`)
    """

    name: str
    tokens: tuple[str, ...]
    marks: Mapping[str, str] = field(default_factory=dict)
    ends: tuple[str, ...] = ()
    switch: tuple[str, object, object] | None = None
    budget: str = ""
    tools: str = "json"


def family_of(vocabulary: Collection[str], families: Iterable[ChatFamily]) -> ChatFamily | None:
    """The family that claims most tokens of those that the vocabulary has all of."""
    fitting = [
        family for family in families if family.tokens and all(token in vocabulary for token in family.tokens)
    ]
    return max(fitting, key=lambda family: len(family.tokens), default=None)
