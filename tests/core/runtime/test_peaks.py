"""The machine's limits are measured by kernels that do what they count."""

from __future__ import annotations

import ctypes
import platform

import numpy as np
import pytest

from lumen_core.codegen.llvm import emit_llvm
from lumen_core.codegen.objects import compile_object, host_features
from lumen_core.plugins.registry import Registry
from lumen_core.runtime import peaks
from lumen_core.runtime.link import Library
from lumen_core.target import Target

TARGETS = [
    target
    for entry in Registry.load().backends.values()
    for target in entry.value.usable(platform.machine(), host_features())
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_kernels_do_what_they_count(target: Target) -> None:
    data = np.full(1 << 16, 3, np.uint8)
    twos, ones = np.full(1 << 14, 2, np.float32), np.full(1 << 15, 0x3F80, np.uint16)

    def count(unit: str) -> int:
        return 10 * peaks.products(target, unit)

    cases = [
        (peaks.read_kernel(target), data, data.nbytes, int(data.view(np.uint64).sum(dtype=np.int64))),
        (peaks.dot_kernel(target), data, 10, 9 * count("int8")),
        (peaks.dot_kernel(target, unit="f32"), twos, 10, 2 * count("f32") * (1.25 + 2.25 + 3.25 + 4.25) / 4),
    ]
    if target.find("dot2_bf16"):
        cases.append((peaks.dot_kernel(target, unit="bf16"), ones, 10, count("bf16")))
    for kernel, data, argument, expected in cases:
        library = Library([compile_object(emit_llvm(kernel, target), target)], [kernel.name])
        call = library.function(kernel.name, ctypes.c_int64, ctypes.c_void_p, ctypes.c_int64)
        assert call(data.ctypes.data, argument) == expected


@pytest.mark.skipif(not TARGETS, reason="no backend for this machine")
def test_limits_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peaks, "DOT_ROUNDS", 1000)
    monkeypatch.setattr(peaks, "LEAST_READ", 1 << 20)
    found = peaks.measure_peaks(TARGETS[0], 2, 1 << 20)
    assert found.threads == 2
    assert found.read_bytes_per_second > 1e8
    assert min(found.operations_per_second.values()) > 1e7
    middle = peaks.Peaks.median([found, found])
    assert middle == found
