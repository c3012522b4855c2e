"""Measures the smallest model of every family beside Qwen3 0.6B and writes docs/families.md.

    python benchmarks/families.py --files DIR --make     # writes the model files that are missing (minutes)
    python benchmarks/families.py --files DIR            # measures all; --shapes NAME,... only some

Random weights in real shapes, Q4_K_M with the formats it falls back to where a row is no whole block. The
reference and a model take turns, since a machine changes its speed by the minute: what counts is the part of
the limits that both reach. A row that was not measured anew stays as it is.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

import lumen_core
from lumen_core.engine.benchmark import Measurement, Test, benchmark
from lumen_core.engine.loading import load
from lumen_core.engine.sources import open_model
from lumen_core.engine.synth import synthesize
from lumen_core.plugins.registry import Registry

PAGE = Path(__file__).parent.parent / "docs" / "families.md"
REFERENCE, FORMAT = "qwen3-0.6b", "q4_k_m"
SHAPES = ("exaone-4.0-1.2b", "hyperclova-x-seed-1.5b", "kanana-1.5-2.1b", "midm-2.0-mini", "kanana-2-1.3b")
TESTS = (Test(prompt=256), Test(generated=64))
HEAD = (
    "| model | formats | pp256 | of the peak | Qwen3 0.6B | tg64 | of the bandwidth | Qwen3 0.6B |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- |"
)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--files", type=Path, required=True, help="where the model files are kept")
    parser.add_argument("--make", action="store_true", help="only write the files that are missing")
    parser.add_argument("--shapes", default=",".join(SHAPES))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--output", type=Path, default=PAGE)
    chosen = parser.parse_args()
    chosen.files.mkdir(parents=True, exist_ok=True)
    shapes = chosen.shapes.split(",")
    paths = {shape: chosen.files / f"{shape}-{FORMAT}.gguf" for shape in (REFERENCE, *shapes)}
    for shape, path in paths.items():
        if not path.exists():
            synthesize(shape, path, format=FORMAT)
    if chosen.make:
        return
    rows = kept(chosen.output)
    for shape in shapes:
        both = measured([paths[REFERENCE], paths[shape]], chosen.threads, chosen.rounds)
        rows[shape] = row(shape, paths[shape], *both)
        print(rows[shape], flush=True)
        chosen.output.write_text(page(rows.values()), encoding="utf-8")


def measured(paths: Sequence[Path], threads: int, rounds: int) -> list[dict[str, float]]:
    """Medians of each file, in tokens a second and as parts of the limits; in every round all have a turn."""
    found: list[list[Measurement]] = [[] for _ in paths]
    with ExitStack() as stack:
        models = [stack.enter_context(load(path, threads=threads, context=512)) for path in paths]
        for _ in range(rounds):
            for model, results in zip(models, found, strict=True):
                results += benchmark(model, TESTS, repetitions=1)[0]
    return [medians(results) for results in found]


def medians(results: Sequence[Measurement]) -> dict[str, float]:
    values: dict[str, list[float]] = {}
    for one in results:
        prompt = one.test.startswith("pp")
        values.setdefault("pp" if prompt else "tg", []).append(one.median)
        part = ("peak", one.of_peak) if prompt else ("bandwidth", one.of_bandwidth)
        values.setdefault(part[0], []).append(part[1])
    return {name: statistics.median(those) for name, those in values.items()}


def row(shape: str, path: Path, beside: dict[str, float], own: dict[str, float]) -> str:
    with open_model(path, Registry.load()) as file:
        counts = Counter(t.format for t in file.tensors.values() if len(t.shape) > 1)
    formats = ", ".join(f"{name} {count}" for name, count in counts.most_common())
    return (
        f"| {shape} | {formats} | {own['pp']:.0f} | {own['peak']:.0%} | {beside['peak']:.0%} "
        f"| {own['tg']:.1f} | {own['bandwidth']:.0%} | {beside['bandwidth']:.0%} |"
    )


def kept(output: Path) -> dict[str, str]:
    """Rows of the page as it is, by shape."""
    lines = output.read_text(encoding="utf-8").splitlines() if output.exists() else []
    rows = [line for line in lines if line.startswith("| ") and not line.startswith(("| model", "| ---"))]
    return {line.split("|")[1].strip(): line for line in rows}


def page(rows: Iterable[str]) -> str:
    return f"""# Speed of the families

Made by `python benchmarks/families.py` on {machine()}.
Random weights in real shapes, Q4_K_M with the formats it falls back to where a row is no whole block (the
second column counts matrices). `pp256` is a prompt of 256 tokens, `tg64` the generation of 64, in tokens a
second. Every model takes turns with Qwen3 0.6B, the limits are measured beside each turn; all are medians.

{HEAD}
{chr(10).join(rows)}
"""


def machine() -> str:
    """Day, processor, system and versions, for the head of a page."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    processor = f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores"
    return (
        f"{datetime.date.today().isoformat()}: {processor}, {platform.system()},\n"
        f"Python {platform.python_version()}, lumen {lumen_core.__version__}"
    )


if __name__ == "__main__":
    main()
