"""Plain functions: meanings of instructions and the standard library, executed."""

from __future__ import annotations

import numpy as np
import pytest

from lumen_core.dsl import load_text
from lumen_core.errors import SourceError
from lumen_core.ir import interpret, verify
from lumen_core.lower import lower_function

DOT = """
fn meaning[N](acc: i32[N], a: u8[4 * N], b: i8[4 * N]) -> i32[N] {
    acc + reshape(sum(reshape(widen(a) * widen(b), N, 4)), N)
}
"""


def test_a_dot_product_of_bytes():
    function = lower_function(load_text(DOT), "meaning", {"N": 8})
    verify(function)
    random = np.random.default_rng(1)
    acc, a, b = random.integers(-9, 9, 8), random.integers(0, 256, 32), random.integers(-128, 128, 32)
    (found,) = interpret(function, [acc, a, b])
    np.testing.assert_array_equal(acc + (a * b).reshape(8, 4).sum(1), found)


def test_saturation_and_selection():
    text = """
    fn meaning[N](a: i16[N], b: i16[N]) -> (i8[N], i16[N]) {
        let larger = select(a > b, a, b)
        (saturate_i8(larger), abs(a) * sign(b))
    }"""
    function = lower_function(load_text(text), "meaning", {"N": 3})
    verify(function)
    low, product = interpret(function, [[300, -5, -300], [2, -7, -301]])
    assert low.tolist() == [127, -5, -128]
    assert product.tolist() == [300, -5, -300]


def test_bits():
    text = "fn meaning[N](a: u8[N]) -> u8[N] { (a >> 4 | a << 4) ^ a & 15 }"
    function = lower_function(load_text(text), "meaning", {"N": 2})
    (found,) = interpret(function, [[0x12, 0xF0]])
    assert found.tolist() == [0x21 ^ 0x02, 0x0F]


def test_the_standard_library_by_itself():
    function = lower_function(load_text(""), "rms_norm", {"D": 4}, packs={"B": ("T", 2)})
    x = np.arange(8, dtype=np.float32).reshape(1, 2, 4)
    (found,) = interpret(function, [x, np.ones(4), 0.5])
    np.testing.assert_allclose(found, x / np.sqrt((x * x).mean(-1, keepdims=True) + 0.5), rtol=1e-6)


def test_a_symbolic_size():
    function = lower_function(load_text("fn twice[N](a: f32[N]) -> f32[N] { a + a }"), "twice", {})
    assert interpret(function, [[2.0]])[0].tolist() == [4.0]


def test_what_must_be_known_is_said_at_its_place():
    text = """
    fn f[T, H, E](x: f32[T, H, E], p: i32[T], r: f32[4], theta: f32) -> f32[T, H, E] {
        rope(x, p, r, theta, pairs=half)
    }"""
    with pytest.raises(SourceError, match="the theta of rope must be known") as caught:
        lower_function(load_text(text), "f", {"E": 8})
    assert "^^^^^" in str(caught.value)
