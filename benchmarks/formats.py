"""Speed of every format: writes docs/format-speed.md, decode and prefill beside llama.cpp on the same file.

    python benchmarks/formats.py [FORMAT ...] [--results formats.json] [--models FOLDER]

Files have random weights in a real shape with a small vocabulary. Decoding is measured on as many layers as
read `STREAMED` bytes a token, far more than the caches hold, in every format; a prompt on few, whose products
take their time from the arithmetic. `--results` keeps the figures between runs, so that formats can be
measured in several; `--models` keeps the files. Needs llama-cpp-python for the figures beside.
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
from lumen_core.engine.format_quality import read_speed
from lumen_core.engine.rivals import rivals
from lumen_core.engine.shapes import shape
from lumen_core.engine.synth import synthesize
from lumen_core.engine.targets import choose_target
from lumen_core.errors import LumenError
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse
from lumen_core.quant.layout import WeightLayout
from lumen_core.runtime.peaks import Peaks

PAGE = Path(__file__).parent.parent / "docs" / "format-speed.md"
SHAPE, VOCABULARY = "qwen3-1.7b", 1024  # no output matrix to speak of
STREAMED = 160 << 20  # packed bytes that a generated token reads, at least
NEAR = 640 << 10  # packed bytes that a core has in its own cache
LAYERS = 3  # of the file that takes in a prompt
DECODE, PREFILL = Test(generated=32), Test(prompt=256)
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
    if chosen.models:
        chosen.models.mkdir(parents=True, exist_ok=True)
    for name in chosen.formats or shipped():
        with tempfile.TemporaryDirectory() as folder:
            found[name] = measure(name, chosen.models or Path(folder), chosen.repetitions)
        print(row(name, found[name]), flush=True)
        if chosen.results:
            chosen.results.write_text(json.dumps(found))
    if chosen.results or not chosen.formats:  # a page of a few formats would replace that of all
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
    deep = -(-STREAMED // (_layer_weights() * _packed_bits(name) // 8))
    decode, their_decode, limits = _run(name, folder, int(deep), DECODE, repetitions)
    prefill, their_prefill, _ = _run(name, folder, LAYERS, PREFILL, repetitions)
    registry = Registry.load()
    near = read_speed(analyse(registry.format(name)), choose_target(registry, None), NEAR)
    return {
        "bits": _bits(name), "packed_bits": _packed_bits(name), "layers": int(deep),
        "cores": limits.threads * near / limits.read_bytes_per_second,
        "decode": decode.median, "of_bandwidth": decode.of_bandwidth * _packed_bits(name) / _bits(name),
        "prefill": prefill.median, "of_peak": prefill.of_peak,
        "their_prefill": their_prefill, "their_decode": their_decode,
    }  # fmt: skip


def _run(
    name: str, folder: Path, layers: int, test: Test, repetitions: int
) -> tuple[Measurement, float | None, Peaks]:
    """Our measurement, the best of the others if they know the format, and the machine's limits."""
    path = folder / f"{name}-{layers}.gguf"
    if not path.exists():
        synthesize(SHAPE, path, f"pure-{name}", overrides={"layers": layers, "vocabulary": VOCABULARY})
    with lumen.load(path) as model:
        try:
            with rivals("llama.cpp", model) as others:
                runs, limits = benchmark(model, [test], repetitions, rivals=others)
        except LumenError:  # llama.cpp is not there, or does not know the format
            runs, limits = benchmark(model, [test], repetitions)
    ours = next(run for run in runs if run.engine == LUMEN)
    return ours, max((run.median for run in runs if run is not ours), default=None), limits


def _layer_weights() -> int:
    """Weights of a layer's matrices."""
    sizes = shape(SHAPE)
    return sizes.width * (2 * sizes.head * (sizes.heads + sizes.kv_heads) + 3 * sizes.hidden)


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
        f"| {name} | {figures['bits']:.2f} | {figures['packed_bits']:.2f} "
        f"| {figures['layers']} | {figures['decode']:.1f} "
        f"| {100 * figures['of_bandwidth']:.0f} % | {100 * figures['cores']:.0f} % "
        f"| {beside(figures['decode'], figures['their_decode'])} "
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
{len(os.sched_getaffinity(0))} threads. {SHAPE} with a small vocabulary and random weights, every matrix in
the format; tokens a second. Decode ({DECODE.name}): so many layers that a token reads at least
{STREAMED >> 20} MB of packed weights; prefill ({PREFILL.name}): {LAYERS} layers. Both engines and the
machine's limits are measured in turn; medians. The share of the bandwidth counts the bytes that the packed
form holds; *cores* is what the kernels would take of it if memory cost nothing (one thread's speed on weights
in its own cache, times the threads): where that is little more than 100 %, arithmetic is the limit as well.
llama.cpp: the better of repacked and not. Where the machine is shared its speed changes from row to row:
compare shares and ratios.
Between the fastest and the slowest quantized format prefill differs by {apart}x.

| format | bits | packed | layers | decode | bandwidth | cores | llama.cpp | | prefill | peak | llama.cpp | |
| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |
{rows}
"""


if __name__ == "__main__":
    main()
