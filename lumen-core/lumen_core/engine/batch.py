"""Several answers at once: every step reads the weights once for all of them.

In: prompts with their options, at any time. Out: pieces of text as they are found. Answers join and leave
between steps; each has its own sampling, seed and stop strings, and the same text as when it is asked for
alone.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Sequence as Many
from typing import Any

import numpy as np

from lumen_core.engine.generation import Completion, Run
from lumen_core.engine.memory import RECENT
from lumen_core.engine.runner import Runner
from lumen_core.engine.sequence import Sequence
from lumen_core.errors import LumenError
from lumen_core.schedule.sampling import SETTINGS


class Answer:
    """One prompt of a batch, and what came of it so far."""

    def __init__(self, run: Run):
        self._run = run
        self._settings = np.zeros(1, SETTINGS)
        run.sampling.write(self._settings)
        self._history = list(run.ids)  # prompt and answer, the part in the cache first
        self._sequence: Sequence | None = None
        self._pieces: list[str] = []
        self.done = False

    @property
    def text(self) -> str:
        return "".join(self._pieces)

    @property
    def tokens(self) -> tuple[int, ...]:
        return tuple(self._run.tokens)

    @property
    def finish_reason(self) -> str:
        """ "stop", "length", or "cancelled"."""
        return self._run.finish_reason

    def completion(self) -> Completion:
        """Return what there is as a whole answer."""
        return self._run.completion(self.text)

    def cancel(self) -> None:
        """Leave the batch with the next step; from any thread."""
        if not self.done:
            self._run.finish_reason = "cancelled"
            self.done = True


class Batch:
    """Answers that go on side by side on one model.

        with model.batch() as batch:
            first, second = batch.add("one prompt"), batch.add("another", temperature=0)
            for answer, piece in batch:
                ...

    `add` may be called at any time, from any thread; iterating runs the steps, in one thread, and ends when
    no answer is left. The model serves nothing else while the batch is open.
    """

    def __init__(self, runner: Runner, cached: Sequence, prepare: Callable[..., Run],
                 require_open: Callable[[], None]):  # fmt: skip
        self._runner = runner
        self._cached = cached  # what the model holds of its last single generation: a prefix to begin with
        self._prepare = prepare
        self._require_open = require_open
        self._waiting: deque[Answer] = deque()
        self._running: list[Answer] = []

    def add(self, prompt: str | Many[int], **options: Any) -> Answer:
        """Put a prompt in line; options as for `Model.stream`, but for `speculate`."""
        if options.get("speculate") is not None:
            raise LumenError("answers of a batch are not speculated on: leave out `speculate`")
        answer = Answer(self._prepare(prompt, **options))
        self._waiting.append(answer)
        return answer

    def add_all(self, prompts: Many[str | Many[int]], each: Many[Mapping[str, Any]] | None,
                options: Mapping[str, Any]) -> list[Answer]:  # fmt: skip
        """Put several prompts in line; `each` has the options of single prompts beside those for all."""
        if isinstance(prompts, str):
            raise LumenError(f"prompts are a list of texts or of lists of tokens, found {prompts!r:.60}")
        each = [{}] * len(prompts) if each is None else each
        if len(each) != len(prompts):
            raise LumenError(f"{len(prompts)} prompts, but options of {len(each)}: give each prompt its own")
        return [self.add(prompt, **{**options, **own}) for prompt, own in zip(prompts, each, strict=True)]

    def __iter__(self) -> Iterator[tuple[Answer, str]]:
        """Yield pieces of text as they are found, of all answers in turn."""
        while True:
            self._require_open()
            self._leave()
            self._join()
            if not self._running:
                return
            yield from self._step()

    def close(self) -> None:
        """Give back the pages; answers that are not done are cancelled."""
        for answer in (*self._running, *self._waiting):
            answer.cancel()
        self._waiting.clear()
        self._leave()

    def _leave(self) -> None:
        for answer in self._running:
            if answer.done and answer._sequence is not None:
                answer._sequence.release()
                answer._sequence = None
        self._running = [answer for answer in self._running if not answer.done]

    def _join(self) -> None:
        """Take in what waits, in order, as far as the cache has pages for whole answers."""
        while self._waiting and len(self._running) < self._runner.session.chunk:
            answer = self._waiting[0]
            if not answer.done and not self._admit(answer):
                return
            self._waiting.popleft()

    def _admit(self, answer: Answer) -> bool:
        run, sequence = answer._run, self._runner.memory.sequence()
        donors = [self._cached, *(other._sequence for other in self._running if other._sequence is not None)]
        donor = max(donors, key=lambda known: known.common(run.ids[:-1]))
        run.reused = sequence.adopt(donor, donor.common(run.ids[:-1]))
        whole = len(run.ids) + run.limit
        if not sequence.fits(whole):
            self._cached.release()
        if not sequence.fits(whole) and self._running:
            sequence.release()
            return False  # when one of the others has left, there is room
        sequence.require(whole - run.reused)
        answer._sequence, run.started = sequence, time.perf_counter()
        self._running.append(answer)
        return True

    def _step(self) -> list[tuple[Answer, str]]:
        """One pass over the weights: a token of each answer, and of new prompts as many as fit."""
        room = self._runner.session.chunk - len(self._running)
        work: list[tuple[Sequence, list[int]]] = []
        drawing: list[
            tuple[Answer, int]
        ] = []  # the answers whose next token this step finds, and after which
        last = -1
        for answer in self._running:
            sequence, history = answer._sequence, answer._history
            assert sequence is not None
            begin = len(sequence.tokens)
            part = history[begin : begin + 1 + room]
            room -= len(part) - 1
            last += len(part)
            work.append((sequence, part))
            if begin + len(part) == len(history):
                drawing.append((answer, last))
        self._runner.step(work)
        found = []
        rows = self._runner.rows([place for _, place in drawing])
        for (answer, _), row in zip(drawing, rows, strict=True):
            if piece := self._draw(answer, row):
                answer._pieces.append(piece)
                found.append((answer, piece))
        return found

    def _draw(self, answer: Answer, row: int) -> str:
        """Take an answer's next token; return the text that is sure now."""
        run, memory = answer._run, self._runner.memory
        run.prefilled = run.prefilled or time.perf_counter()
        if run.limit == 0:
            answer.done = True
            return ""
        memory.settings[:] = answer._settings
        memory.look_back(run.sampling.recent(answer._history, RECENT))
        goes_on = run.take(self._runner.sample(row, len(answer._history) - 1))
        piece = ""
        if goes_on:
            answer._history.append(run.tokens[-1])
            piece = run.decoder.push(run.tokens[-1])
            if run.decoder.stopped is not None:
                run.finish_reason, goes_on = "stop", False
            elif len(run.tokens) >= run.limit:
                goes_on = False
        if not goes_on:
            piece += run.decoder.finish()
            answer.done = True
        return piece
