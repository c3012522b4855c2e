"""Speed of a loaded model, under the test names of llama-bench, beside the limits of the machine.

In: a model, tests, other engines. Out: one `Measurement` a test and engine: the median of several runs,
their spread (standard deviation), and which part of the limits that is.
`pp512` is a prompt of 512 tokens, `tg128` the generation of 128; `@ d4096` with 4096 tokens in the cache
before, `x8` for eight sequences at once. `lookup` is generation with prompt look-up of an answer that stood
in the text before, word for word: a quotation, or code with few changes. None counts tokenization.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from lumen_core.engine.speculation import Lookup
from lumen_core.engine.timing import Part, Sample
from lumen_core.engine.work import file_work
from lumen_core.runtime.peaks import READ_BYTES, Gauge, Peaks
from lumen_core.text.sample import characters_per_token

if TYPE_CHECKING:
    from lumen_core.engine.model import Model

LUMEN = "lumen"
NOT_NEAR = 256 << 20  # bytes: more than any cache of one processor holds
STEADY = 1.1  # limits further apart than this, before and after a run, say that the machine moved meanwhile
TRIES = 3
PART = 32  # tokens that are generated between two looks at the limits


@dataclass(frozen=True)
class Test:
    """One thing to measure: taking in a prompt, or generating after it."""

    __test__ = False

    prompt: int = 1
    generated: int = 0
    depth: int = 0
    sequences: int = 1
    lookup: bool = False

    @property
    def name(self) -> str:
        parts = [f"tg{self.generated}" if self.generated else f"pp{self.prompt}"]
        parts += [f"@ d{self.depth}"] if self.depth else []
        parts += [f"x{self.sequences}"] if self.sequences > 1 else []
        parts += ["lookup"] if self.lookup else []
        return " ".join(parts)

    @property
    def context(self) -> int:
        """Tokens that a sequence of it has at most; `generated` leaves out the first one that follows."""
        return self.depth + self.prompt + (self.generated + 1 if self.generated else 0)

    @property
    def seen(self) -> float:
        """Tokens in the cache that a token of it sees, on average."""
        return self.depth + (self.generated if self.generated else self.prompt) / 2

    def text(self, model: Model) -> tuple[list[int], list[int]]:
        """Return what stands in the cache before, and the prompt."""
        random = np.random.default_rng(self.prompt)
        vocabulary = model.describe()["vocabulary"]
        before = random.integers(0, vocabulary, self.depth).tolist()
        return before, random.integers(0, vocabulary, self.prompt).tolist()


def all_tests(prompts: Iterable[int], generations: Iterable[int], depths: Sequence[int] = (0,),
             sequences: Sequence[int] = (1,), lookup: bool = False) -> list[Test]:  # fmt: skip
    """Return the tests for all combinations, prompts first."""
    found = [Test(prompt=count, depth=depth) for depth in depths for count in prompts]
    for count in generations:
        found += [
            Test(generated=count, depth=depth, sequences=many) for depth in depths for many in sequences
        ]
        found += [Test(generated=count, lookup=True)] if lookup else []
    return found


@dataclass(frozen=True)
class Measurement:
    """The result of one test of one engine, in tokens a second (over all sequences).

    characters    of Korean text a second, by the model's own tokenizer
    of_peak       share of the peak of the units that its formats' products take
    of_bandwidth  share of the read bandwidth, by the weights' bytes and those of the keys and values; of
                  these two the median over the samples, each beside the limits of its own time
    against       how often its speed was that of the fastest other engine, the median of the turns in which
                  both ran one after the other (1: no other was measured)
    """

    engine: str
    model: str
    size: int
    parameters: int
    target: str
    threads: int
    test: str
    median: float
    spread: float
    samples: tuple[float, ...]
    characters: float
    of_peak: float
    of_bandwidth: float
    against: float | None = None


class Engine(Protocol):
    """Another engine that holds the same file."""

    name: str

    def speed(self, before: Sequence[int], ids: Sequence[int], generated: int) -> float:
        """Return tokens a second: of taking `ids` in behind `before`, or of generating after both."""
        ...


def benchmark(
    model: Model,
    tests: Sequence[Test],
    repetitions: int = 5,
    progress: Callable[[str, int, int], None] | None = None,
    rivals: Sequence[Engine] = (),
) -> tuple[list[Measurement], Peaks]:
    """Run the tests of all engines in turn, with a look at the machine's limits before and after.

    Every repetition runs everything once, so that a machine that changes its speed changes all of it. Other
    engines run what every engine has: one sequence, without look-up.
    """
    facts, work = model.describe(), file_work(model.path)
    threads, target = facts["threads"], model.target
    characters = characters_per_token(model.tokenizer)
    gauge = Gauge(target, threads, min(max(work.bytes_per_token, NOT_NEAR), READ_BYTES))
    texts = {test: test.text(model) for test in tests}
    limits: list[Peaks] = []
    samples: dict[tuple[str, Test], list[Sample]] = {}
    for repetition in range(repetitions + 1):
        for number, test in enumerate(tests):
            if progress:
                progress(test.name, repetition * len(tests) + number, (repetitions + 1) * len(tests))
            turn = _turn(model, test, texts[test], rivals, gauge.peaks, TRIES if repetition else 1)
            if repetition:  # the first round only warms up
                limits.append(turn.samples[LUMEN].limits)
                for engine, sample in turn.samples.items():
                    samples.setdefault((engine, test), []).append(sample)
    results = []
    for (engine, test), runs in samples.items():
        others = [theirs for (other, same), theirs in samples.items() if same == test and other != engine]
        fastest = max(others, key=_middle, default=())
        median = _middle(runs)
        bytes = work.bytes_per_token / test.sequences + test.seen * facts["cache_bytes_per_token"]
        results.append(
            Measurement(
                engine=engine,
                model=facts["name"],
                size=work.size,
                parameters=work.parameters,
                target=target.name if engine == LUMEN else "",
                threads=threads,
                test=test.name,
                median=median,
                spread=statistics.stdev(run.speed for run in runs) if len(runs) > 1 else 0.0,
                samples=tuple(run.speed for run in runs),
                characters=median * characters,
                of_peak=statistics.median(run.of_peak(work.operations_per_token) for run in runs),
                of_bandwidth=statistics.median(run.of_bandwidth(bytes) for run in runs),
                against=_ratio(runs, fastest),
            )
        )
    return results, Peaks.median(limits)


def _ratio(own: Sequence[Sample], others: Sequence[Sample]) -> float | None:
    if not others:
        return None
    return statistics.median(ours.speed / theirs.speed for ours, theirs in zip(own, others, strict=True))


def _middle(runs: Sequence[Sample]) -> float:
    return statistics.median(run.speed for run in runs)


def profile(model: Model, tests: Sequence[Test]) -> list[tuple[str, dict[str, float]]]:
    """Run each test once and return where its time went; the model was loaded with `profile=True`."""
    results = []
    for test in tests:
        text = test.text(model)
        list(_run(model, test, *text))
        model.profile()
        list(_run(model, test, *text))
        results.append((test.name, model.profile()))
    return results


@dataclass(frozen=True)
class Turn:
    """One run of one test by every engine.

    moved  how far the limit of such a test was apart in all looks at it
    """

    samples: Mapping[str, Sample]
    moved: float


def _turn(model: Model, test: Test, text: tuple[list[int], list[int]], rivals: Sequence[Engine],
          look: Callable[[], Peaks], tries: int) -> Turn:  # fmt: skip
    """Run one test in every engine, again where the machine moved meanwhile; the steadiest counts.

    Two virtual processors that are moved to other caches read half as fast from one minute to the next: of
    such a run neither the share of a limit nor the ratio to another engine says anything.
    """
    others = rivals if test.sequences == 1 and not test.lookup else ()
    turns: list[Turn] = []
    while len(turns) < tries and not (turns and turns[-1].moved <= STEADY):
        looks = [look()]
        parts = []
        for tokens, seconds in _run(model, test, *text):
            looks.append(look())
            parts.append(Part(tokens, seconds, Peaks.median(looks[-2:])))
        samples = {LUMEN: Sample(parts)}
        if others:
            speeds = {rival.name: rival.speed(*text, test.generated) for rival in others}
            looks.append(look())
            limits = Peaks.median(looks[-2:])
            samples |= {name: Sample([Part(1, 1 / speed, limits)]) for name, speed in speeds.items()}
        seen = [
            peaks.read_bytes_per_second if test.generated else peaks.int8_operations_per_second
            for peaks in looks
        ]
        turns.append(Turn(samples, max(seen) / min(seen)))
    return min(turns, key=lambda turn: turn.moved)


def _run(model: Model, test: Test, before: list[int], ids: list[int]) -> Iterator[tuple[int, float]]:
    """Yield tokens and seconds of the parts of one greedy run; whoever takes them may pause between two.

    Nothing but what stands before is kept from other runs.
    """
    if before:
        model.generate(before, max_tokens=0)
    else:
        model.reset()
    options: dict[str, Any] = {"ignore_end": True, "temperature": 0}
    if test.sequences > 1:
        prompts = [[*before, *ids, number] for number in range(test.sequences)]
        answers = model.generate_batch(prompts, max_tokens=test.generated + 1, **options)
        runs = [answer.statistics for answer in answers]
        seconds = max(run.prompt_seconds + run.decode_seconds for run in runs)
        seconds -= max(run.first_token_seconds for run in runs)  # the first tokens belong to the prompts
        yield sum(run.generated_tokens - 1 for run in runs), seconds
        return
    text = [*before, *ids]
    if not test.generated:
        run = model.generate(text, max_tokens=0, **options).statistics
        yield run.prompt_tokens, run.prompt_seconds
        return
    if test.lookup:
        answer = model.generate(text, max_tokens=test.generated + 1, **options).tokens
        options["speculate"] = Quotation([*ids, *answer])
        model.reset()
    left = test.generated
    while left:
        first = left == test.generated  # its first token belongs to the prompt
        tokens = left if test.lookup else min(left, PART)
        part = model.generate(text, max_tokens=tokens + first, **options)
        run = part.statistics
        yield tokens, run.prompt_seconds + run.decode_seconds - (run.first_token_seconds if first else 0)
        text += part.tokens
        left -= tokens


class Quotation:
    """Look-up for an answer that repeats a text: as if that stood before the prompt."""

    def __init__(self, text: Sequence[int]):
        self.text, self.lookup = text, Lookup()

    def propose(self, history: Sequence[int], room: int) -> list[int]:
        return self.lookup.propose([*self.text, *history], room)
