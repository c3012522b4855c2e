"""What this machine can do at best: reading from memory, and multiplying bytes.

In: a target and a number of threads. Out: bytes a second and operations a second (a multiply-add is two),
measured with two small kernels, so that a benchmark can say which part of it was reached.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from lumen_core.codegen.llvm import emit_llvm
from lumen_core.codegen.objects import compile_object
from lumen_core.ir.kernel import I64, PTR, Kernel, Type
from lumen_core.ir.kernel_builder import Builder
from lumen_core.runtime.link import Library
from lumen_core.target import Target

READ_BYTES = 256 << 20  # read in one go by all threads: more than any cache of one processor holds
LEAST_READ = 32 << 20  # by one thread
DOT_ROUNDS = 2_000_000
REPETITIONS = 10
UNROLL = 8
RIGHTS = 4


@dataclass(frozen=True)
class Peaks:
    """The best that was seen, over all threads together."""

    threads: int
    read_bytes_per_second: float
    int8_operations_per_second: float


def measure_peaks(target: Target, threads: int) -> Peaks:
    """Measure both limits; takes a fraction of a second."""
    kernels = {"peak_read": read_kernel(target), "peak_dot": dot_kernel(target)}
    objects = [compile_object(emit_llvm(kernel, target), target) for kernel in kernels.values()]
    library = Library(objects, list(kernels))
    read = library.function("peak_read", ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)
    dot = library.function("peak_dot", ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)

    step = UNROLL * target.vector_bytes
    size = max(READ_BYTES // threads, LEAST_READ) // step * step
    buffers = [np.ones(size, np.uint8) for _ in range(threads)]
    read_seconds = _fastest([partial(read, data.ctypes.data, size) for data in buffers])
    dot_seconds = _fastest([partial(dot, data.ctypes.data, DOT_ROUNDS) for data in buffers])
    operations = 2 * target.vector_bytes * _accumulators(target) * DOT_ROUNDS
    return Peaks(threads, threads * size / read_seconds, threads * operations / dot_seconds)


def read_kernel(target: Target) -> Kernel:
    """sum of the 64-bit words of `bytes` bytes: as many loads in flight as the machine likes."""
    kernel = Kernel("peak_read", [("data", PTR), ("bytes", I64)], I64)
    b = Builder(kernel)
    data, size = kernel.parameters
    vector = Type("i64", target.vector_bytes // 8)
    zeros = [b.constant(vector, 0)] * UNROLL
    with b.loop(0, size, UNROLL * target.vector_bytes, zeros) as loop:
        assert loop.index is not None
        start = b.offset(data, loop.index)
        words = [b.load(vector, start, part * target.vector_bytes) for part in range(UNROLL)]
        loop.next(*(b.add(total, word) for total, word in zip(loop.values, words, strict=True)))
    total = loop.results[0]
    for part in loop.results[1:]:
        total = b.add(total, part)
    b.ret(b.reduce("add", total))
    return kernel


def dot_kernel(target: Target) -> Kernel:
    """Byte dot products into independent accumulators; none can be reused: the left operands change."""
    kernel = Kernel("peak_dot", [("data", PTR), ("rounds", I64)], I64)
    b = Builder(kernel)
    data, rounds = kernel.parameters
    vector = Type("i32", target.lanes)
    rights = [b.load(vector, data, part * target.vector_bytes) for part in range(RIGHTS)]
    zeros = [b.constant(vector, 0)] * _accumulators(target)
    with b.loop(0, rounds, 1, zeros) as loop:
        assert loop.index is not None
        start = b.offset(data, b.mul(b.bitand(loop.index, 7), target.vector_bytes))
        lefts = [b.load(vector, start, part * target.vector_bytes) for part in range(len(zeros) // RIGHTS)]
        loop.next(
            *(b.dot4(loop.values[i], lefts[i // RIGHTS], rights[i % RIGHTS]) for i in range(len(zeros)))
        )
    total = loop.results[0]
    for part in loop.results[1:]:
        total = b.add(total, part)
    b.ret(b.convert(b.reduce("add", total), "i64"))
    return kernel


def _accumulators(target: Target) -> int:
    return target.registers // 2


def _fastest(jobs: list[Callable[[], object]]) -> float:
    """Return the least wall-clock time in which all jobs, one a thread, began together and ended."""
    barrier = threading.Barrier(len(jobs))
    spans: list[list[tuple[float, float]]] = [[] for _ in range(REPETITIONS)]

    def work(job: Callable[[], object]) -> None:
        for span in spans:
            barrier.wait()
            started = time.perf_counter()
            job()
            span.append((started, time.perf_counter()))

    threads = [threading.Thread(target=work, args=(job,), daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return min(max(end for _, end in span) - min(start for start, _ in span) for span in spans)
