"""Formats that nobody has thought of: analysis, packing and kernels agree with the declared expression."""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from kit.declared import formats
from kit.forms import encodable, random_blocks

from lumen_core.dsl.parse import parse
from lumen_core.engine.format_check import check
from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant.analyse import analyse
from lumen_core.quant.cache_layout import check_cache_format
from lumen_core.quant.direct import block_bytes, evaluate
from lumen_core.quant.encode import Encoder
from lumen_core.schedule.blocking import tile_columns
from lumen_core.schedule.encode_block import build_encode
from lumen_core.schedule.weights import DotPlan
from lumen_core.source import Source
from lumen_core.target import Target

from .compiled import TARGETS, compiled
from .matrices import multiply, packed, random_activations, rows_kernel
from .test_matmul import magnitudes

BLOCKS, ROWS = 2, 19
quick = settings(max_examples=25, suppress_health_check=list(HealthCheck), derandomize=True)
thorough = settings(max_examples=1500, suppress_health_check=list(HealthCheck))


def agree(text: str, target: Target) -> None:
    (declaration,) = parse(Source("any.lum", text)).formats
    form = analyse(declaration)
    assert form.block_bytes == block_bytes(declaration)
    blocks = random_blocks(form, ROWS * BLOCKS, largest=0.1)
    raw = blocks.reshape(ROWS, -1)
    weights = evaluate(declaration, blocks, np.float64).reshape(ROWS, -1)
    sizes = magnitudes(form, raw)
    rounding = 8 * 2.0**-24 * sizes  # a handful of roundings; constants may be multiplied in another order
    assert (np.abs(form.decode(raw) - weights) <= rounding).all()

    length = BLOCKS * form.block
    gathered = np.zeros((3, length), np.float32)
    rows_kernel(form, target)(raw, np.array([0, 18, 5], np.int32), gathered, 4 * length, length, 0, 3)
    assert (np.abs(gathered - weights[[0, 18, 5]]) <= rounding[[0, 18, 5]]).all()

    try:
        plan = DotPlan.choose(form, target)
        matrix = packed(form, target, raw)
        for tokens, columns in ((1, 1), (5, tile_columns(target))):
            activations = random_activations(form, tokens, length)
            found = multiply(form, target, matrix, ROWS, activations, columns)
            x = activations.values
            bound = (length + 8) * 2.0**-24 * (np.abs(x) @ sizes.T)
            assert (np.abs(found - x @ weights.T) <= bound).all()
        event(f"{form.bits} bits, {plan.kind}, {'offset' if form.offset else 'no offset'}")
    finally:
        rows_kernel.cache_clear()


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_generated_formats(target: Target) -> None:
    @quick
    @given(formats())
    def check(text: str) -> None:
        agree(text, target)

    check()


@pytest.mark.slow
@thorough
@given(formats(), st.sampled_from(TARGETS))
def test_many_generated_formats(text: str, target: Target) -> None:
    agree(text, target)


@settings(quick, max_examples=100)
@given(formats())
def test_generated_formats_are_quantized(text: str) -> None:
    (declaration,) = parse(Source("any.lum", text)).formats
    form = analyse(declaration)
    if not encodable(form):
        return
    codes, storing, quantizer = islice(check(declaration, form, []), 3)
    assert codes.passed and storing.passed, (codes.detail, storing.detail)
    assert quantizer.passed, quantizer.detail


@pytest.mark.slow
@thorough
@given(formats())
def test_generated_formats_keep_keys_and_values(text: str) -> None:
    """Whatever suits a cache compiles, and what is written are numbers."""
    (declaration,) = parse(Source("any.lum", text)).formats
    form = analyse(declaration)
    try:
        check_cache_format(form, 2 * form.block, "keys")
        Encoder(form)
    except UnsupportedFormatError:
        return
    numbers = np.random.default_rng(1).standard_normal((16, 2 * form.block)).astype(np.float32)
    blocks = np.zeros((16, form.row_bytes(2 * form.block)), np.uint8)
    encoder = compiled(build_encode(form), TARGETS[0])
    for row, made in zip(numbers, blocks, strict=True):
        encoder(row, made, 2)
    assert np.isfinite(form.decode(blocks)).all()
