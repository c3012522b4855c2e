"""Kernels of every format under an emulator: the same checks as on the machine that runs the tests."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest
from core.schedule.matrices import multiply, packed, random_activations
from core.schedule.test_codes import check_operands
from core.schedule.test_matmul import WITH_MINIMUMS, close, lengths, matrix
from core.schedule.test_matmul import test_extreme_codes_give_exact_integers as exact_integers
from core.schedule.test_matmul import test_largest_minimums_give_exact_integers as exact_minimums
from kit.emulator import MISSING, TARGETS
from kit.forms import declarations, form

from lumen_core.schedule.blocking import tile_columns
from lumen_core.target import Target

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}")

# The others are of the same kinds; they run with --slow, as do most on vectors that no processor has yet.
USUAL = ("bf16", "f16", "f32", "q4_0", "q4_1", "q4_k", "q5_k", "q6_k", "q8_0", "iq4_nl", "iq4_xs", "iq3_s")
FEW, LONG = ("bf16", "q4_0", "q4_1", "q6_k", "iq4_xs"), 64  # bytes of the longest vector that there is


def each(names: Collection[str], usual: Collection[str] = USUAL) -> pytest.MarkDecorator:
    """Run a test for each format on each target."""

    def case(name: str, target: Target) -> object:
        marks = [] if name in (usual if target.vector_bytes <= LONG else FEW) else [pytest.mark.slow]
        return pytest.param(name, target, marks=marks, id=f"{name}-{target.name}")

    pairs = [(name, target) for name in sorted(names) for target in TARGETS]
    return pytest.mark.parametrize(("name", "target"), [case(*pair) for pair in pairs])


INTEGERS = [name for name in declarations() if form(name).kind.startswith("integer")]

SHARED = 35  # tokens of more than two panels
ROWS = 33  # no multiple of any row group, and an odd number of most


@each(declarations())
def test_matmul(name: str, target: Target) -> None:
    """One token, a panel that is not full, full ones that share codes; rows do not fill the last group."""
    rows = max(ROWS, target.lanes + 1)
    for length in lengths(form(name)):
        raw = matrix(form(name), rows, length)
        weights = packed(form(name), target, raw)
        for tokens, columns in ((1, 1), (5, tile_columns(target)), (SHARED, tile_columns(target))):
            activations = random_activations(form(name), tokens, length, tokens)
            found = multiply(form(name), target, weights, rows, activations, columns)
            close(found, name, raw, activations.values)
    before = np.random.default_rng(3).standard_normal((SHARED, rows)).astype(np.float32)
    found = multiply(form(name), target, weights, rows, activations, tile_columns(target), before)
    close(found, name, raw, activations.values, before)


@each(INTEGERS)
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


@each(WITH_MINIMUMS, usual=WITH_MINIMUMS)
def test_largest_minimums(name: str, target: Target) -> None:
    exact_minimums(name, target)


@pytest.mark.parametrize(
    "target",
    [
        pytest.param(target, marks=[] if target.name in ("arm-neon", "arm-i8mm") else [pytest.mark.slow])
        for target in TARGETS
    ],
    ids=lambda target: target.name,
)
def test_operands_of_every_width(target: Target) -> None:
    check_operands(target)
