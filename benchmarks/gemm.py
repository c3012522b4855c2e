"""f32 matrix products of the compiler's kernels beside numpy's: C = A B with matrices of n x n.

    python gemm.py SIZE THREADS REPETITIONS

Out: a line of JSON with the operations a second of both, and the peak of fused multiply-adds that was
measured between them. Ours reads weights and activations packed, and writes to aligned memory, as in a model;
numpy packs its own.
"""

from __future__ import annotations

import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from lumen_core.engine.format_check import compiled, packed, panels
from lumen_core.engine.session import choose_target, load_formats
from lumen_core.plugins.registry import Registry
from lumen_core.quant.layout import ActivationLayout
from lumen_core.runtime.memory import allocate
from lumen_core.runtime.peaks import measure_peaks
from lumen_core.schedule.blocking import tile_columns
from lumen_core.schedule.matmul import MatmulTile, build_matmul


def measure(size: int, threads: int, repetitions: int) -> dict[str, Any]:
    """Return medians in operations a second (a multiply-add is two)."""
    registry = Registry.load()
    target = choose_target(registry, None)
    form = load_formats(registry, {"f32"})["f32"]
    random = np.random.default_rng(0)
    left, right = (random.standard_normal((size, size), np.float32) for _ in range(2))
    columns = tile_columns(target)
    kernel = compiled(build_matmul(form, target, MatmulTile(columns)), target)
    weights = packed(form, target, right.view(np.uint8))
    given = panels(ActivationLayout("f32", columns), left, None)
    output = allocate(4 * size * size, "the product").view(np.float32).reshape(size, size)
    groups = -(-size // target.lanes)

    bounds = np.linspace(0, groups, threads + 1).astype(int).tolist()
    shares = [
        (weights, given, output, output.strides[0], size, low, high, size) for low, high in pairwise(bounds)
    ]

    def ours() -> None:
        others = [threading.Thread(target=kernel, args=share) for share in shares[1:]]
        for thread in others:
            thread.start()
        kernel(*shares[0])
        for thread in others:
            thread.join()

    def theirs() -> None:
        left @ right.T

    seconds: dict[str, list[float]] = {"lumen": [], "numpy": []}
    peaks = []
    with threadpool_limits(threads):
        for repetition in range(repetitions + 1):
            for name, work in (("lumen", ours), ("numpy", theirs)):
                passed = timed(work)
                if repetition:
                    seconds[name].append(passed)
            peaks.append(measure_peaks(target, threads).f32_operations_per_second)
        np.testing.assert_allclose(output, left @ right.T, rtol=1e-3, atol=1e-2)
    operations = 2 * size**3
    found = {name: operations / statistics.median(times) for name, times in seconds.items()}
    kernels = {pool["architecture"] for pool in threadpool_info() if "architecture" in pool}
    return found | {"peak": statistics.median(peaks), "numpy_kernels": ", ".join(sorted(kernels))}


def timed(work: Callable[[], None]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:]))))
