"""Speed of a loaded model, under the test names of llama-bench, beside the limits of the machine.

In: a model, prompt lengths, numbers of generated tokens. Out: one `Measurement` a test: the median of several
runs and their spread (standard deviation), and which part of the measured limits that is. `pp512` is a prompt
of 512 tokens, `tg128` the generation of 128; neither counts tokenization. One run before is not counted.
"""

from __future__ import annotations

import re
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lumen_core.plugins.registry import Registry
from lumen_core.runtime.peaks import Peaks, measure_peaks

if TYPE_CHECKING:
    from lumen_core.engine.model import Model

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
    """The result of one test, in tokens a second."""

    model: str
    size: int
    parameters: int
    target: str
    threads: int
    test: str
    median: float
    spread: float
    samples: tuple[float, ...]
    of_int8_peak: float
    of_bandwidth: float


def benchmark(
    model: Model,
    prompts: Sequence[int],
    generations: Sequence[int],
    repetitions: int = 5,
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[list[Measurement], Peaks]:
    """Run the tests and measure the machine's limits around them."""
    facts = model.describe()
    work = file_work(Path(facts["path"]))
    threads, target = facts["threads"], model.target
    tests = tests_of(prompts, generations)
    before = measure_peaks(target, threads)
    speeds: list[tuple[str, tuple[float, ...]]] = []
    for number, (name, prompt, generated) in enumerate(tests):
        runs = []
        for repetition in range(repetitions + 1):
            if progress:
                progress(name, number * repetitions + repetition, len(tests) * repetitions)
            runs.append(_speed(model, prompt, generated, facts["vocabulary"]))
        speeds.append((name, tuple(runs[1:])))
    after = measure_peaks(target, threads)
    peaks = Peaks(
        threads,
        max(before.read_bytes_per_second, after.read_bytes_per_second),
        max(before.int8_operations_per_second, after.int8_operations_per_second),
    )
    results = []
    for name, samples in speeds:
        median = statistics.median(samples)
        results.append(
            Measurement(
                model=facts["name"],
                size=work.size,
                parameters=work.parameters,
                target=target.name,
                threads=threads,
                test=name,
                median=median,
                spread=statistics.stdev(samples) if len(samples) > 1 else 0.0,
                samples=samples,
                of_int8_peak=median * work.operations_per_token / peaks.int8_operations_per_second,
                of_bandwidth=median * work.bytes_per_token / peaks.read_bytes_per_second,
            )
        )
    return results, peaks


def profile(
    model: Model, prompts: Sequence[int], generations: Sequence[int]
) -> list[tuple[str, dict[str, float]]]:
    """Run each test once and return where its time went; the model was loaded with `profile=True`."""
    vocabulary = model.describe()["vocabulary"]
    results = []
    for name, prompt, generated in tests_of(prompts, generations):
        _speed(model, prompt, generated, vocabulary)
        model.profile()
        _speed(model, prompt, generated, vocabulary)
        results.append((name, model.profile()))
    return results


def tests_of(prompts: Sequence[int], generations: Sequence[int]) -> list[tuple[str, int, int]]:
    """Name, prompt length and generated tokens of each test."""
    return [(f"pp{count}", count, 0) for count in prompts] + [
        (f"tg{count}", 1, count) for count in generations
    ]


def _speed(model: Model, prompt: int, generated: int, vocabulary: int) -> float:
    """Return tokens a second of one run on random tokens; nothing is kept from the run before."""
    ids = np.random.default_rng(prompt).integers(0, vocabulary, prompt).tolist()
    model.reset()
    taken = model.generate(ids, max_tokens=generated, ignore_end=True).statistics
    if generated:
        return taken.generated_tokens / max(taken.decode_seconds, 1e-9)
    return taken.prompt_tokens / max(taken.prompt_seconds, 1e-9)


def file_work(path: Path) -> Work:
    """Return what a file's tensors cost; the embedding is read row by row unless it is the head as well."""
    with Registry.load().reader(path).open(path) as file:
        tensors = file.tensors.values()
        head = "output.weight" if "output.weight" in file.tensors else "token_embd.weight"
        read = [tensor for tensor in tensors if LAYER.match(tensor.name) or tensor.name == head]
        matrices = [tensor for tensor in read if len(tensor.shape) > 1 and tensor.name != head]
        return Work(
            size=file.size,
            parameters=sum(int(np.prod(tensor.shape)) for tensor in tensors),
            bytes_per_token=sum(int(tensor.data.nbytes) for tensor in read),
            operations_per_token=2 * sum(int(np.prod(tensor.shape)) for tensor in matrices),
        )
