"""The page of figures that benchmarks/speed.py writes: from nothing, and from one record of every kind."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"


@pytest.fixture
def page(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.delitem(sys.modules, "page", raising=False)
    import page

    return page


def result(engine: str, test: str, median: float, **more: float) -> dict[str, Any]:
    shares = {"of_peak": 0.7, "of_bandwidth": 0.95} | more
    return {"engine": engine, "test": test, "median": median, "spread": 1.0, **shares}


def records() -> dict[str, dict[str, Any]]:
    about = {
        "date": "2026-01-02T03:04", "version": "1.0", "python": "3.11",
        "processor": "a processor", "cores": 2,
    }  # fmt: skip
    machine = {
        "read_bytes_per_second": 4e10, "int8_operations_per_second": 2e12,
        "bf16_operations_per_second": 1e12, "f32_operations_per_second": 5e11,
    }  # fmt: skip
    tests = [
        result("lumen", "pp512", 1200.0, against=2.1), result("rival 1", "pp512", 600.0),
        result("rival 1, not repacked", "pp512", 300.0),
        result("lumen", "tg128", 99.0, of_bandwidth=0.5, against=1.9), result("rival 1", "tg128", 50.0),
    ]  # fmt: skip
    many = [result("lumen", "tg64", 100.0), result("lumen", "tg64 x8", 620.0)]
    deep = result("lumen", "tg32 @ d16384", 90.0) | {"cache": "q8_0", "machine": machine}
    steps = [result("lumen", "tg16", 100.0), result("lumen", "tg16 x9", 900.0)]
    start = {"seconds": 0.5, "resident": 500.0}
    kept = {
        "speed|qwen2.5-0.5b|q4_0|2": {"results": tests, "machine": machine, "target": "a target"},
        "long|qwen2.5-0.5b|q4_0|2|tg64 x8": {"results": many, "machine": machine, "target": "a target"},
        "contexts|qwen2.5-0.5b|q4_0|2|q8_0": {"results": [deep], "machine": machine, "target": "a target"},
        "steps|qwen2.5-0.5b|q4_0|2": {"results": steps, "machine": machine, "target": "a target"},
        "start|qwen2.5-0.5b|q4_0": {
            "compile": {"cold": 0.9, "warm": 0.3}, "file_bytes": 1 << 28, "cold": start, "plain": start,
            "packed": start, "llama.cpp": {"seconds": 1.0, "resident": 1000.0},
        },
        "gemm|1024|2": {"lumen": 4.6e11, "numpy": 4e11, "peak": 5e11},
        "openvino|qwen2.5-0.5b|int4 g32|2": {"pp512": 1000.0, "tg128": 70.0},
    }  # fmt: skip
    return {key: record | about for key, record in kept.items()}


def test_nothing_was_measured(page: ModuleType) -> None:
    text = page.page({})
    assert "not measured" in text
    assert text.count("Not measured yet.") == 6


@pytest.mark.parametrize(
    ("format", "products", "others"),
    [
        ("bf16", 1, 0),
        ("q4_0", 8, 2),
        ("iq4_xs", 64, 8 + 1),
        ("q4_k_m", 64, 8 + 1 + 4 + 1),
        ("q6_k", 64, 16 + 1),
    ],
)
def test_multiplications_take_the_place_of_products(
    page: ModuleType, format: str, products: int, others: int
) -> None:
    assert page.left_to_products(format) == products / (products + others)


def test_every_figure_stands_beside_what_was_asked(page: ModuleType) -> None:
    text = page.page(records())
    assert "2026-01-02 to 2026-01-02" in text and "a processor, 2 cores" in text and "rival 1, built" in text
    assert (
        "| q4_0 | 2 | pp512 | 1200 ± 1 | 70% of 2000 GOPS | 600 ± 1 (repacked) | **2.10x** | 2.40x |" in text
    )
    assert (
        "| tg128, of the read bandwidth, 0.5B | ≥ 88% | 50% | 50% | qwen2.5-0.5b q4_0, 2 threads | 0 of 1 |"
        in text
    )
    assert "| eight sequences against one | ≥ 5.0x | 6.2x | 6.2x |" in text
    assert "| qwen2.5-0.5b | q4_0 | q8_0 | 2 | tg32 @ d16384 | 90.0 ± 1.0 | 95% of 40 GB/s |" in text
    assert "| compiling a whole model, full cache | ≤ 0.20 s | 0.30 s | 0.30 s |" in text
    assert "| qwen2.5-0.5b | q4_0 | 2 | 10.0 |  |  |  |  |  | 10.0 |  |" in text
    assert "| 1024 | 2 | 460 | 400 | 500 | 92% |" in text
    assert "| qwen2.5-0.5b | int4 g32 | 2 | pp512 | 1000 | 1200 (q4_0) | 1.20x |" in text
    assert all(line.count("|") != 1 for line in text.splitlines())
