"""One generation: what it was asked for, how far it is, how long it took, what came out."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from lumen_core.engine.memory import RECENT
from lumen_core.engine.runner import Runner
from lumen_core.engine.sampling import Sampling
from lumen_core.engine.sequence import Sequence
from lumen_core.engine.speculation import Speculation
from lumen_core.errors import LumenError
from lumen_core.text.stream import StreamDecoder

CHECKED = 8  # tokens of a step that checks guesses, at most: more take longer, and the later ones rarely hold


@dataclass(frozen=True)
class Statistics:
    """How long a generation took; seconds of wall time. Tokens that were proposed, and of them accepted."""

    prompt_tokens: int
    reused_tokens: int
    prompt_seconds: float
    first_token_seconds: float
    generated_tokens: int
    decode_seconds: float
    proposed_tokens: int = 0
    accepted_tokens: int = 0

    def then(self, next: Statistics) -> Statistics:
        """Return those of an answer that went on in a second generation, begun with all tokens so far."""
        return Statistics(
            self.prompt_tokens, self.reused_tokens, self.prompt_seconds, self.first_token_seconds,
            self.generated_tokens + next.generated_tokens,
            self.decode_seconds + next.prompt_seconds + next.decode_seconds,
            self.proposed_tokens + next.proposed_tokens, self.accepted_tokens + next.accepted_tokens,
        )  # fmt: skip


@dataclass(frozen=True)
class Completion:
    """A whole answer. finish_reason is "stop" (the model ended, or a stop string came) or "length"."""

    text: str
    tokens: tuple[int, ...]
    finish_reason: str
    statistics: Statistics


class Run:
    """One generation while it goes on."""

    def __init__(self, ids: list[int], limit: int, ends: frozenset[int], decoder: StreamDecoder,
                 sampling: Sampling, speculation: Speculation | None):  # fmt: skip
        self.ids = ids
        self.limit = limit
        self.ends = ends
        self.decoder = decoder
        self.sampling = sampling
        self.speculation = speculation
        self.proposed = self.accepted = 0
        self.tokens: list[int] = []
        self.finish_reason = "length"
        self.reused = 0
        self.before: Statistics | None = None  # of a generation that this one goes on with
        self.started = self.prefilled = self.first = self.ended = 0.0

    def take(self, found: int) -> bool:
        """Note the token that was drawn; tell whether it is part of the answer (else the answer is over)."""
        self.ended = time.perf_counter()
        self.first = self.first or self.ended
        if found < 0:
            raise LumenError("the model's numbers are not finite; the file is damaged or of another kind")
        if found in self.ends:
            self.finish_reason = "stop"
            return False
        self.tokens.append(found)
        return True

    def completion(self, text: str) -> Completion:
        return Completion(text, tuple(self.tokens), self.finish_reason, self.statistics())

    def statistics(self) -> Statistics:
        own = Statistics(
            prompt_tokens=len(self.ids) - self.reused,
            reused_tokens=self.reused,
            prompt_seconds=self.prefilled - self.started,
            first_token_seconds=max(0.0, self.first - self.started),
            generated_tokens=len(self.tokens),
            decode_seconds=self.ended - self.prefilled,
            proposed_tokens=self.proposed,
            accepted_tokens=self.accepted,
        )
        return own if self.before is None else self.before.then(own)


def find_tokens(run: Run, runner: Runner, cached: Sequence) -> Iterator[int]:
    """Yield ids as they are found; tokens that the cache already holds from before are not computed again."""
    run.sampling.write(runner.memory.settings)
    run.reused = cached.rewind(cached.common(run.ids[:-1]))  # the last token is always computed
    run.started = time.perf_counter()
    history = list(run.ids)
    runner.prefill(cached, run.ids[run.reused :])
    run.prefilled = run.ended = time.perf_counter()
    if run.limit == 0:
        return

    def look_back() -> None:
        runner.memory.look_back(run.sampling.recent(history, RECENT))

    look_back()
    found = runner.last(cached)
    proposed: list[int] = []
    rows: list[int] = []  # of logits: after `found` and each of the proposed
    while True:
        # `found` follows what is in the cache; the same step holds more tokens as long as it finds what
        # was proposed.
        for row in range(len(proposed) + 1):
            if row > 0:
                look_back()
                found = runner.sample(rows[row], len(cached.tokens) - len(proposed) - 1 + row)
            if not run.take(found):
                return
            yield found
            if len(run.tokens) >= run.limit:
                return
            history.append(found)
            if row == len(proposed) or found != proposed[row]:
                break
            run.accepted += 1
        if len(cached.tokens) >= len(history):  # what was guessed in vain
            cached.rewind(len(history) - 1)
        if run.sampling.penalizes:
            look_back()
        room = min(run.limit - len(run.tokens), CHECKED) - 1
        proposed = run.speculation.propose(history, room) if run.speculation is not None and room > 0 else []
        run.proposed += len(proposed)
        if proposed:
            position = len(cached.tokens)
            runner.prefill(cached, [found, *proposed])
            rows = list(runner.rows(range(len(proposed) + 1)))  # so few that all hold
            found = runner.sample(rows[0], position)
        else:
            found = runner.decode(cached, found)
