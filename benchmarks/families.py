"""Measures the smallest model of every family beside Qwen3 0.6B and writes docs/families.md.

    python benchmarks/families.py --files DIR --make     # writes the model files that are missing (minutes)
    python benchmarks/families.py --files DIR            # measures all; --shapes NAME,... only some

Random weights in real shapes, Q4_K_M with the formats it falls back to where a row is no whole block. Before
every model the reference is measured in the same process, since a machine changes its speed by the minute:
what counts is the part of the limits that both reach. A row that was not measured anew stays as it is.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from lumen_core.engine.benchmark import Measurement, benchmark
from lumen_core.engine.model import load
from lumen_core.engine.synth import synthesize
from machine import machine

PAGE = Path(__file__).parent.parent / "docs" / "families.md"
REFERENCE, FORMAT = "qwen3-0.6b", "q4_k_m"
SHAPES = ("exaone-4.0-1.2b", "hyperclova-x-seed-1.5b", "kanana-1.5-2.1b", "midm-2.0-mini", "kanana-2-1.3b")
HEAD = (
    "| model | formats | pp256 | of the int8 peak | Qwen3 0.6B beside | tg64 | of the bandwidth | Qwen3 0.6B beside |\n"
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
    parser.add_argument("--repetitions", type=int, default=3)
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
        beside = measured(paths[REFERENCE], chosen.threads, chosen.repetitions)
        rows[shape] = row(
            shape, paths[shape], measured(paths[shape], chosen.threads, chosen.repetitions), beside
        )
        print(rows[shape], flush=True)
        chosen.output.write_text(page(rows.values()), encoding="utf-8")


def measured(path: Path, threads: int, repetitions: int) -> dict[str, Measurement]:
    with load(path, threads=threads, context=1024) as model:
        results, _ = benchmark(model, [256], [64], repetitions)
    return {result.test: result for result in results}
