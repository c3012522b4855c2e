"""Runs a model's programs: prefill in chunks, decode token by token, logits for scoring."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from collections.abc import Sequence as Many

import numpy as np

from lumen_core.engine.memory import Memory
from lumen_core.engine.sequence import Sequence
from lumen_core.engine.session import FEW, PROGRAMS, Session
from lumen_core.runtime.memory import address
from lumen_core.runtime.team import Team
from lumen_core.schedule.places import token_stride


class Runner:
    """The programs of one session over one memory; not for several threads at once."""

    def __init__(self, session: Session, memory: Memory, team: Team):
        self.session = session
        self.memory = memory
        self.team = team
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        self._programs = {
            name: session.library.function(name, None, pointer, number, number) for name in PROGRAMS
        }
        (symbol,) = (name for name in session.kernels if name.startswith("sample_"))
        arguments = (pointer, number, pointer, number, pointer, number, pointer)
        self._sample = session.library.function(symbol, number, *arguments)
        head = session.lowered.function("head")
        self.width = head.arguments[0].type.shape[-1].value or 0
        self.vocabulary = head.results[0].type.shape[-1].value or 0
        self.state_stride = token_stride(self.width)
        self.logit_stride = token_stride(self.vocabulary) // 4
        self._frame = address(memory.frame)
        self._states = address(memory.buffers["x"])
        states = memory.buffers["x"][: memory.buffers["x"].nbytes // self.state_stride * self.state_stride]
        self._state_rows = states.reshape(-1, self.state_stride)
        self._logits = memory.buffers["head.out"].view("<f4")
        self._first_logit = address(self._logits)
        self._recent, self._settings = address(memory.recent), address(memory.settings)
        self._scratch = address(memory.buffers["sampling.scratch"])

    def _run(self, name: str) -> None:
        self.team.run(self._programs[name], self.session.library.address(name), self._frame)

    def step(self, work: Many[tuple[Sequence, Many[int]]]) -> int:
        """Put the next tokens of several sequences into the cache in one pass over the weights.

        Returns how many these are, at most the session's chunk. Their states stay for `last` and `rows`.
        """
        for sequence, ids in work:
            sequence.require(len(ids))
        count = self.memory.step.write([(len(s.tokens), ids, s.pages) for s, ids in work])
        self._run("few" if count <= FEW else "prefill")
        for sequence, ids in work:
            sequence.extend(ids)
        return count

    def prefill(self, sequence: Sequence, ids: Many[int]) -> None:
        """Put tokens into the cache, chunk by chunk; the last chunk's states stay for `last` and `rows`."""
        sequence.require(len(ids))
        for start in range(0, len(ids), self.session.chunk):
            self._in_chunk = self.step([(sequence, ids[start : start + self.session.chunk])])

    def last(self, sequence: Sequence) -> int:
        """Sample after the last token of a prefill."""
        # A draw depends on the position of the token before it, however the tokens came into the cache.
        position = len(sequence.tokens) - 1
        self.memory.set("sampling.position", position)
        self.memory.set("head_x", self._states + (self._in_chunk - 1) * self.state_stride)
        self._run("last")
        return self.memory.sampled[0]

    def decode(self, sequence: Sequence, token: int) -> int:
        """Run one token and sample the next."""
        sequence.require(1)
        position = len(sequence.tokens)
        self.memory.step.write([(position, (token,), sequence.pages)])
        self.memory.set("sampling.position", position)
        self.memory.set("head_x", self._states)
        self._run("decode")
        sequence.extend((token,))
        return self.memory.sampled[0]

    def sample(self, row: int, position: int) -> int:
        """Draw from a row of logits that `rows` gave.

        position  of the token before the drawn one, in its sequence
        """
        logits = self._first_logit + 4 * row * self.logit_stride
        return int(
            self._sample(
                logits,
                self.vocabulary,
                self._recent,
                self.memory.recents,
                self._settings,
                position,
                self._scratch,
            )
        )

    def next_logits(self) -> np.ndarray:
        """Logits of the last sampled position, f32 [V]; a view that the next step overwrites."""
        return self._logits[: self.vocabulary]

    def logits(self, sequence: Sequence, ids: Many[int]) -> np.ndarray:
        """Run tokens and return the logits after each, f32 [len(ids), V]."""
        sequence.require(len(ids))
        result = np.empty((len(ids), self.vocabulary), np.float32)
        for start in range(0, len(ids), self.session.chunk):
            part = ids[start : start + self.session.chunk]
            self.step([(sequence, part)])
            result[start : start + len(part)] = self.scores(range(len(part)))
        return result

    def scores(self, tokens: Many[int]) -> np.ndarray:
        """Return the logits after tokens of the last step, in ascending order: f32 [len(tokens), V].

        They can be asked for once: the states of a step are moved together for it.
        """
        result = np.empty((len(tokens), self.vocabulary), np.float32)
        for number, row in enumerate(self.rows(tokens)):
            start = row * self.logit_stride
            result[number] = self._logits[start : start + self.vocabulary]
        return result

    def rows(self, tokens: Many[int]) -> Iterator[int]:
        """Yield where the logits after each of these tokens are, for `sample`; otherwise as `scores`.

        Rows hold until one is asked for behind `FEW` of them.
        """
        for row, token in enumerate(tokens):
            if row != token:
                self._state_rows[row] = self._state_rows[token]
        for first in range(0, len(tokens), FEW):
            count = min(FEW, len(tokens) - first)
            self.memory.set("head_x", self._states + first * self.state_stride)
            self.memory.set("tokens", count)
            self._run("score")
            yield from range(count)
