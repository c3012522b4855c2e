"""How good and how fast a format is, beside formats of about as many bits: what `lumen formats check` prints.

In: normal forms and a target. Out: errors on seeded weights, and the speed of its kernels on one thread as a
share of what the machine can do: GEMV of its read bandwidth, GEMM of its int8 multiplications.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lumen_core.engine.encoders import compile_encoder
from lumen_core.engine.format_samples import random_rows
from lumen_core.engine.kernel_check import compiled, packed, panels
from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant.encode import encode
from lumen_core.quant.layout import ActivationLayout
from lumen_core.quant.normal_form import NormalForm
from lumen_core.runtime.cache import ObjectCache
from lumen_core.runtime.memory import allocate
from lumen_core.runtime.peaks import Peaks, measure_peaks
from lumen_core.schedule.blocking import tile_columns
from lumen_core.schedule.matmul import MatmulTile, build_matmul
from lumen_core.target import Target

_ROWS, _COLUMNS = 256, 1024  # of the weights that errors are measured on
_READ = 512 << 20  # packed bytes of a GEMV: caches hold little of it from one time to the next
_MULTIPLIED = 16 << 20  # of a GEMM
_TOKENS = 128  # of a GEMM
_REPETITIONS = 5


@dataclass(frozen=True)
class Quality:
    """One row of the table; errors are relative, None where no quantizer is derived."""

    name: str
    bits_per_weight: float
    gaussian: float | None
    heavy_tailed: float | None
    encode_speed: float | None  # million weights a second, one thread


@dataclass(frozen=True)
class Speed:
    """Kernels of a format on one thread of a target."""

    name: str
    gemv_bytes_per_second: float
    of_bandwidth: float
    gemm_operations_per_second: float
    of_int8_peak: float


def quality(form: NormalForm, target: Target) -> Quality:
    """Errors on Gaussian weights and on weights of a Student-t distribution with 3 degrees of freedom."""
    try:
        engine = compile_encoder(form, target, ObjectCache(None))
    except UnsupportedFormatError:
        return Quality(form.name, form.bits_per_weight, None, None, None)
    generator = np.random.default_rng(11)
    shape = (_ROWS, -(-_COLUMNS // form.block) * form.block)
    samples = [generator.standard_normal(shape), generator.standard_t(3, shape)]
    errors: list[float | None] = []
    spent = 0.0
    for sample in samples:
        rows = (sample * 0.02).astype(np.float32)
        started = time.perf_counter()
        stored = encode(form, rows, None, engine)
        spent += time.perf_counter() - started
        found = form.decode(stored)
        lost = np.square(found.astype(np.float64) - rows).mean() / np.square(rows.astype(np.float64)).mean()
        errors.append(float(np.sqrt(lost)))
    return Quality(form.name, form.bits_per_weight, errors[0], errors[1], 2 * rows.size / spent / 1e6)


def neighbours(form: NormalForm, installed: Mapping[str, NormalForm], count: int = 4) -> list[NormalForm]:
    """Installed formats of about as many bits a weight, in order of size."""
    others = [other for other in installed.values() if other.name != form.name and other.kind != "float"]
    others.sort(key=lambda other: (abs(other.bits_per_weight - form.bits_per_weight), other.name))
    return sorted(others[:count], key=lambda other: (other.bits_per_weight, other.name))


def speed(form: NormalForm, target: Target) -> Speed:
    """Time the kernels of a format; the matrix is its bytes again and again.

    The machine's limits are measured beside it: a shared one changes from minute to minute.
    """
    before = measure_peaks(target, 1, _READ)
    bytes_per_second = read_speed(form, target, _READ)
    weights, length, groups = _matrix(form, target, _MULTIPLIED)
    gemm = _time(form, target, weights, length, groups, tile_columns(target), _TOKENS)
    after = measure_peaks(target, 1, _READ)
    limits = Peaks.median([before, after])
    operations = 2 * groups * target.lanes * length * _TOKENS / gemm
    return Speed(
        form.name,
        bytes_per_second,
        bytes_per_second / limits.read_bytes_per_second,
        operations,
        operations / limits.int8_operations_per_second,
    )


def read_speed(form: NormalForm, target: Target, bytes: int) -> float:
    """Packed bytes a second that one core takes of a matrix of about so many, for one token."""
    weights, length, groups = _matrix(form, target, bytes)
    runs = max(_REPETITIONS, _READ // bytes)
    return weights.nbytes / _time(form, target, weights, length, groups, 1, 1, runs)


def _matrix(form: NormalForm, target: Target, bytes: int) -> tuple[np.ndarray, int, int]:
    """About so many packed bytes, those of a few rows again and again; the rows' length, and row groups."""
    length = 4096 // form.block * form.block
    once = packed(form, target, random_rows(form, target.lanes * 4, length // form.block, seed=1))
    group_bytes = len(once) // 4
    groups = max(4, bytes // group_bytes)
    weights = allocate(groups * group_bytes, "a packed matrix")
    weights[:] = np.resize(once, len(weights))
    return weights, length, groups


def _time(
    form: NormalForm,
    target: Target,
    weights: np.ndarray,
    length: int,
    groups: int,
    columns: int,
    tokens: int,
    runs: int = _REPETITIONS,
) -> float:
    """The median seconds of some runs, as the limits are."""
    kernel = compiled(build_matmul(form, target, MatmulTile(columns)), target)
    layout = ActivationLayout(form.activation, columns, target.depth)
    generator = np.random.default_rng(0)
    if layout.plain:
        given = panels(layout, generator.standard_normal((tokens, length)).astype(np.float32), None)
    else:
        codes = generator.integers(-127, 128, (tokens, length)).astype(np.int8)
        given = panels(layout, codes, np.full((tokens, length // layout.group), 0.01, np.float32))
    output = np.zeros((tokens, groups * target.lanes), np.float32)
    places = [item.ctypes.data for item in (weights, given, output)]
    seconds = []
    for _ in range(runs):
        started = time.perf_counter()
        kernel(*places, output.strides[0], length, 0, groups, tokens)
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)
