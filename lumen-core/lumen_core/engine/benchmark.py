"""Speed of a loaded model, under the test names of llama-bench, beside the limits of the machine.

In: a model, prompt lengths, numbers of generated tokens, other engines. Out: one `Measurement` a test and
engine: the median of several runs, their spread (standard deviation), and which part of the limits that is.
`pp512` is a prompt of 512 tokens, `tg128` the generation of 128; neither counts tokenization.
Speeds are in tokens, and in characters of Korean, which alone compare models of different vocabularies.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from lumen_core.engine.sources import open_model
from lumen_core.plugins.registry import Registry
from lumen_core.runtime.peaks import Peaks, measure_peaks
from lumen_core.text.sample import characters_per_token

if TYPE_CHECKING:
    from lumen_core.engine.model import Model

LUMEN = "lumen"
LAYER = re.compile(
    r"blk\.\d+\."
)  # tensors of a layer; the others are the embedding, the last norm and the head


@dataclass(frozen=True)
class Work:
    """What a model file costs: to generate one token, and to take one token of a prompt in."""

    size: int
    parameters: int
    bytes_per_token: int
    operations_per_token: int


@dataclass(frozen=True)
class Measurement:
    """The result of one test of one engine, in tokens a second.

    characters  the median in characters of Korean a second, by what a token of this vocabulary holds
    against     how often this median is that of the fastest other engine (1: none was measured)
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
    of_int8_peak: float
    of_bandwidth: float
    against: float = 1.0


class Engine(Protocol):
    """Another engine that holds the same file."""

    name: str

    def speed(self, ids: Sequence[int], generated: int) -> float:
        """Return tokens a second: of taking `ids` in, or of generating after them."""
        ...


def benchmark(
    model: Model,
    prompts: Sequence[int],
    generations: Sequence[int],
    repetitions: int = 5,
    progress: Callable[[str, int, int], None] | None = None,
    rivals: Sequence[Engine] = (),
) -> tuple[list[Measurement], Peaks]:
    """Run the tests of all engines in turn, and measure the machine's limits between them.

    Every repetition runs everything once, so that a machine that changes its speed changes all of it.
    """
    facts, work = model.describe(), file_work(model.path)
    threads, target = facts["threads"], model.target
    characters = characters_per_token(model.tokenizer)
    tests = tests_of(prompts, generations)
    peaks: list[Peaks] = []
    samples: dict[tuple[str, str], list[float]] = {}
    for repetition in range(repetitions + 1):
        for number, (name, prompt, generated) in enumerate(tests):
            if progress:
                progress(name, repetition * len(tests) + number, (repetitions + 1) * len(tests))
            ids = np.random.default_rng(prompt).integers(0, facts["vocabulary"], prompt).tolist()
            speeds = {LUMEN: _speed(model, ids, generated)}
            speeds |= {rival.name: rival.speed(ids, generated) for rival in rivals}
            if repetition:  # the first round only warms up
                for engine, speed in speeds.items():
                    samples.setdefault((engine, name), []).append(speed)
        peaks.append(measure_peaks(target, threads))
    limits = Peaks(
        threads,
        statistics.median(peak.read_bytes_per_second for peak in peaks),
        statistics.median(peak.int8_operations_per_second for peak in peaks),
    )
    results = []
    for (engine, name), speeds_of in samples.items():
        median = statistics.median(speeds_of)
        others = [statistics.median(runs) for (e, n), runs in samples.items() if n == name and e != engine]
        results.append(
            Measurement(
                engine=engine,
                model=facts["name"],
                size=work.size,
                parameters=work.parameters,
                target=target.name if engine == LUMEN else "",
                threads=threads,
                test=name,
                median=median,
                spread=statistics.stdev(speeds_of) if len(speeds_of) > 1 else 0.0,
                samples=tuple(speeds_of),
                characters=median * characters,
                of_int8_peak=median * work.operations_per_token / limits.int8_operations_per_second,
                of_bandwidth=median * work.bytes_per_token / limits.read_bytes_per_second,
                against=median / max(others) if others else 1.0,
            )
        )
    return results, limits


def profile(
    model: Model, prompts: Sequence[int], generations: Sequence[int]
) -> list[tuple[str, dict[str, float]]]:
    """Run each test once and return where its time went; the model was loaded with `profile=True`."""
    vocabulary = model.describe()["vocabulary"]
    results = []
    for name, prompt, generated in tests_of(prompts, generations):
        ids = np.random.default_rng(prompt).integers(0, vocabulary, prompt).tolist()
        _speed(model, ids, generated)
        model.profile()
        _speed(model, ids, generated)
        results.append((name, model.profile()))
    return results


def tests_of(prompts: Sequence[int], generations: Sequence[int]) -> list[tuple[str, int, int]]:
    """Name, prompt length and generated tokens of each test."""
    return [(f"pp{count}", count, 0) for count in prompts] + [
        (f"tg{count}", 1, count) for count in generations
    ]


def _speed(model: Model, ids: Sequence[int], generated: int) -> float:
    """Return tokens a second of one greedy run; nothing is kept from the run before."""
    model.reset()
    taken = model.generate(ids, max_tokens=generated + 1 if generated else 0, ignore_end=True, temperature=0)
    times = taken.statistics
    if generated:  # the first token belongs to the prompt
        seconds = times.decode_seconds - (times.first_token_seconds - times.prompt_seconds)
        return (times.generated_tokens - 1) / max(seconds, 1e-9)
    return times.prompt_tokens / max(times.prompt_seconds, 1e-9)


def file_work(path: Path) -> Work:
    """Return what a file's tensors cost; the embedding is read row by row unless it is the head as well."""
    with open_model(path, Registry.load()) as file:
        tensors = file.tensors.values()
        head = "output.weight" if "output.weight" in file.tensors else "token_embd.weight"
        read = [tensor for tensor in tensors if LAYER.match(tensor.name) or tensor.name == head]
        matrices = [tensor for tensor in read if len(tensor.shape) > 1 and tensor.name != head]
        return Work(
            size=file.size,
            parameters=sum(int(np.prod(tensor.shape)) for tensor in tensors),
            bytes_per_token=sum(tensor.nbytes for tensor in read),
            operations_per_token=2 * sum(int(np.prod(tensor.shape)) for tensor in matrices),
        )
