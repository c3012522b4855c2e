"""What this machine can do at best: reading from memory, and multiplying.

In: a target and a number of threads. Out: bytes a second and operations a second (a multiply-add is two),
measured with small kernels, so that a benchmark can say which part of it was reached.
"""

from __future__ import annotations

import ctypes
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import astuple, dataclass
from functools import lru_cache, partial
from itertools import islice

from lumen_core.codegen.llvm import emit_llvm
from lumen_core.codegen.objects import compile_object
from lumen_core.ir.kernel import I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.runtime.cores import kept_apart
from lumen_core.runtime.link import Library
from lumen_core.runtime.memory import allocate
from lumen_core.schedule.blocking import CODES, has_dots
from lumen_core.schedule.dots import chained
from lumen_core.schedule.fetch import STRETCH, fetch_ahead, fetch_pages
from lumen_core.target import Target

# Read in one go by all threads, again and again. The last cache keeps a part of it from one time to the next:
# of 256 MB, 32 MB of cache made reading up to 1.07 times as fast as of a gigabyte.
READ_BYTES = 1 << 30
LEAST_READ = 32 << 20  # by one thread
DOT_ROUNDS = 2_000_000
REPETITIONS = 10
UNROLL = 8
RIGHTS = 4
_NAMES = ("peak_read", "peak_int8", "peak_bf16", "peak_f32")


@dataclass(frozen=True)
class Peaks:
    """The best that was seen (of reading: the mean), over all threads together.

    A multiply-add is two operations.

    bf16  is what f32 is where the target has no dot product of bf16 pairs
    """

    threads: int
    read_bytes_per_second: float
    int8_operations_per_second: float
    bf16_operations_per_second: float
    f32_operations_per_second: float

    @property
    def operations_per_second(self) -> dict[str, float]:
        """The peaks by unit."""
        return {
            "int8": self.int8_operations_per_second,
            "bf16": self.bf16_operations_per_second,
            "f32": self.f32_operations_per_second,
        }

    @staticmethod
    def median(found: Sequence[Peaks]) -> Peaks:
        """Return the medians of several measurements."""
        columns = zip(*(astuple(peaks)[1:] for peaks in found), strict=True)
        return Peaks(found[0].threads, *map(statistics.median, columns))


