"""The fused matmul against decode-then-multiply: every declared format, every target of this machine."""

from __future__ import annotations

import numpy as np
import pytest
from kit.forms import (
    complete,
    declarations,
    form,
    random_blocks,
    random_rows,
    set_codes,
    set_float,
    set_integers,
)

from lumen_core.quant.direct import evaluate
from lumen_core.quant.floats import is_small
from lumen_core.quant.integers import BitField
from lumen_core.quant.layout import ActivationLayout
from lumen_core.quant.normal_form import NormalForm
from lumen_core.schedule.blocking import tile_columns
from lumen_core.target import Target

from .compiled import TARGETS
from .matrices import Activations, multiply, packed, random_activations

each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
each_form = pytest.mark.parametrize("name", sorted(declarations()))
each_integer_form = pytest.mark.parametrize("name", [n for n in declarations() if form(n).kind == "integer"])

ROWS = 37  # no multiple of any row group
TOKENS = [1, 2, 3, 5, 8, 16, 17, 64]


WITH_MINIMUMS = [
    name for name in sorted(declarations()) if form(name).offset is not None and form(name).offset.integer
]


def lengths(form: NormalForm) -> list[int]:
    """Columns of one block, and of an odd number of them."""
    return [7, 96] if form.block == 1 else [form.block, 3 * form.block]


