"""Speed of every format: writes docs/format-speed.md, decode and prefill beside llama.cpp on the same file.

    python benchmarks/formats.py [FORMAT ...] [--results formats.json] [--models FOLDER]

Files have random weights in a real shape with few layers and a small vocabulary; most are larger than the
caches. `--results` keeps the figures between runs, so that formats can be measured in several; `--models`
keeps the files. Needs llama-cpp-python for the figures beside.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import tempfile
from pathlib import Path
from typing import Any

import lumen_core as lumen
from lumen_core.engine.benchmark import LUMEN, Measurement, Test, benchmark
from lumen_core.engine.rivals import rivals
from lumen_core.engine.session import choose_target
from lumen_core.engine.synth import synthesize
from lumen_core.errors import LumenError
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse
from lumen_core.quant.layout import WeightLayout

PAGE = Path(__file__).parent.parent / "docs" / "format-speed.md"
SHAPE, LAYERS = "qwen3-1.7b", 3
SMALL = {"layers": LAYERS, "vocabulary": 1024}  # no output matrix to speak of
TESTS = (Test(prompt=256), Test(generated=32))
ROWS = 1024  # of the matrix by which packed and stored bytes are compared


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("formats", nargs="*")
    parser.add_argument("--results", type=Path)
    parser.add_argument("--models", type=Path)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--output", type=Path, default=PAGE)
    chosen = parser.parse_args()
    found: dict[str, Any] = {}
    if chosen.results and chosen.results.exists():
        found = json.loads(chosen.results.read_text())
    with tempfile.TemporaryDirectory() as folder:
        for name in chosen.formats or shipped():
            found[name] = measure(name, chosen.models or Path(folder), chosen.repetitions)
            print(row(name, found[name]), flush=True)
            if chosen.results:
                chosen.results.write_text(json.dumps(found))
    chosen.output.write_text(page(found), encoding="utf-8")


# Of checkpoint directories: as their usual settings are, stored in blocks as they are run.
SCHEMES = ("gptq_f16_4_128+z", "awq_f16_128+z", "ct_packed_bf16_4_1_128", "ct_int_bf16_1_all", "ct_nvfp4",
           "fp8_e4m3_f32_128_128")  # fmt: skip


def shipped() -> list[str]:
    """The formats of GGUF files, and usual ones of checkpoint directories."""
    entries = Registry.load().formats.items()
    files = [name for name, entry in entries if entry.distribution == "lumen-quant-gguf" and name != "f32"]
    return [*files, *SCHEMES]


def measure(name: str, folder: Path, repetitions: int) -> dict[str, float | None]:
    """Tokens a second of both engines, and what part of the machine ours takes."""
    path = folder / f"{name}.gguf"
    if not path.exists():
        synthesize(SHAPE, path, f"pure-{name}", overrides=SMALL)
    with lumen.load(path) as model:
        try:
            with rivals("llama.cpp", model) as others:
                runs, _ = benchmark(model, TESTS, repetitions, rivals=others)
        except LumenError:  # llama.cpp is not there, or does not know the format
            runs, _ = benchmark(model, TESTS, repetitions)
    prefill, decode = (_of(runs, test.name) for test in TESTS)
    others = [_best(runs, test.name) for test in TESTS]
    return {
        "bits": _bits(name), "packed_bits": _packed_bits(name),
        "decode": decode.median, "of_bandwidth": decode.of_bandwidth * _packed_bits(name) / _bits(name),
        "prefill": prefill.median, "of_peak": prefill.of_peak,
        "their_prefill": others[0], "their_decode": others[1],
    }  # fmt: skip


def _of(runs: list[Measurement], test: str) -> Measurement:
    return next(run for run in runs if run.engine == LUMEN and run.test == test)


def _best(runs: list[Measurement], test: str) -> float | None:
    return max((run.median for run in runs if run.engine != LUMEN and run.test == test), default=None)


def _bits(name: str) -> float:
    return analyse(Registry.load().format(name)).bits_per_weight


def _packed_bits(name: str) -> float:
    """Bits a weight as the kernels read it."""
    registry = Registry.load()
    form = analyse(registry.format(name))
    layout = WeightLayout(form, choose_target(registry, None).lanes)
    columns = 8 * max(form.block, 32)
    return 8 * layout.matrix_bytes(ROWS, columns) / (ROWS * columns)


def row(name: str, figures: dict[str, Any]) -> str:
    def beside(ours: float, theirs: float | None) -> str:
        return f"{theirs:.0f} | {ours / theirs:.2f}x" if theirs else "unknown there | "

    return (
        f"| {name} | {figures['bits']:.2f} | {figures['packed_bits']:.2f} | {figures['decode']:.1f} "
        f"| {100 * figures['of_bandwidth']:.0f} % | {beside(figures['decode'], figures['their_decode'])} "
        f"| {figures['prefill']:.0f} | {100 * figures['of_peak']:.0f} % "
        f"| {beside(figures['prefill'], figures['their_prefill'])} |"
    )


def page(found: dict[str, Any]) -> str:
    names = sorted(found, key=lambda name: (-found[name]["bits"], name))
    rows = "\n".join(row(name, found[name]) for name in names)
    integers = [found[name]["prefill"] for name in names if found[name]["bits"] < 16]
    apart = f"{max(integers) / min(integers):.2f}" if integers else "1"
    return f"""# Speed by format

Made by `python benchmarks/formats.py` on {datetime.date.today()}: {platform.machine()},
{len(os.sched_getaffinity(0))} threads. {SHAPE} with {LAYERS} layers, a small vocabulary and random weights,
every matrix in the format; tg32 (decode) and pp256 (prefill), tokens a second. Both engines and the machine's
limits are measured in turn; medians. The share of the bandwidth counts the bytes that the packed form holds.
llama.cpp: the better of repacked and not.
Between the fastest and the slowest quantized format prefill differs by {apart}x.

| format | bits | packed | decode | of bandwidth | llama.cpp | | prefill | of peak | llama.cpp | |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{rows}
"""


if __name__ == "__main__":
    main()
