"""Kernels of a mixture of experts: choices, rows by expert, gathered columns, the blend."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumen_core.ir import parse_module
from lumen_core.ir.core import Operation
from lumen_core.quant.layout import ActivationLayout
from lumen_core.schedule.experts import build_blend, build_gather
from lumen_core.schedule.routing import Grouping, build_group, build_pick, build_top_k

from .compiled import TARGETS, compiled

TARGET = TARGETS[0]


def top_k(size: int, count: int, groups: int = 1, kept: int = 1) -> Operation:
    attributes = f"{{k = {count}, groups = {groups}, kept = {kept}}}"
    text = f"""func @f(%s: tensor<f32, [T, {size}]>) -> (tensor<i32, [T, {count}]>) {{
      %r = top_k %s {attributes} : tensor<i32, [T, {count}]>
      return %r
    }}"""
    return parse_module(text)["f"].operations[0]


@pytest.mark.parametrize(
    "shape", [(8, 2), (128, 8), (5, 5), (1, 1), (16, 4, 4, 2), (64, 8, 8, 4), (6, 2, 6, 3)]
)
def test_top_k(shape: tuple[int, ...]) -> None:
    operation = top_k(*shape)
    size, count = shape[:2]
    random = np.random.default_rng(3)
    scores = random.standard_normal((7, size)).astype(np.float32)
    scores[3:] = random.integers(0, 3, (4, size))  # many are equal
    scores[6] = 1
    chosen = np.full((7, count + 1), 77, np.int32)
    call = compiled(build_top_k(operation), TARGET)
    call(scores, 4 * size, chosen, 4 * (count + 1), 0, 3)
    call(scores, 4 * size, chosen, 4 * (count + 1), 3, 7)
    (wanted,) = operation.definition.reference(None, operation, [scores])
    np.testing.assert_array_equal(chosen[:, :count], wanted)
    assert (chosen[:, count] == 77).all()


def test_whatever_the_scores_are_the_numbers_are_valid() -> None:
    scores = np.array([[np.nan] * 8, [-np.inf] * 8, [np.inf, np.nan] * 4], np.float32)
    for operation in (top_k(8, 3), top_k(8, 3, 4, 2)):
        chosen = np.full((3, 3), -1, np.int32)
        compiled(build_top_k(operation), TARGET)(scores, 32, chosen, 12, 0, 3)
        assert ((chosen >= 0) & (chosen < 8)).all()


def test_pick() -> None:
    x = np.random.default_rng(0).standard_normal((4, 9)).astype(np.float32)
    chosen = np.random.default_rng(1).integers(0, 9, (4, 3)).astype(np.int32)
    found = np.zeros((4, 3), np.float32)
    compiled(build_pick(3), TARGET)(x, 36, chosen, 12, found, 12, 0, 4)
    np.testing.assert_array_equal(found, np.take_along_axis(x, chosen, 1))


@settings(max_examples=40)
@given(st.integers(0, 20), st.integers(0, 2**32 - 1), st.booleans())
def test_rows_by_expert(tokens: int, seed: int, uneven: bool) -> None:
    grouping = Grouping(experts=6, choices=3, tokens=20, batch=8)
    random = np.random.default_rng(seed)
    chosen = random.integers(0, 2 if uneven else 6, (20, 3)).astype(np.int32)
    memory = np.full(grouping.bytes, 0x55, np.uint8)
    GROUP(chosen, 12, tokens, memory)
    words = memory.view("<i4")
    rows = words[grouping.rows // 4 :][: tokens * 3]
    places = words[grouping.places // 4 :][: tokens * 3]
    assert sorted(rows) == list(range(tokens * 3))
    np.testing.assert_array_equal(rows[places], np.arange(tokens * 3))
    expert = chosen.reshape(-1)[rows]
    assert (np.diff(expert) >= 0).all()
    assert all((np.diff(rows[expert == number]) > 0).all() for number in range(6))
    records = words[Grouping.batches // 4 :].reshape(-1, 4)[: words[0]]
    assert grouping.batches + grouping.RECORD * len(records) <= grouping.rows
    end = 0
    for number, start, count, _ in records:
        assert start == end
        assert 0 < count <= 8
        assert (expert[start : start + count] == number).all()
        end = start + count
    assert end == tokens * 3


GROUP = compiled(build_group(Grouping(experts=6, choices=3, tokens=20, batch=8)), TARGET)


@pytest.mark.parametrize("activation", ["f32", "bf16", "i8g32", "i8g32s16", "i8g256"])
@pytest.mark.parametrize("columns", [4, 8, 16])
def test_gather(activation: str, columns: int) -> None:
    """A gathered column is the token's: every byte of it, and no byte of another."""
    layout, single = ActivationLayout(activation, columns), ActivationLayout(activation, 1)
    length, tokens, choices = 512, 21, 3
    random = np.random.default_rng(columns)
    source = random.integers(0, 256, layout.bytes(tokens, length)).astype(np.uint8)
    rows = random.permutation(tokens * choices).astype(np.int32)
    start, count = 5, 19
    target = np.zeros(layout.bytes(count, length), np.uint8)
    panel = layout.panel_bytes(length)
    kernel = build_gather(activation, columns, 4, choices)
    compiled(kernel, TARGET)(source, panel, rows, target, length, start, count)

    def column(memory: np.ndarray, token: int) -> bytes:
        here = memory.reshape(-1, panel)[token // columns].reshape(-1, layout.block_bytes)
        own = token % columns
        if layout.plain:
            return here.reshape(-1, columns, 4)[:, own].tobytes()
        codes = here[:, : layout.scales].reshape(len(here), -1, columns, 32)[:, :, own]
        words = here[:, layout.scales :].reshape(len(here), -1, columns, 4)[:, :, own]
        made = codes.tobytes() + words.tobytes()
        assert len(made) == single.panel_bytes(length)
        return made

    for entry in range(count):
        assert column(target, entry) == column(source, rows[start + entry] // choices)


@pytest.mark.parametrize("accumulate", [False, True])
@pytest.mark.parametrize("grouped", [False, True])
def test_blend(accumulate: bool, grouped: bool) -> None:
    tokens, choices, size = 5, 3, 64
    random = np.random.default_rng(2)
    shares = random.random((tokens, choices)).astype(np.float32)
    x = random.standard_normal((tokens * choices, size)).astype(np.float32)
    places = random.permutation(tokens * choices).astype(np.int32)
    before = random.standard_normal((tokens, size)).astype(np.float32)
    output = before.copy()
    call = compiled(build_blend(choices, TARGET, accumulate, grouped), TARGET)
    rest = (places, output, 4 * size)
    call(shares, 4 * choices, x, 4 * size, *rest, 0, 2, 0, size)
    call(shares, 4 * choices, x, 4 * size, *rest, 2, tokens, 0, 32)
    call(shares, 4 * choices, x, 4 * size, *rest, 2, tokens, 32, size)
    rows = x[places] if grouped else x
    wanted = (shares[..., None].astype(np.float64) * rows.reshape(tokens, choices, size)).sum(1)
    np.testing.assert_allclose(output, wanted + before * accumulate, rtol=1e-5, atol=1e-5)
