"""Measures everything that docs/speed.md says, piece by piece, and writes that page from what is there.

    python benchmarks/speed.py                        # everything: takes hours, best on an idle machine
    python benchmarks/speed.py --shapes qwen2.5-0.5b --formats q4_0,q8_0 --threads 2 --parts speed
    python benchmarks/speed.py --since 2026-11-27T08:00   # go on with what was begun at that time (UTC)
    python benchmarks/speed.py --parts ""             # only write the page again

Every piece (a part, a shape, a format, a number of threads) is kept in a file of results (--results) as soon
as it is there, so that the whole can be run in pieces: a later run of a piece replaces the earlier one,
unless it is newer than --since.

    speed     pp512 and tg128 beside llama.cpp, all engines in turn in one process
    long      pp4096, eight sequences at once, prompt look-up
    contexts  generation behind 16384 and 32000 tokens, kept as f16 and as q8_0
    steps     how long a step takes that generates a token for each of 1 .. 40 sequences
    start     whole processes until the first token, and compiling
    gemm      f32 matrix products beside numpy
    openvino  OpenVINO GenAI on the same shapes, in a Python that has it (--openvino-python)

Models have random weights in real shapes, so speed is all they show. llama.cpp comes with
`pip install llama-cpp-python` (build it for the machine: CMAKE_ARGS=-DGGML_NATIVE=ON, no binary wheel).
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import page
import processes

import lumen_core
from lumen_core.engine.benchmark import Test, benchmark
from lumen_core.engine.loading import load
from lumen_core.engine.rivals import rivals
from lumen_core.engine.shapes import shape
from lumen_core.engine.synth import synthesize

HERE = Path(__file__).parent
SHAPES = ("qwen2.5-0.5b", "qwen3-1.7b", "exaone-3.5-2.4b")
FORMATS = ("q4_0", "q8_0", "q4_k_m", "q5_k_m", "q6_k", "iq4_xs", "iq3_s", "mxfp4", "bf16")
LONG_FORMATS = ("q4_0", "q4_k_m")  # of the parts that take long and depend little on the format
START_FORMATS = ("q4_0", "q8_0", "q4_k_m")
PARTS = ("speed", "long", "contexts", "steps", "start", "gemm", "openvino")
SPEED = [Test(prompt=512), Test(generated=128)]
LONG = [
    [Test(prompt=512), Test(prompt=4096)],
    [Test(generated=64), Test(generated=64, sequences=8)],
    [Test(generated=128), Test(generated=128, lookup=True)],
]
CONTEXTS = [Test(generated=32, depth=16384), Test(generated=32, depth=32000)]
CACHES = ("f16", "q8_0")  # as which a long context is kept
STEPS = [Test(generated=16, sequences=count) for count in page.SEQUENCES]
GEMM_SIZES = (1024, 2048, 4096)

Record = dict[str, Any]
Piece = tuple[str, Callable[[], Record]]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default=",".join(PARTS))
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--formats", default=",".join(FORMATS))
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--vocab", help="a model file whose vocabulary the models get: what a start reads")
    parser.add_argument("--openvino-python", default=sys.executable, help="see openvino_speed.py")
    parser.add_argument("--openvino-models", type=Path, default=Path(tempfile.gettempdir()) / "openvino")
    parser.add_argument("--since", type=datetime.datetime.fromisoformat, help="keep what is newer")
    parser.add_argument("--results", type=Path, default=HERE / "results.json")
    parser.add_argument("--page", type=Path, default=HERE.parent / "docs" / "speed.md")
    chosen = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed program has its byte code
    results = Results(chosen.results, chosen.since)
    parts, shapes, formats = (
        [item for item in text.split(",") if item] for text in (chosen.parts, chosen.shapes, chosen.formats)
    )
    threads = [int(count) for count in chosen.threads.split(",")]
    if unknown := set(parts) - set(PARTS):
        parser.error(f"unknown parts: {', '.join(sorted(unknown))}; known: {', '.join(PARTS)}")
    if "gemm" in parts:
        for count in threads:
            for size in GEMM_SIZES:
                # numpy's library chooses its kernels when it is loaded, and variables may choose for it.
                own = {key: value for key, value in os.environ.items() if not key.startswith("OPENBLAS_")}
                command = ["gemm.py", str(size), str(count), str(chosen.repetitions)]
                if (key := f"gemm|{size}|{count}") not in results:
                    results.keep(key, child(sys.executable, command, own))
    for name in shapes:
        if "openvino" in parts:
            for count in threads:
                if f"openvino|{name}|int8|{count}" not in results:  # all precisions come at once
                    for kind, record in openvino(name, count, chosen).items():
                        results.keep(f"openvino|{name}|{kind}|{count}", record)
        for format in formats:
            if wanted := [key for key in keys(parts, name, format, threads) if key not in results]:
                with model_file(name, format, chosen.vocab) as path:
                    for key in wanted:
                        results.keep(key, measured(key, path, chosen.repetitions))
    chosen.page.write_text(page.page(results.records), encoding="utf-8")


def keys(parts: list[str], name: str, format: str, threads: list[int]) -> Iterator[str]:
    """Yield the pieces that one model file is measured for."""
    limited = {"speed": FORMATS, "start": START_FORMATS}
    limited |= dict.fromkeys(("long", "contexts", "steps"), LONG_FORMATS)
    more = {"long": [tests[-1].name for tests in LONG], "contexts": CACHES}
    for part in (part for part in parts if format in limited.get(part, ())):
        if part == "start":
            yield f"start|{name}|{format}"
            continue
        for count in threads:
            for last in more.get(part, ("",)):
                yield f"{part}|{name}|{format}|{count}" + (f"|{last}" if last else "")


def measured(key: str, path: Path, repetitions: int) -> Record:
    """Measure a piece."""
    part, _, _, *rest = key.split("|")
    if part == "start":
        return processes.starts(path)
    if part == "speed":
        return run(path, int(rest[0]), SPEED, repetitions, against=True)
    if part == "steps":
        return run(path, int(rest[0]), STEPS, min(repetitions, 3))
    if part == "contexts":
        return contexts(path, int(rest[0]), rest[1])
    tests = next(tests for tests in LONG if tests[-1].name == rest[1])
    return run(path, int(rest[0]), tests, min(repetitions, 3))


def run(path: Path, threads: int, tests: list[Test], repetitions: int, against: bool = False) -> Record:
    """Run tests of one file in one process; with llama.cpp in turn if wanted."""
    context = max(test.context for test in tests)
    many = max(test.sequences for test in tests)
    with (
        load(path, threads=threads, context=context, sequences=many) as model,
        rivals("llama.cpp" if against else None, model) as others,
    ):
        results, limits = benchmark(model, tests, repetitions, rivals=others)
        return {
            "target": model.target.name,
            "machine": asdict(limits),
            "results": [asdict(result) for result in results],
        }


def contexts(path: Path, threads: int, cache: str) -> Record:
    """Generate in contexts that grow: what was taken in for one stands before the next."""
    with load(path, threads=threads, context=CONTEXTS[-1].context, kv_format=cache) as model:
        found = []
        for test in CONTEXTS:
            (result,), limits = benchmark(model, [test], 3)
            found.append(asdict(result) | {"cache": cache, "machine": asdict(limits)})
        return {"target": model.target.name, "machine": found[-1]["machine"], "results": found}


def openvino(name: str, threads: int, chosen: argparse.Namespace) -> dict[str, Record]:
    """Measure all precisions of OpenVINO GenAI on a shape; its models are kept for the next time."""
    numbers = {key: value for key, value in asdict(shape(name)).items() if key != "more"} | {"name": name}
    command = ["openvino_speed.py", json.dumps(numbers), str(chosen.openvino_models), str(threads),
               str(chosen.repetitions)]  # fmt: skip
    return child(chosen.openvino_python, command)


def child(python: str, command: list[str], environment: dict[str, str] | None = None) -> Record:
    """Run a program of this folder; its last line is JSON."""
    command = [python, str(HERE / command[0]), *command[1:]]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: Record = json.loads(done.stdout.splitlines()[-1])
    return found


@contextmanager
def model_file(name: str, format: str, vocabulary: str | None) -> Iterator[Path]:
    """Give a synthetic model that is deleted afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}-{format}.gguf"
        yield synthesize(name, path, format=format, vocabulary=vocabulary)


class Results:
    """What has been measured so far, on disk after every piece; what is newer than `since` is in it."""

    def __init__(self, path: Path, since: datetime.datetime | None):
        self.path = path
        self.since = since.replace(tzinfo=since.tzinfo or datetime.UTC) if since else None
        self.records: dict[str, Record] = json.loads(path.read_text("utf-8")) if path.exists() else {}

    def __contains__(self, key: str) -> bool:
        if self.since is None or key not in self.records:
            return False
        return datetime.datetime.fromisoformat(self.records[key]["date"]) >= self.since

    def keep(self, key: str, record: Record) -> None:
        self.records[key] = record | {
            "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
            "version": lumen_core.__version__,
            "python": platform.python_version(),
            "processor": processor(),
            "cores": len(os.sched_getaffinity(0)),
        }
        partial = self.path.with_suffix(".partial")
        partial.write_text(json.dumps(self.records, indent=1), encoding="utf-8")
        partial.replace(self.path)
        print(key, page.short(key, record), sep="  ", file=sys.stderr, flush=True)


def processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    return names[0] if names else platform.machine()


if __name__ == "__main__":
    main()
