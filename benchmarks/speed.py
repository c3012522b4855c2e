"""Measures Lumen beside llama.cpp and writes docs/speed.md: one command makes the whole page.

    python benchmarks/speed.py                       # everything, with the models' real shapes
    python benchmarks/speed.py --shapes qwen2.5-0.5b --formats q4_0 --repetitions 3

Models have random weights in real shapes, so speed is all they show. All engines run in turn in one process
per file; figures are medians, the limits of the machine are measured between the runs. Needs
`pip install llama-cpp-python` (build it for the machine: CMAKE_ARGS=-DGGML_NATIVE=ON, no binary wheel).
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import lumen_core
from lumen_core.engine.benchmark import LUMEN, Measurement, benchmark
from lumen_core.engine.model import load
from lumen_core.engine.rivals import rivals
from lumen_core.engine.synth import synthesize
from lumen_core.runtime.peaks import Peaks

PAGE = Path(__file__).parent.parent / "docs" / "speed.md"
PROMPT = "안녕하세요"
# The command line in a fresh process, which says at its end how much memory it had at most.
RUN = """
import sys
from lumen_core.cli.main import main
try:
    main()
finally:
    with open("/proc/self/status") as status:
        print(*(line.split()[1] for line in status if line.startswith("VmHWM")), file=sys.stderr)
"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--shapes", default="qwen2.5-0.5b")
    parser.add_argument("--formats", default="q4_0,q8_0,q4_k_m")
    parser.add_argument("--threads", default=str(len(os.sched_getaffinity(0))))
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--output", type=Path, default=PAGE)
    chosen = parser.parse_args()
    rows: list[str] = []
    starts: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        for shape in chosen.shapes.split(","):
            for format in chosen.formats.split(","):
                path = synthesize(shape, Path(folder) / f"{shape}-{format}.gguf", format=format)
                for threads in map(int, chosen.threads.split(",")):
                    results, limits = measured(path, threads, chosen.repetitions)
                    rows += [speed_row(shape, format, limits, results, test) for test in ("pp512", "tg128")]
                    print(rows[-2], rows[-1], sep="\n", flush=True)
                starts.append(start_row(shape, format, path))
                print(starts[-1], flush=True)
                path.unlink()
    chosen.output.write_text(page(rows, starts), encoding="utf-8")


def measured(path: Path, threads: int, repetitions: int) -> tuple[list[Measurement], Peaks]:
    with load(path, threads=threads, context=1024) as model, rivals("llama.cpp", model) as others:
        return benchmark(model, [512], [128], repetitions, rivals=others)


def speed_row(shape: str, format: str, limits: Peaks, results: list[Measurement], test: str) -> str:
    ours = next(result for result in results if result.engine == LUMEN and result.test == test)
    theirs = max((r for r in results if r.engine != LUMEN and r.test == test), key=lambda r: r.median)
    if test.startswith("pp"):
        limit = f"{ours.of_int8_peak:.0%} of {limits.int8_operations_per_second / 1e9:.0f} GOPS"
    else:
        limit = f"{ours.of_bandwidth:.0%} of {limits.read_bytes_per_second / 1e9:.0f} GB/s"
    mode = theirs.engine.partition(", ")[2] or "repacked"
    return (
        f"| {shape} | {format} | {limits.threads} | {test} | {ours.median:.0f} ± {ours.spread:.0f} | {limit} "
        f"| {theirs.median:.0f} ± {theirs.spread:.0f} ({mode}) | **{ours.against:.2f}x** |"
    )


def start_row(shape: str, format: str, path: Path) -> str:
    """Whole processes: the first run compiles everything, the second finds it in the cache."""
    with tempfile.TemporaryDirectory() as cache:
        cold, _ = process(path, cache)
        warm = [process(path, cache) for _ in range(3)]
    seconds = sorted(wall for wall, _ in warm)[1]
    resident = max(memory for _, memory in warm)
    megabytes = path.stat().st_size / 2**20
    return (
        f"| {shape} | {format} | {cold:.2f} s | {seconds:.2f} s | {megabytes:.0f} MiB | {resident:.0f} MiB |"
    )


def process(path: Path, cache: str) -> tuple[float, float]:
    """Seconds from start to exit of a run that prints one token, and its peak resident memory in MiB."""
    command = [sys.executable, "-c", RUN, "run", str(path), PROMPT, "-n", "1", "-q"]
    started = time.perf_counter()
    child = subprocess.run(
        command, env={**os.environ, "LUMEN_CACHE_DIR": cache}, capture_output=True, text=True, check=True
    )
    return time.perf_counter() - started, int(child.stderr.split()[-1]) / 1024


def page(rows: list[str], starts: list[str]) -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    machine = f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores"
    today = datetime.date.today().isoformat()
    return "\n".join(
        [
            "# Speed",
            "",
            f"Made by `python benchmarks/speed.py` on {today}: {machine}, {platform.system()},",
            f"Python {platform.python_version()}, lumen {lumen_core.__version__}; llama-cpp-python,",
            "built on the machine, the faster of its two modes (weights repacked or not).",
            "Random weights in real shapes; medians ± standard deviation, all engines in turn.",
            "`pp512` is a prompt of 512 tokens, `tg128` the generation of 128, in tokens a second",
            "(greedy; llama.cpp without sampling).",
            "The limits are measured between the runs: byte dot products from registers, and reading memory.",
            "",
            "| shape | format | threads | test | Lumen | of the limit | llama.cpp | ratio |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
            *rows,
            "",
            "From the start of the process to its exit with one token printed;",
            "the first run compiles every kernel:",
            "",
            "| shape | format | first run | later runs | file | peak resident memory |",
            "| --- | --- | --- | --- | --- | --- |",
            *starts,
            "",
        ]
    )


if __name__ == "__main__":
    main()