def matrix(form: NormalForm, rows: int, length: int, seed: int = 0) -> np.ndarray:
    return random_rows(form, rows, length // form.block, seed)


def decoded(name: str, raw: np.ndarray) -> np.ndarray:
    """The weights by the declared expression, f64 [N, K]."""
    blocks = complete(form(name), raw)
    return evaluate(declarations()[name], blocks, np.float64).reshape(len(raw), -1)


def magnitudes(form: NormalForm, raw: np.ndarray) -> np.ndarray:
    """Size of the terms whose sum a weight is, f64 [N, K]: what rounding is measured by."""
    blocks = complete(form, raw)
    if form.kind == "float":
        return np.abs(form.decode(raw)).astype(np.float64)
    assert form.scale is not None and form.code is not None
    scale = np.abs(form.scale.decode(blocks)).astype(np.float64)
    size = np.repeat(scale, form.block // scale.shape[1], axis=1)
    if form.table is not None:
        size = size * np.abs(np.array(form.table)[form.code.decode(blocks)])
    else:
        size = size * (np.abs(form.multiplier * form.code.decode(blocks)) + abs(form.zero))
    if form.offset is not None:
        offset = np.abs(form.offset.decode(blocks)).astype(np.float64)
        size = size + np.repeat(offset, form.block // offset.shape[1], axis=1)
    if form.row is not None:
        size = size * np.abs(form.row.decode(blocks))
    return size.reshape(len(raw), -1)


def close(found: np.ndarray, name: str, raw: np.ndarray, x: np.ndarray, before: np.ndarray | int = 0) -> None:
    """Within the bound of a sum of K rounded products, whatever its order."""
    wanted = x @ decoded(name, raw).T + before
    bound = x.shape[1] * 2.0**-24 * (np.abs(x) @ magnitudes(form(name), raw).T + np.abs(before))
    assert np.isfinite(found).all()
    assert (np.abs(found - wanted) <= bound + 1e-30).all()


@each_target
@each_form
def test_every_number_of_tokens(name: str, target: Target) -> None:
    for length in lengths(form(name)):
        raw = matrix(form(name), ROWS, length)
        weights = packed(form(name), target, raw)
        for tokens in TOKENS:
            activations = random_activations(form(name), tokens, length, tokens)
            wide = multiply(form(name), target, weights, ROWS, activations, tile_columns(target))
            close(wide, name, raw, activations.values)
            if tokens == 1:
                single = multiply(form(name), target, weights, ROWS, activations, 1)
                close(single, name, raw, activations.values)


@each_target
@each_form
def test_the_residual_is_added(name: str, target: Target) -> None:
    length = lengths(form(name))[1]
    raw = matrix(form(name), ROWS, length)
    weights = packed(form(name), target, raw)
    for tokens, columns in ((1, 1), (5, tile_columns(target)), (17, tile_columns(target))):
        activations = random_activations(form(name), tokens, length, tokens)
        before = np.random.default_rng(3).standard_normal((tokens, ROWS)).astype(np.float32)
        found = multiply(form(name), target, weights, ROWS, activations, columns, before)
        close(found, name, raw, activations.values, before)


@each_target
@pytest.mark.parametrize("rows", [1, 2, 8, 31, 33, 100])
def test_every_number_of_rows(rows: int, target: Target) -> None:
    """Threads split a matrix at any row group and get the same numbers."""
    for name in ("q4_0", "q6_k", "f16"):
        length = 2 * max(form(name).block, 48)
        raw = matrix(form(name), rows, length, rows)
        weights = packed(form(name), target, raw, parts=3)
        np.testing.assert_array_equal(weights.array, packed(form(name), target, raw).array)
        for tokens, columns in ((1, 1), (6, tile_columns(target))):
            activations = random_activations(form(name), tokens, length)
            whole = multiply(form(name), target, weights, rows, activations, columns)
            close(whole, name, raw, activations.values)
            split = multiply(form(name), target, weights, rows, activations, columns, parts=3)
            np.testing.assert_array_equal(split, whole)


@each_target
@each_form
def test_a_token_alone_and_in_a_panel(name: str, target: Target) -> None:
    """Decoding gives the bits of prefill for integer formats, and close numbers for float ones."""
    length = lengths(form(name))[1]
    raw = matrix(form(name), ROWS, length)
    weights = packed(form(name), target, raw)
    activations = random_activations(form(name), 5, length)
    wide = multiply(form(name), target, weights, ROWS, activations, tile_columns(target))
    for token in range(5):
        scales = None if activations.scales is None else activations.scales[token : token + 1]
        one = Activations(activations.codes[token : token + 1], scales)
        single = multiply(form(name), target, weights, ROWS, one, 1)
        if form(name).kind == "integer":
            np.testing.assert_array_equal(single[0], wide[token])
        else:
            close(single, name, raw, one.values)


# ------------------------------------------------------------------------ extremes


def unit_blocks(
    form: NormalForm, count: int, highest: bool | None, largest_offset: bool = False
) -> np.ndarray:
    """Blocks whose every scale and offset is 1, with the largest codes, the least, or (None) random ones.

    `largest_offset`: offsets of integers are as large as they can be.
    """
    blocks = random_blocks(form, count)
    if highest is not None:
        set_codes(blocks, form, highest)
    for scale in (form.scale, form.offset):
        if scale is not None and scale.integer is not None:
            integer = scale.integer
            assert isinstance(integer, BitField)
            largest = (1 << integer.width) - 1
            take = largest_offset and scale is form.offset
            set_integers(blocks, integer, largest if take else (1 - integer.add) & largest)
    assert form.scale is not None
    for number, field in enumerate(form.floats):
        set_float(blocks, field, 1 / form.scale.constant if number == 0 else 1.0)
    return blocks


@each_target
@each_integer_form
def test_extreme_codes_give_exact_integers(name: str, target: Target) -> None:
    """Codes least or largest (-128 too), activations -127 or 127: nothing saturates or is rounded."""
    check_extremes(form(name), target, [{"highest": highest} for highest in (False, True, None)])


@each_target
@pytest.mark.parametrize("name", WITH_MINIMUMS)
def test_largest_minimums_give_exact_integers(name: str, target: Target) -> None:
    check_extremes(form(name), target, [{"highest": False, "largest_offset": True}])


def check_extremes(normal: NormalForm, target: Target, cases: list[dict[str, bool | None]]) -> None:
    """One row of blocks of each case times the largest activations gives exact integers."""
    assert normal.code is not None
    length = 2 * max(normal.block, 32)
    raw = np.concatenate([unit_blocks(normal, length // normal.block, **case) for case in cases])
    raw = normal.rows(raw.reshape(len(cases), length // normal.block, -1))
    signs = np.where(np.arange(length) % 3 == 0, -1, 1)
    patterns = np.stack([np.full(length, 127), np.full(length, -127), 127 * signs, 0 * signs]).astype(np.int8)
    group = ActivationLayout(normal.activation, 1).group
    weights = packed(normal, target, raw)
    wanted = patterns.astype(np.int64) @ decoded(normal.name, raw).T
    assert (wanted == np.rint(wanted)).all()
    assert np.abs(wanted).max() < 1 << 24
    for columns in (1, tile_columns(target)):
        for start in range(0, len(patterns), columns):
            part = patterns[start : start + columns]
            activations = Activations(part, np.ones((len(part), length // group), np.float32))
            found = multiply(normal, target, weights, len(raw), activations, columns)
            np.testing.assert_array_equal(found, wanted[start : start + columns])


@each_target
@each_integer_form
def test_largest_sub_scales(name: str, target: Target) -> None:
    """Every sub-scale and offset largest, then least."""
    normal = form(name)
    assert normal.code is not None
    for pick in ("low", "high"):
        raw = unit_blocks(normal, 4, True)
        for scale in (normal.scale, normal.offset):
            if scale is not None and scale.integer is not None:
                assert isinstance(scale.integer, BitField)
                stored = getattr(scale.integer, pick) - scale.integer.add
                set_integers(raw, scale.integer, stored & ((1 << scale.integer.width) - 1))
        raw = normal.rows(raw.reshape(2, 2, -1))
        length = 2 * normal.block
        group = ActivationLayout(normal.activation, 1).group
        codes = np.full((3, length), 127, np.int8)
        activations = Activations(codes, np.ones((3, length // group), np.float32))
        found = multiply(normal, target, packed(normal, target, raw), 2, activations, tile_columns(target))
        close(found, name, raw, activations.values)


@each_target
@each_integer_form
def test_scales_that_are_no_numbers(name: str, target: Target) -> None:
    """An infinite or undefined scale spoils its own row and no other."""
    normal = form(name)
    blocks = complete(normal, matrix(normal, 20, 2 * normal.block)).copy()
    for field in normal.floats:
        if field.inverse:
            continue
        set_float(blocks[2 * 3 : 2 * 3 + 1], field, np.nan)
        second = 0 if field in (normal.row.floats if normal.row else ()) else 1  # a row's lies in its first
        set_float(blocks[2 * 11 + second : 2 * 11 + second + 1], field, np.inf)
        set_float(blocks[2 * 5 : 2 * 5 + 2], field, -0.0)
        if not is_small(field.element):
            set_float(blocks[2 * 6 : 2 * 6 + 2], field, 2.0**-24)  # the smallest f16
    raw = normal.rows(blocks.reshape(20, 2, -1))
    activations = random_activations(normal, 3, 2 * normal.block)
    found = multiply(normal, target, packed(normal, target, raw), 20, activations, tile_columns(target))
    if all(is_small(field.element) or field.inverse for field in normal.floats):
        assert np.isfinite(found).all()  # such scales are always numbers
        return
    spoiled = [3, 11]
    assert not np.isfinite(found[:, spoiled]).any()
    sound = [row for row in range(20) if row not in spoiled]
    close(found[:, sound], name, raw[sound], activations.values)
    assert (found[:, 5] == 0).all()
    assert (found[:, 6] != 0).any()