class Gauge:
    """Measures all limits of a number of threads, again and again.

    read_bytes  that are read in one go: as many as what is compared with it reads, so that the last cache
                helps both alike
    """

    def __init__(self, target: Target, threads: int, read_bytes: int = READ_BYTES):
        self.target, self.threads = target, threads
        step = UNROLL * target.vector_bytes
        self.size = max(read_bytes // threads, LEAST_READ) // step * step  # of a thread
        self.buffers = [allocate(self.size, "a measurement") for _ in range(threads)]
        for data in self.buffers:
            data[:] = 1

    def peaks(self) -> Peaks:
        """Measure; takes a fraction of a second."""
        library = _library(self.target)
        read, *dots = (
            library.function(name, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64) for name in _NAMES
        )
        # Interruptions count, as they do in the run that is compared with it: where the median of reading was
        # 77 GB/s, its mean was 64 to 80, and a token took 14.4 ms in the middle, 14.8 to 15.5 on the whole.
        read_seconds = statistics.fmean(self._seconds(read, self.size))
        speeds = []
        for dot, unit in zip(dots, _units(self.target), strict=True):
            operations = self.threads * 2 * products(self.target, unit) * DOT_ROUNDS
            speeds.append(operations / min(self._seconds(dot, DOT_ROUNDS)))
        return Peaks(self.threads, self.threads * self.size / read_seconds, *speeds)

    def _seconds(self, kernel: Callable[[int, int], int], argument: int) -> list[float]:
        return _seconds([partial(kernel, data.ctypes.data, argument) for data in self.buffers])


@lru_cache(maxsize=4)
def _library(target: Target) -> Library:
    names = iter(_NAMES)
    kernels = [read_kernel(target, next(names))]
    for name, unit in zip(names, _units(target), strict=True):
        kernels.append(dot_kernel(target, name, unit))
    return Library([compile_object(emit_llvm(kernel, target), target) for kernel in kernels], _NAMES)


def read_kernel(target: Target, name: str = "peak_read") -> Kernel:
    """sum of the 64-bit words of `bytes` bytes.

    They are asked for ahead, and for one use, as kernels with one column do: with nothing but loads some
    machines reach 0.85 of it, asking for what is used again 0.98, and not asking for pages 0.97 to 1.00.
    """
    kernel = Kernel(name, [("data", PTR), ("bytes", I64)], I64)
    b = Builder(kernel)
    data, size = kernel.parameters
    vector = Type("i64", target.vector_bytes // 8)
    zeros = [b.constant(vector, 0)] * UNROLL
    step = UNROLL * target.vector_bytes
    with b.loop(0, size, STRETCH, zeros) as stretch:
        fetch_pages(b, data, stretch.index)
        stop = b.minimum(b.add(stretch.index, STRETCH), size)
        with b.loop(stretch.index, stop, step, stretch.values) as loop:
            start = b.offset(data, loop.index)
            fetch_ahead(b, start, step, once=True)
            words = [b.load(vector, start, part * target.vector_bytes) for part in range(UNROLL)]
            loop.next(*(b.add(total, word) for total, word in zip(loop.values, words, strict=True)))
        stretch.next(*loop.results)
    total = stretch.results[0]
    for part in stretch.results[1:]:
        total = b.add(total, part)
    b.ret(b.reduce("add", total))
    return kernel


def dot_kernel(target: Target, name: str = "peak_dot", unit: str = "int8") -> Kernel:
    """Products of bytes, bf16 pairs or floats into independent accumulators.

    None can be reused: the left operands change.
    """
    kernel = Kernel(name, [("data", PTR), ("rounds", I64)], I64)
    b = Builder(kernel)
    data, rounds = kernel.parameters
    element = Type("i32" if unit == "int8" else "f32", target.lanes)
    operand = Type("bf16", 2 * target.lanes) if unit == "bf16" else element
    links = _links(target) if unit == "int8" else 1

    def add(total: Value, pairs: list[tuple[Value, Value]]) -> Value:
        if links > 1:
            return chained(b, target, total, pairs)
        ((left, right),) = pairs
        if unit == "int8":
            return b.dot4(total, left, right)
        if unit == "bf16":
            return b.instruction("dot2_bf16", (total, left, right), element)
        return b.fma(left, right, total)

    if unit == "f32":  # small whole numbers would be tiny floats, whose products some machines are slow at
        rights = [b.constant(operand, 1.25 + part) for part in range(RIGHTS)]
    else:
        rights = [b.load(operand, data, part * target.vector_bytes) for part in range(RIGHTS)]
    zeros = [b.constant(element, 0)] * _accumulators(target)
    with b.loop(0, rounds, 1, zeros) as loop:
        assert loop.index is not None
        start = b.offset(data, b.mul(b.bitand(loop.index, 7), target.vector_bytes))

        def pairs() -> Iterator[tuple[Value, Value]]:
            """Every left operand with each of the right ones."""
            for part in range(len(zeros) * links // RIGHTS):
                left = b.load(operand, start, part * target.vector_bytes)
                yield from ((left, right) for right in rights)

        products = pairs()
        loop.next(*(add(total, list(islice(products, links))) for total in loop.values))
    total = loop.results[0]
    for part in loop.results[1:]:
        total = b.add(total, part)
    b.ret(b.convert(b.reduce("add", total), "i64"))
    return kernel


def _units(target: Target) -> tuple[str, str, str]:
    """What is measured for bytes, bf16 and f32."""
    return "int8", "bf16" if target.find("dot2_bf16") else "f32", "f32"


def products(target: Target, unit: str) -> int:
    """Products of numbers in a round of `dot_kernel`."""
    width = {"int8": 4 * _links(target), "bf16": 2, "f32": 1}[unit]
    return width * target.lanes * _accumulators(target)


def _links(target: Target) -> int:
    """Products that add up in 16 bits: without a dot product of bytes, as many as of 4-bit codes."""
    return 1 if has_dots(target) else CODES


def _accumulators(target: Target) -> int:
    return target.registers // 2


def _seconds(jobs: list[Callable[[], object]]) -> list[float]:
    """Return the wall-clock times, of every repetition, in which all jobs began together and ended."""
    barrier = threading.Barrier(len(jobs))
    spans: list[list[tuple[float, float]]] = [[] for _ in range(REPETITIONS)]

    def work(number: int, job: Callable[[], object]) -> None:
        with kept_apart(number, len(jobs)):
            for span in spans:
                barrier.wait()
                started = time.perf_counter()
                job()
                span.append((started, time.perf_counter()))

    threads = [threading.Thread(target=work, args=item, daemon=True) for item in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [max(end for _, end in span) - min(start for start, _ in span) for span in spans]
