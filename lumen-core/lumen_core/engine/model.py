"""The library's face: `stream`, `generate` or `chat` with a loaded model, ask for `logits`.

    model = load("file.gguf")
    for text in model.stream("옛날 옛적에"):
        print(text, end="", flush=True)

Several models may live in a process; one model serves one generation at a time (others wait their turn).
"""

from __future__ import annotations

import operator
import weakref
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from functools import cached_property
from types import TracebackType
from typing import Any

import numpy as np

from lumen_core.engine.batch import Batch
from lumen_core.engine.chat import Reply, Turn, chat_prompt, turn
from lumen_core.engine.facts import facts
from lumen_core.engine.generation import Completion, Run, Statistics, find_tokens
from lumen_core.engine.memory import Memory
from lumen_core.engine.runner import Runner
from lumen_core.engine.sampling import Sampling, recommended
from lumen_core.engine.sequence import check_length
from lumen_core.engine.session import Session
from lumen_core.engine.speculation import GREEDY, Speculation, speculation
from lumen_core.engine.turns import Turns
from lumen_core.errors import LumenError
from lumen_core.runtime.team import Team
from lumen_core.target import Target
from lumen_core.text.chat import ChatFamily
from lumen_core.text.stream import StreamDecoder
from lumen_core.text.tokenizer import Tokenizer
from lumen_core.weights.model_file import ModelFile

Prompt = str | Sequence[int]


