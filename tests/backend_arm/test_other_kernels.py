"""Row-wise work, attention, sampling and embedding rows under an emulator, checked as on this machine."""

from __future__ import annotations

import numpy as np
import pytest
from core.schedule import test_attention, test_rowwise, test_sampling
from core.schedule.compiled import compiled
from core.schedule.sampling_reference import sample
from kit.emulator import MISSING, TARGETS
from kit.forms import form, random_blocks

from lumen_core.schedule.rows import build_rows
from lumen_core.target import Target

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}")

each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@each_target
def test_attention_over_pages(target: Target) -> None:
    for shape, tokens, position in (((14, 2, 64), 1, 130), ((14, 2, 64), 13, 58), ((3, 1, 24), 21, 0)):
        test_attention.test_attention(target, *shape, tokens, position)


@each_target
def test_rows_are_normalized_and_quantized(target: Target) -> None:
    for length, activation, columns in ((96, "i8g32", 1), (512, "i8g256", 4), (896, "i8g32", 4)):
        test_rowwise.test_normalized_and_quantized_rows(target, length, activation, columns)
    test_rowwise.test_plain_rows_for_float_weights(target, "bf16", 64, 4)
    test_rowwise.test_gate_times_up_of_merged_heads(target)
    test_rowwise.test_one_region_serves_weights_of_every_kind(target)


@each_target
def test_heads_are_turned_and_appended(target: Target) -> None:
    for pairs in ("half", "interleaved"):
        test_rowwise.test_heads_are_turned_and_appended(target, 3, 64, 32, pairs)
        test_rowwise.test_heads_are_turned_and_appended(target, 2, 24, 12, pairs)


@each_target
def test_sampling_draws_what_it_draws_elsewhere(target: Target) -> None:
    sampler = test_sampling.sampler_of(target)
    differing = 0
    for position, chain in enumerate(test_sampling.CHAINS):
        logits = test_sampling.random_logits(3000, position)
        found = sampler(logits, np.arange(10), position, seed=123, **chain)
        differing += found != sample(logits, np.arange(10), position=position, seed=123, **chain)
        assert sampler(logits, temperature=0) == np.argmax(logits)
    assert differing <= 1  # a draw that falls on a border may be rounded to the other side
    test_sampling.test_numbers_that_are_none(sampler)


@each_target
@pytest.mark.parametrize("name", ["f16", "q4_0", "q6_k", "iq4_xs"])
def test_embedding_rows(name: str, target: Target) -> None:
    normal = form(name)
    length, count = 2 * max(normal.block, 32), 7
    raw = random_blocks(normal, count * length // normal.block).reshape(count, -1)
    ids = np.array([6, 0, 3, 3], np.int32)
    found = np.zeros((len(ids), length), np.float32)
    compiled(build_rows(normal, target), target)(raw, ids, found, 4 * length, length, 0, len(ids))
    np.testing.assert_allclose(found, normal.decode(raw)[ids], rtol=1e-6, atol=1e-7)
