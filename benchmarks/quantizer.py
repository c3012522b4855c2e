"""Time and error of the derived quantizer beside llama.cpp's own, type by type, on one thread each.

    python benchmarks/quantizer.py [--importance] [TYPE ...]

Both quantize the same seeded rows in turns; the least processor time counts. Needs llama-cpp-python.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from kit.llama_quantizer import NAMES, NEEDING, Quantizer
from kit.weights import relative_error

from lumen_core.engine.encoders import compile_encoder
from lumen_core.engine.targets import choose_target
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse
from lumen_core.quant.encode import encode
from lumen_core.runtime.cache import ObjectCache

ROWS, FEW_ROWS, COLUMNS = 512, 32, 1024  # few where llama.cpp takes long
REPETITIONS = 3


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("types", nargs="*")
    parser.add_argument("--importance", action="store_true")
    chosen = parser.parse_args()
    quantizer, registry = Quantizer(), Registry.load()
    target = choose_target(registry, None)
    generator = np.random.default_rng(1)
    rows = (generator.standard_normal((ROWS, COLUMNS)) * 0.02).astype(np.float32)
    weight = (np.square(generator.standard_normal(COLUMNS)) + 0.05).astype(np.float32)
    print("| type | llama.cpp, ns a weight | lumen | ratio | llama.cpp, error | lumen |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in chosen.types or NAMES.lower().split():
        form, kind = analyse(registry.format(name)), name.upper()
        some = rows[:FEW_ROWS] if name.startswith("iq") else rows
        matters = weight if chosen.importance else None
        engine = compile_encoder(form, target, ObjectCache(None), chosen.importance)
        given = np.ones(COLUMNS, np.float32) if matters is None and kind in NEEDING else matters
        theirs, left = _timed(partial(quantizer, kind, some, given))
        ours, right = _timed(partial(encode, form, some, matters, engine))
        scale = np.sqrt(matters) if matters is not None else np.float32(1)
        lost = [relative_error(form.decode(item) * scale, some * scale) for item in (left, right)]
        times = [1e9 * seconds / some.size for seconds in (theirs, ours)]
        print(f"| {name} | {times[0]:.1f} | {times[1]:.1f} | {times[1] / times[0]:.2f} "
              f"| {lost[0]:.5f} | {lost[1]:.5f} |", flush=True)  # fmt: skip


def _timed(work: Callable[[], np.ndarray]) -> tuple[float, np.ndarray]:
    """The least seconds of this thread, and what came out."""
    seconds = []
    for _ in range(REPETITIONS):
        started = time.thread_time()
        found = work()
        seconds.append(time.thread_time() - started)
    return min(seconds), found


if __name__ == "__main__":
    main()