class Model:
    """A model that is ready to run; `close` it, or use it as a context manager."""

    def __init__(self, file: ModelFile, session: Session, memory: Memory, team: Team, tokenizer: Tokenizer,
                 family: ChatFamily | None = None):  # fmt: skip
        self.path = file.path
        self.tokenizer = tokenizer
        self.family = family
        self.statistics: Statistics | None = None
        self._file = file
        self._session = session
        self._memory = memory
        self._team = team
        self._runner = Runner(session, memory, team)
        self._cached = memory.sequence()
        self._lock = Turns()
        self._stop_threads = weakref.finalize(self, team.close)  # also where nobody closes the model
        self._closed = False

    # ------------------------------------------------------------------- text

    def stream(
        self,
        prompt: Prompt,
        *,
        max_tokens: int | None = 128,
        stop: Sequence[str] = (),
        ignore_end: bool = False,
        add_special: bool = True,
        speculate: Speculation | Model | str | None = None,
        **sampling: Any,
    ) -> Iterator[str]:
        """Yield the continuation of a text (or of token ids) piece by piece, whole characters only.

        Args:
            max_tokens: the most tokens to generate; None: until the model ends or the context is full.
            stop: strings that end the answer and are not part of it.
            ignore_end: go on after the model's own end-of-text token.
            add_special: put the tokens in front that the model expects (beginning of text).
            speculate: "lookup" (what followed the same words before), or a smaller model to draft with:
                the same tokens, found several at a time.
            sampling: settings of `Sampling`: temperature, top_k, top_p, min_p, repeat_penalty, seed, ...
        """
        run = self.prepare(
            prompt, max_tokens=max_tokens, stop=stop, ignore_end=ignore_end, add_special=add_special,
            speculate=speculate, **sampling,
        )  # fmt: skip
        return self.pieces(run)

    def generate(self, prompt: Prompt, **options: Any) -> Completion:
        """Return the whole continuation; options as for `stream`."""
        run = self.prepare(prompt, **options)
        return run.completion("".join(self.pieces(run)))

    @contextmanager
    def batch(self) -> Iterator[Batch]:
        """Open a batch: answers that join and leave as they like, several in each step."""
        with self._lock:
            self._require_open()
            batch = Batch(self._runner, self._cached, self.prepare, self._require_open)
            try:
                yield batch
            finally:
                batch.close()

    def stream_batch(self, prompts: Sequence[Prompt], *, each: Sequence[Mapping[str, Any]] | None = None,
                     **options: Any) -> Iterator[tuple[int, str]]:  # fmt: skip
        """Yield the number of a prompt and a piece of its continuation, for all prompts side by side.

        each: options of single prompts, which win over those for all; both as for `stream`.
        """
        with self.batch() as batch:
            numbers = {answer: number for number, answer in enumerate(batch.add_all(prompts, each, options))}
            for answer, piece in batch:
                yield numbers[answer], piece

    def generate_batch(self, prompts: Sequence[Prompt], *, each: Sequence[Mapping[str, Any]] | None = None,
                       **options: Any) -> list[Completion]:  # fmt: skip
        """Return the whole continuations, in the order of the prompts; options as for `stream_batch`."""
        with self.batch() as batch:
            answers = batch.add_all(prompts, each, options)
            for _ in batch:
                pass
            return [answer.completion() for answer in answers]

    def stream_chat(self, messages: Sequence[Mapping[str, Any]], *, max_tokens: int | None = None,
                    template: Mapping[str, Any] | None = None, **options: Any) -> Iterator[str]:  # fmt: skip
        """Yield the answer to a conversation; `template` holds variables for the chat template."""
        ids = self.chat_ids(messages, **(template or {}))
        return self.stream(ids, max_tokens=max_tokens, **options)

    def chat(self, messages: Sequence[Mapping[str, Any]], *, max_tokens: int | None = None,
             template: Mapping[str, Any] | None = None, **options: Any) -> Completion:  # fmt: skip
        """Return the whole answer to a conversation; options as for `stream_chat`."""
        return self.generate(self.chat_ids(messages, **(template or {})), max_tokens=max_tokens, **options)

    def stream_parts(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Turn:
        """Return the next turn of a conversation, to be read in parts: "reasoning", "answer", "tool" apart.

        Args:
            think: True or False turns thinking on or off, a number limits it to so many tokens;
                None leaves it to the model.
            tools: functions that the model may call, described as in OpenAI's chat API. The calls stand in
                the turn's `reply()`; its `message` and one of {"role": "tool", "tool_call_id": ...,
                "name": ..., "content": ...} for every result go on with the conversation.
            template, max_tokens, and others as for `stream_chat`.
        """
        return turn(self, messages, **options)

    def reply(self, messages: Sequence[Mapping[str, Any]], **options: Any) -> Reply:
        """Return the whole next turn, its tool calls read; options as for `stream_parts`."""
        whole = turn(self, messages, **options)
        for _ in whole:
            pass
        return whole.reply()

    def chat_ids(self, messages: Sequence[Mapping[str, Any]], **variables: Any) -> list[int]:
        """Return the prompt that the file's chat template makes of a conversation, as token ids."""
        prompt = self.chat_prompt(messages, **variables)
        return self.tokenizer.encode(prompt, add_special=False, parse_special=True)

    def chat_prompt(self, messages: Sequence[Mapping[str, Any]], **variables: Any) -> str:
        """Return that prompt as text, in which names of control tokens that others wrote are shielded."""
        return chat_prompt(self.path, self.tokenizer, self.family, messages, variables)

    # ----------------------------------------------------------------- numbers

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        """Return the logits after each token of a sequence, f32 [T, V]."""
        self._require_open()
        ids = self._checked(ids)
        with self._lock:
            self._require_open()
            self._cached.rewind(0)
            return self._runner.logits(self._cached, ids)

    def likeliest(self, ids: Sequence[int], count: int) -> list[int]:
        """Return the `count` tokens that greedily follow; what the cache holds is not computed again."""
        with self._lock:
            self._require_open()
            decoder = StreamDecoder(self.tokenizer)
            run = Run(self._checked(ids), count, frozenset(), decoder, GREEDY, None)
            return list(find_tokens(run, self._runner, self._cached))

    @property
    def recommended(self) -> dict[str, float]:
        """Settings of `Sampling` that the model's authors advise for conversations."""
        return recommended(self._file.metadata)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Settings of the file that nothing here computes with, in words."""
        return self._session.bound.remarks

    @property
    def target(self) -> Target:
        """The target that the programs were compiled for."""
        return self._session.target

    @property
    def context(self) -> int:
        """Tokens that prompt and answer together may have."""
        self._require_open()
        return self._memory.context

    def describe(self) -> dict[str, Any]:
        """Facts about the loaded model, for tables."""
        self._require_open()
        return facts(self._file, self._session, self._memory, self._team.threads)

    def profile(self) -> dict[str, float]:
        """Return which share of thread 0's time each kind of work took since the last call.

        A matmul goes by its weight's name; `waiting` is the time at barriers. Load with `profile=True`.
        """
        places = self._session.records.profile
        if places is None:
            raise LumenError("the model was loaded without profile=True")
        with self._lock:
            self._require_open()
            cycles = {kind: int(self._memory.profile[place // 8]) for kind, place in places.places.items()}
            self._memory.profile[:] = 0
        total = sum(cycles.values()) or 1
        return {kind: count / total for kind, count in sorted(cycles.items(), key=lambda item: -item[1])}

    # --------------------------------------------------------------- life time

    def reset(self) -> None:
        """Forget the tokens of earlier prompts, so that nothing of them is reused."""
        with self._lock:
            self._require_open()
            self._cached.rewind(0)

    def close(self) -> None:
        """Stop the threads and free the memory; the model cannot be used afterwards."""
        # A stream that this thread left open holds the turn and runs nothing: it ends when it is asked again.
        with nullcontext() if self._lock.mine else self._lock:
            if self._closed:
                return
            self._closed = True
            self._stop_threads()
            self._file.close()
            del self._memory, self._runner, self._cached

    def __enter__(self) -> Model:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> Any:
        raise TypeError("a loaded model cannot be pickled; load it from its path in the other process")

    # ------------------------------------------------------------------ inside

    def _require_open(self) -> None:
        if self._closed:
            raise LumenError(f"the model {self.path} is closed")

    def _checked(self, ids: Sequence[int]) -> list[int]:
        try:
            checked = [operator.index(token) for token in ids]
        except TypeError:
            raise LumenError(f"tokens are whole numbers in a list (or a text), found {ids!r:.60}") from None
        for token in checked:
            if not 0 <= token < self._runner.vocabulary:
                raise LumenError(f"token {token} is not in the vocabulary of {self._runner.vocabulary}")
        return checked

    def prepare(self, prompt: Prompt, *, max_tokens: int | None = 128, stop: Sequence[str] = (),
                ignore_end: bool = False, add_special: bool = True,
                speculate: Speculation | Model | str | None = None,
                shown: frozenset[int] = frozenset(), **sampling: Any) -> Run:  # fmt: skip
        """Check what is asked for and return it as a generation, which `pieces` carries out.

        shown: control tokens that are text here; other options as for `stream`.
        """
        settings = Sampling(**sampling)
        self._require_open()
        if isinstance(prompt, str):
            prompt = self.tokenizer.encode(prompt, add_special=add_special)
        checked = self._checked(prompt)
        if not checked:  # an empty text still has a beginning
            start = self.tokenizer.bos_id if self.tokenizer.bos_id is not None else self.tokenizer.eos_id
            if start is None:
                raise LumenError("the prompt is empty and the model has no token to begin a text with")
            checked = [start]
        if max_tokens is not None and (not isinstance(max_tokens, int) or max_tokens < 0):
            raise LumenError(f"max_tokens must be a whole number, 0 or more, found {max_tokens!r}")
        check_length(len(checked), self.context)
        limit = self.context - len(checked)
        limit = limit if max_tokens is None else min(limit, max_tokens)
        decoder = StreamDecoder(self.tokenizer, (stop,) if isinstance(stop, str) else stop, special=shown)
        ends = frozenset() if ignore_end else self._ends
        return Run(checked, limit, ends, decoder, settings, speculation(speculate, self))

    @cached_property
    def _ends(self) -> frozenset[int]:
        """What ends a generation: what the family says, where it says something."""
        if self.family is None or not self.family.ends:
            return frozenset(self.tokenizer.eos_ids)
        names = set(self.family.ends)
        return frozenset(number for number, text in enumerate(self.tokenizer.vocabulary) if text in names)

    def pieces(self, run: Run) -> Generator[str]:
        """Carry out a generation, and yield its text: whole characters only."""
        with self._lock:
            self._require_open()
            try:
                for token in find_tokens(run, self._runner, self._cached):
                    text = run.decoder.push(token)
                    if text:
                        yield text
                        self._require_open()
                    if run.decoder.stopped is not None:
                        run.finish_reason = "stop"
                        break
                tail = run.decoder.finish()
                if tail:
                    yield tail
            finally:
                self.statistics = run.statistics()
