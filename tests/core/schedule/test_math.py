"""The functions of schedule.math against numpy in double precision."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lumen_core.ir.kernel import I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.schedule import math as vector_math
from lumen_core.target import Target

from .compiled import TARGETS, compiled


def elementwise(function: Callable[[Builder, Value], Value], target: Target, x: np.ndarray) -> np.ndarray:
    kernel = Kernel("f", (("x", PTR), ("y", PTR), ("count", I64)))
    builder = Builder(kernel)
    x_pointer, y_pointer, count = kernel.parameters
    vector = Type("f32", target.lanes)
    with builder.loop(0, count, target.lanes) as loop:
        place = builder.mul(loop.index, 4)
        value = builder.load(vector, x_pointer, place)
        builder.store(function(builder, value), y_pointer, place)
    y = np.empty_like(x)
    compiled(kernel, target)(x, y, x.size)
    return y


def ulps(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    return np.abs(found - wanted) / np.spacing(np.abs(wanted).astype(np.float32)).astype(np.float64)


def grid(low: float, high: float) -> np.ndarray:
    return np.linspace(low, high, 1 << 18).astype(np.float32)


CASES = [
    ("exp", grid(-87.3, 88.7), np.exp, 1.0),
    ("silu", grid(-80, 80), lambda x: x / (1 + np.exp(-x)), 2.5),
    ("tanh", grid(-20, 20), np.tanh, 2.5),
    ("rsqrt", grid(1e-6, 1e6), lambda x: 1 / np.sqrt(x), 1.5),
]


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize(("name", "x", "meaning", "limit"), CASES, ids=[case[0] for case in CASES])
def test_close_to_the_mathematical_function(
    target: Target, name: str, x: np.ndarray, meaning: Callable, limit: float
) -> None:
    found = elementwise(getattr(vector_math, name), target, x)
    assert ulps(found.astype(np.float64), meaning(x.astype(np.float64))).max() < limit


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_edges_of_exp(target: Target) -> None:
    x = np.array(
        [0, -0.0, np.inf, -np.inf, np.nan, 88.8, -88, -1000, 1000, 88.72283, -87.33654] + [1] * 5, "f4"
    )
    with np.errstate(over="ignore"):
        wanted = np.exp(x)
    wanted[6] = 0  # a denormal number
    np.testing.assert_allclose(elementwise(vector_math.exp, target, x), wanted, rtol=2e-7)
    assert np.isnan(elementwise(vector_math.silu, target, x)[4])
    assert np.isnan(elementwise(vector_math.tanh, target, x)[4])


def power(n: int, rough: bool) -> Callable[[Builder, Value], Value]:
    """2 ** (x - n)."""

    def function(builder: Builder, x: Value) -> Value:
        return vector_math.exp2_near(builder, x, builder.constant(x.type, vector_math.ROUNDING - n), rough)

    return function


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("n", [0, -37, 1 << 20])
def test_powers_near_an_integer(target: Target, n: int) -> None:
    x = (grid(-125.9, 126.9) + n).astype(np.float32)
    wanted = np.exp2(x.astype(np.float64) - n)
    assert ulps(elementwise(power(n, False), target, x).astype(np.float64), wanted).max() < 1.0
    np.testing.assert_allclose(elementwise(power(n, True), target, x), wanted, rtol=1.1e-4)


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_the_edges_of_powers(target: Target) -> None:
    x = np.array([0, -126, -500, -1e30, np.nan, 3, -1, 100] * 2, np.float32)
    found = elementwise(power(0, False), target, x)
    np.testing.assert_array_equal(found[[0, 1, 3, 5, 6, 7]], [1, 2.0**-126, 2.0**-126, 8, 0.5, 2.0**100])
    assert 0 < found[2] < 2.0**-125
    assert np.isnan(found[4])

    n = np.array([0, -1, 127, -126, -127, -1000, -1e30, 5] * 2, np.float32)
    wanted = np.where(n < -126, 0, np.ldexp(1.0, np.maximum(n, -126).astype(int))).astype(np.float32)
    np.testing.assert_array_equal(elementwise(vector_math.exp2_integer, target, n), wanted)
