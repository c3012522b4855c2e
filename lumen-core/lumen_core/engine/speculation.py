"""Guessing the next tokens, so that one step of the model can confirm several.

A guess changes only the speed: every token is still drawn from the model's own logits with the random
number of its position, so the text is the same as without, for any temperature.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from lumen_core.engine.sampling import Sampling
from lumen_core.errors import LumenError

if TYPE_CHECKING:
    from lumen_core.engine.model import Model

LENGTHS = (4, 3, 2)  # tokens that must agree before a look-up proposes what followed them, longest first
DRAFTED = 4  # tokens that a draft model proposes at a time


class Speculation(Protocol):
    """Proposes at most `room` tokens that may follow `history`."""

    def propose(self, history: Sequence[int], room: int) -> list[int]: ...


class Lookup:
    """Proposes what followed the last tokens when they stood in the text before (prompt look-up).

    Good for text that repeats its source: summaries, corrections, code, quotations.
    """

    def __init__(self) -> None:
        self._ends: dict[tuple[int, ...], int] = {}  # run of tokens -> where it last ended
        self._indexed = 0

    def propose(self, history: Sequence[int], room: int) -> list[int]:
        for end in range(self._indexed + 1, len(history)):
            for length in LENGTHS:
                if length <= end:
                    self._ends[tuple(history[end - length : end])] = end
        self._indexed = max(self._indexed, len(history) - 1)
        for length in LENGTHS:
            found = self._ends.get(tuple(history[-length:]))
            if found is not None:  # what is nearer than `room` goes round: it may repeat more than once
                period = len(history) - found
                return [history[found + place % period] for place in range(room)]
        return []


class Draft:
    """Proposes what a smaller model with the same vocabulary finds likeliest."""

    def __init__(self, model: Model, like: Model):
        if model.tokenizer.vocabulary != like.tokenizer.vocabulary:
            raise LumenError(
                f"the draft model {model.path} has another vocabulary than {like.path}; "
                "draft with a model of the same family"
            )
        self.model = model

    def propose(self, history: Sequence[int], room: int) -> list[int]:
        room = min(room, DRAFTED, self.model.context - len(history))
        return self.model.likeliest(history, room) if room > 0 else []


def speculation(wanted: Speculation | Model | str | None, model: Model) -> Speculation | None:
    """Return what `speculate=` asks for: None, "lookup", a draft model, or something that proposes."""
    from lumen_core.engine.model import Model

    if wanted is None:
        return None
    if isinstance(wanted, Model):
        return Draft(wanted, model)
    if wanted == "lookup":
        return Lookup()
    if isinstance(wanted, str):
        raise LumenError(f'speculate must be "lookup" or a draft model, found {wanted!r}')
    return wanted


GREEDY = Sampling(temperature=0)
