"""f32 matrix products of the compiler's kernels beside numpy's: C = A B with matrices of n x n.

    python gemm.py SIZE THREADS REPETITIONS

Out: a line of JSON with the operations a second of both, and the peak of fused multiply-adds that was
measured between them. Ours is planned and run as a product of a prompt is: B is packed, a phase before has
put A into panels, and threads have parts of A's rows, then help each other. numpy packs its own, on as many
threads.
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

from lumen_core.engine.kernel_check import packed
from lumen_core.engine.session import compile_request, load_formats
from lumen_core.engine.targets import choose_target
from lumen_core.ir.parser import parse_module
from lumen_core.plugins.registry import Registry
from lumen_core.quant.normal_form import NormalForm
from lumen_core.runtime.cache import ObjectCache
from lumen_core.runtime.link import Library
from lumen_core.runtime.memory import address, allocate
from lumen_core.runtime.peaks import measure_peaks
from lumen_core.runtime.team import Team
from lumen_core.schedule.blocking import tile_columns
from lumen_core.schedule.conditions import Conditions
from lumen_core.schedule.phases import Needs, Request
from lumen_core.schedule.places import token_stride
from lumen_core.schedule.plan import plan
from lumen_core.schedule.step import COUNTER_BYTES, COUNTERS, Part, Records, build_step
from lumen_core.schedule.team import build_publish, build_serve
from lumen_core.target import Target

FUNCTION = """
func @product(%x: tensor<f32, [T, {N}]>, %w: tensor<f32, [{N}, {N}]>) -> (tensor<f32, [T, {N}]>) {{
  %panels = rowwise %x {{space = "token"}} (%rows) {{
    %0 = quantize %rows {{activation = "f32"}} : tensor<f32, [T, {N}]>
    yield %0
  }} : tensor<f32, [T, {N}]>
  %y = fused_matmul %panels, %w : tensor<f32, [T, {N}]>
  return %y
}}
"""
PATIENCE = 0.1  # seconds: threads that have no work look for some so long at most


class Product:
    """A prompt's product, x times the transpose of w, f32 [n, n]: `panels()` once, then `multiply()`."""

    def __init__(self, form: NormalForm, target: Target, threads: int, x: np.ndarray, w: np.ndarray):
        size = len(x)
        conditions = Conditions(
            target, {"f32": form}, threads=threads, columns=tile_columns(target), capacity=size
        )
        needs, records = Needs(), Records()
        (function,) = parse_module(FUNCTION.format(N=size))
        *before, last = plan(function, conditions, needs)
        kernels = [
            build_step("panels", [Part(tuple(before))], target, records, singly=True),
            build_step("multiply", [Part((last,))], target, records, singly=True),
            build_serve(),
            build_publish(),
        ]
        requests = [Request(kernel.name, str(kernel), lambda kernel=kernel: kernel) for kernel in kernels]
        objects = [
            compile_request(request, target, ObjectCache(None))
            for request in (*requests, *needs.kernels.values())
        ]
        self.library = Library(objects, [kernel.name for kernel in kernels])
        self.team = Team(threads, self.library)
        memory = {name: allocate(bytes + 64, name) for name, bytes in needs.buffers.items()}
        stride = token_stride(size)
        memory |= {"x": allocate(size * stride, "x"), "w": packed(form, target, w.view(np.uint8))}
        memory |= {"barrier": allocate(64, "barrier")}
        memory |= {"counters": allocate(threads * COUNTERS * COUNTER_BYTES, "work counters")}
        given, self.output = (
            memory[name][: size * stride].view(np.float32).reshape(size, -1)[:, :size]
            for name in ("x", "product.out")
        )
        given[:] = x
        self.memory = memory
        self.frame = allocate(8 * len(records.frame), "the frame").view(np.int64)
        slots = {name: address(array) for name, array in memory.items()}
        for name, value in {**slots, "tokens": size, "yield": self.team.yield_function}.items():
            self.frame[records.frame[name] // 8] = value
        self._run("panels")()
        self.multiply = self._run("multiply")

    def _run(self, name: str) -> Callable[[], None]:
        program = self.library.function(name, None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)
        return lambda: self.team.run(program, self.library.address(name), address(self.frame))


def measure(size: int, threads: int, repetitions: int) -> dict[str, Any]:
    """Return medians in operations a second (a multiply-add is two)."""
    registry = Registry.load()
    target = choose_target(registry, None)
    form = load_formats(registry, {"f32"})["f32"]
    random = np.random.default_rng(0)
    left, right = (random.standard_normal((size, size), np.float32) for _ in range(2))
    product = Product(form, target, threads, left, right)

    def theirs() -> None:
        left @ right.T

    seconds: dict[str, list[float]] = {"lumen": [], "numpy": []}
    peaks = []
    with threadpool_limits(threads):
        for repetition in range(repetitions + 1):
            for name, work in (("lumen", product.multiply), ("numpy", theirs)):
                passed = timed_alone(work)
                if repetition:
                    seconds[name].append(passed)
            peaks.append(measure_peaks(target, threads).f32_operations_per_second)
        np.testing.assert_allclose(product.output, left @ right.T, rtol=1e-3, atol=1e-2)
    product.team.close()
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
