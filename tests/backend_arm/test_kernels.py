"""Kernels of every format under an emulator: the same checks as on the machine that runs the tests."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from core.schedule.matrices import multiply, packed, random_activations
from core.schedule.test_matmul import WITH_MINIMUMS, close, lengths, matrix
from core.schedule.test_matmul import test_extreme_codes_give_exact_integers as exact_integers
from core.schedule.test_matmul import test_largest_minimums_give_exact_integers as exact_minimums
from kit.emulator import MISSING, TARGETS
from kit.forms import declarations, form

from lumen_core.schedule.blocking import tile_columns
from lumen_core.target import Target

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}")

each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
# The others are of the same kinds; they run with --slow.
USUAL = ("bf16", "f16", "f32", "q4_0", "q4_1", "q4_k", "q5_k", "q6_k", "q8_0", "iq4_nl", "iq4_xs", "iq3_s")


def forms(kind: str = "") -> list[object]:
    names = [name for name in sorted(declarations()) if form(name).kind.startswith(kind)]
    return [pytest.param(name, marks=[] if name in USUAL else [pytest.mark.slow]) for name in names]


each_form = pytest.mark.parametrize("name", forms())
each_integer_form = pytest.mark.parametrize("name", forms("integer"))

SHARED = 35  # tokens of more than two panels
ROWS = 33  # no multiple of any row group, and an odd number of them


@each_target
@each_form
def test_matmul(name: str, target: Target) -> None:
    """One token, a panel that is not full, full ones that share codes; rows do not fill the last group."""
    for length in lengths(form(name)):
        raw = matrix(form(name), ROWS, length)
        weights = packed(form(name), target, raw)
        for tokens, columns in ((1, 1), (5, tile_columns(target)), (SHARED, tile_columns(target))):
            activations = random_activations(form(name), tokens, length, tokens)
            found = multiply(form(name), target, weights, ROWS, activations, columns)
            close(found, name, raw, activations.values)
    before = np.random.default_rng(3).standard_normal((SHARED, ROWS)).astype(np.float32)
    found = multiply(form(name), target, weights, ROWS, activations, tile_columns(target), before)
    close(found, name, raw, activations.values, before)


@each_target
@each_integer_form
def test_extreme_codes(name: str, target: Target) -> None:
    exact_integers(name, target)


@pytest.mark.parametrize(
    "target", [target for target in TARGETS if target.find("dot4_bf16")], ids=lambda target: target.name
)
def test_squares_of_bf16_have_the_bits_of_pairs(target: Target) -> None:
    """An odd number of pairs, in wide tiles and narrower ones."""
    normal, length, tokens = form("bf16"), 71, 25
    weights = packed(normal, target, matrix(normal, ROWS, length))
    activations = random_activations(normal, tokens, length)
    kept = tuple(row for row in target.instructions if row.op != "dot4_bf16")
    squares, pairs = (
        multiply(normal, one, weights, ROWS, activations, tile_columns(target))
        for one in (target, replace(target, instructions=kept))
    )
    np.testing.assert_array_equal(squares, pairs)


@each_target
@pytest.mark.parametrize("name", WITH_MINIMUMS)
def test_largest_minimums(name: str, target: Target) -> None:
    exact_minimums(name, target)
