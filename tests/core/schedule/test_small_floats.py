"""Weights stored as 8-bit floats, whatever shares a scale: every code, any number of tokens, ragged sizes."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from kit.forms import random_rows

from lumen_core.dsl.parse import parse
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse
from lumen_core.quant.floats import small_floats
from lumen_core.quant.normal_form import NormalForm
from lumen_core.schedule.blocking import tile_columns
from lumen_core.source import Source
from lumen_core.target import Target

from .matrices import Activations, multiply, packed, random_activations
from .test_matmul import TOKENS, each_target

# A scale for 128 x 128 weights, for a row, for all; and none, so that a row may have any length.
NAMES = ("fp8_e4m3_f32_128_128", "fp8_e5m2_bf16_128_128", "ct_float_e4m3_bf16_1_all", "fp8_e5m2_f32_all_all",
         "alone")  # fmt: skip
ALONE = "format alone : block 1 {\n    q: e4m3    value = q\n}\n"
each_format = pytest.mark.parametrize("name", NAMES)


@cache
def form(name: str) -> NormalForm:
    declaration = parse(Source("alone.lum", ALONE)).formats[0] if name == "alone" else None
    return analyse(declaration or Registry.load().format(name))


def close(found: np.ndarray, weights: np.ndarray, x: np.ndarray) -> None:
    """Within the rounding of a sum of products: the factors are exact."""
    wanted, sizes = x @ weights.T, np.abs(x) @ np.abs(weights).T
    assert (np.abs(found - wanted) <= x.shape[1] * 2.0**-24 * sizes + 1e-30).all()


@each_format
def test_activations_are_bf16(name: str) -> None:
    assert form(name).activation == "bf16"


@each_target
@each_format
def test_ragged_sizes(name: str, target: Target) -> None:
    normal = form(name)
    for rows, length in ((1, 1), (37, 33)) if normal.block == 1 else ((1, normal.block), (37, 384)):
        raw = random_rows(normal, rows, length // normal.block, rows)
        matrix, weights = packed(normal, target, raw), normal.decode(raw).astype(np.float64)
        for tokens in TOKENS:
            given = random_activations(normal, tokens, length, tokens)
            found = multiply(normal, target, matrix, rows, given, tile_columns(target))
            close(found, weights, given.values)
            if tokens == 1:
                close(multiply(normal, target, matrix, rows, given, 1), weights, given.values)


@each_target
@each_format
def test_every_code(name: str, target: Target) -> None:
    """One activation is 1 and all others are 0: the sum is the weight, subnormal and largest ones too."""
    normal, length = form(name), 256
    assert normal.stored is not None
    finite = np.flatnonzero(np.isfinite(small_floats(normal.element))).astype(np.uint8)
    raw = random_rows(normal, 20, length // normal.block, largest=2.0**-6)
    codes = np.resize(finite, (20, length))
    codes = np.stack([np.roll(row, 13 * number) for number, row in enumerate(codes)])
    blocks = raw[:, normal.header_bytes :].reshape(20, -1, normal.block_bytes)
    stored = slice(normal.stored.offset, normal.stored.offset + normal.block)
    blocks[:, :, stored] = codes.reshape(20, -1, normal.block)
    matrix, weights = packed(normal, target, raw), normal.decode(raw)
    one = np.eye(length, dtype=np.float32)
    for columns, tokens in ((1, 40), (tile_columns(target), length)):
        for start in range(0, tokens, columns if columns == 1 else tokens):
            part = one[start : start + (1 if columns == 1 else tokens)]
            found = multiply(normal, target, matrix, 20, Activations(part, None), columns)
            np.testing.assert_array_equal(found, weights.T[start : start + len(part)])


@each_target
def test_infinite_weights_spoil_their_row(target: Target) -> None:
    normal = form("fp8_e5m2_f32_all_all")
    raw = random_rows(normal, 20, 1)
    raw[3, normal.header_bytes + 5], raw[11, normal.header_bytes] = 0x7C, 0xFE  # infinite, and no number
    given = random_activations(normal, 3, normal.block)
    found = multiply(normal, target, packed(normal, target, raw), 20, given, tile_columns(target))
    assert set(np.flatnonzero(~np.isfinite(found).all(0))) == {3, 11}
