"""f32 matrix products of the compiler's kernels beside numpy's: C = A B with matrices of n x n.

    python gemm.py SIZE THREADS REPETITIONS

Out: a line of JSON with the operations a second of both, and the peak of fused multiply-adds that was
measured between them. Ours reads weights and activations packed, and writes to aligned memory, by the threads
that run a model's steps; numpy packs its own, on as many threads (`pip install threadpoolctl` sets them).
"""

from __future__ import annotations

import ctypes
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info, threadpool_limits

from lumen_core.engine.format_check import packed, panels
from lumen_core.engine.session import choose_target, compile_request, load_formats
from lumen_core.ir.kernel import I64, PTR, Kernel
from lumen_core.ir.kernel_builder import Builder
from lumen_core.plugins.registry import Registry
from lumen_core.quant.layout import ActivationLayout
from lumen_core.runtime.cache import ObjectCache
from lumen_core.runtime.link import Library
from lumen_core.runtime.memory import address, allocate
from lumen_core.runtime.peaks import measure_peaks
from lumen_core.runtime.team import Team
from lumen_core.schedule.blocking import tile_columns
from lumen_core.schedule.matmul import MatmulTile, build_matmul
from lumen_core.schedule.phases import Request
from lumen_core.schedule.team import build_publish, build_serve

KERNEL, PROGRAM = "matmul", "product"
PATIENCE = 0.1  # seconds: threads that have no work look for some so long at most
ARGUMENTS, DONE = (PTR, PTR, PTR, I64, I64, I64, I64), 64  # of a product, in its frame; threads that are done


def build_product() -> Kernel:
    """Build `product(frame, thread, threads)`: every thread multiplies its share of the row groups."""
    kernel = Kernel(PROGRAM, [("frame", PTR), ("thread", I64), ("threads", I64)], doc="a product, shared out")
    b = Builder(kernel)
    frame, thread, threads = kernel.parameters
    *given, groups, tokens = (b.load(t, frame, 8 * n, align=8) for n, t in enumerate(ARGUMENTS))
    first, last = (b.div(b.mul(groups, number), threads) for number in (thread, b.add(thread, 1)))
    b.call(KERNEL, [*given, first, last, tokens])
    done = b.offset(frame, DONE)
    b.atomic("add", done, b.i64(1))
    with b.when(b.compare("eq", thread, 0)):
        with b.repeat([b.i64(0)]) as wait:
            b.instruction("pause", (), None)
            wait.condition = b.compare("lt", b.atomic_load(I64, done), threads)
            wait.next(wait.values[0])
        b.atomic_store(b.i64(0), done)
    return kernel


def measure(size: int, threads: int, repetitions: int) -> dict[str, Any]:
    """Return medians in operations a second (a multiply-add is two)."""
    registry = Registry.load()
    target = choose_target(registry, None)
    form = load_formats(registry, {"f32"})["f32"]
    random = np.random.default_rng(0)
    left, right = (random.standard_normal((size, size), np.float32) for _ in range(2))
    columns = tile_columns(target)
    kernels = (
        build_matmul(form, target, MatmulTile(columns), KERNEL),
        build_product(),
        build_serve(),
        build_publish(),
    )
    requests = [Request(kernel.name, str(kernel), lambda kernel=kernel: kernel) for kernel in kernels]
    objects = [compile_request(request, target, ObjectCache(None)) for request in requests]
    library = Library(objects, [PROGRAM, "serve", "publish"])
    weights = packed(form, target, right.view(np.uint8))
    given = panels(ActivationLayout("f32", columns), left, None)
    output = allocate(4 * size * size, "the product").view(np.float32).reshape(size, size)
    frame = allocate(2 * DONE, "the frame").view(np.int64)
    matrices = (address(array) for array in (weights, given, output))
    frame[: len(ARGUMENTS)] = *matrices, output.strides[0], size, -(-size // target.lanes), size
    program = library.function(PROGRAM, None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
    team = Team(threads, library)

    def ours() -> None:
        team.run(program, library.address(PROGRAM), address(frame))

    def theirs() -> None:
        left @ right.T

    seconds: dict[str, list[float]] = {"lumen": [], "numpy": []}
    peaks = []
    with threadpool_limits(threads):
        for repetition in range(repetitions + 1):
            for name, work in (("lumen", ours), ("numpy", theirs)):
                passed = timed_alone(work)
                if repetition:
                    seconds[name].append(passed)
            peaks.append(measure_peaks(target, threads).f32_operations_per_second)
        np.testing.assert_allclose(output, left @ right.T, rtol=1e-3, atol=1e-2)
    team.close()
    operations = 2 * size**3
    found = {name: operations / statistics.median(times) for name, times in seconds.items()}
    cores = {pool["architecture"] for pool in threadpool_info() if "architecture" in pool}
    return found | {"peak": statistics.median(peaks), "numpy_kernels": ", ".join(sorted(cores))}


def timed_alone(work: Callable[[], None]) -> float:
    """Seconds of a second product: the threads of the others have gone to sleep, our own are awake."""
    time.sleep(PATIENCE)
    work()
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


if __name__ == "__main__":
    print(json.dumps(measure(*map(int, sys.argv[1:]))))
