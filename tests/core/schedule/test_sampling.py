"""The compiled sampler against its definition in numpy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from lumen_core.schedule.sampling import SETTINGS, build_sample, padded, scratch_bytes
from lumen_core.target import Target

from .compiled import TARGETS, compiled
from .sampling_reference import kept_weights, sample, uniform

Sampler = Callable[..., int]


def sampler_of(target: Target) -> Sampler:
    call = compiled(build_sample(target), target)

    def run(logits: np.ndarray, recent: object = (), position: int = 0, **settings: float) -> int:
        buffer = np.full(padded(len(logits)), 1e9, np.float32)
        buffer[: len(logits)] = logits
        filled = np.zeros((), SETTINGS)
        for name, value in {"penalty": 1, "top_p": 1, "temperature": 1, **settings}.items():
            filled[name] = value
        ids = np.array(recent, np.int32)
        scratch = np.full(scratch_bytes(len(logits)) // 4, np.nan, np.float32)
        return int(call(buffer, len(logits), ids, len(ids), filled, position, scratch))  # type: ignore[call-overload]

    return run


@pytest.fixture(scope="module", params=TARGETS, ids=lambda target: target.name)
def sampler(request: pytest.FixtureRequest) -> Sampler:
    return sampler_of(request.param)


def random_logits(size: int, seed: int, spread: float = 3.0) -> np.ndarray:
    return (spread * np.random.default_rng(seed).standard_normal(size)).astype(np.float32)


@pytest.mark.parametrize("size", [1, 5, 64, 65, 1000, 4097])
def test_greedy_takes_the_first_of_the_largest(sampler: Sampler, size: int) -> None:
    for seed in range(5):
        logits = np.round(random_logits(size, seed))
        assert sampler(logits, temperature=0) == np.argmax(logits)
        recent = np.arange(0, size, 3)
        wanted = sample(logits, recent, penalty=1.5, temperature=0)
        assert sampler(logits, recent, penalty=1.5, temperature=0) == wanted


CHAINS = [
    {},
    {"top_k": 1},
    {"top_k": 40},
    {"top_k": 100000},
    {"top_p": 0.9},
    {"top_p": 0.05},
    {"min_p": 0.05},
    {"min_p": 1.0},
    {"top_k": 40, "top_p": 0.95, "min_p": 0.05, "temperature": 0.8},
    {"top_k": 20, "top_p": 0.8, "temperature": 1.7, "penalty": 1.1},
]


@pytest.mark.parametrize("chain", CHAINS, ids=str)
@pytest.mark.parametrize(("size", "spread"), [(50, 1.0), (3000, 3.0), (3000, 0.5)])
def test_draws_equal_the_definition(sampler: Sampler, chain: dict, size: int, spread: float) -> None:
    recent = np.arange(10)
    differing = 0
    for position in range(60):
        logits = random_logits(size, position, spread)
        found = sampler(logits, recent, position, seed=123, **chain)
        wanted = sample(logits, recent, position=position, seed=123, **chain)
        differing += found != wanted
    assert differing <= 1  # a draw that falls on a border may be rounded to the other side


def test_what_is_filtered_is_never_drawn(sampler: Sampler) -> None:
    logits = random_logits(500, 7, 1.0)
    for chain in ({"top_k": 5}, {"top_p": 0.3}, {"min_p": 0.4}):
        kept = set(np.flatnonzero(kept_weights(logits, **chain)))
        drawn = {sampler(logits, position=p, temperature=2.0, **chain) for p in range(300)}
        assert drawn <= kept
        assert len(drawn) > len(kept) / 2


def test_frequencies_follow_the_weights(sampler: Sampler) -> None:
    logits = np.log(np.array([0.5, 0.25, 0.125, 0.125], np.float32))
    drawn = [sampler(logits, position=position, seed=9) for position in range(4000)]
    shares = np.bincount(drawn, minlength=4) / len(drawn)
    np.testing.assert_allclose(shares, [0.5, 0.25, 0.125, 0.125], atol=0.03)


def test_ties_with_the_last_stay(sampler: Sampler) -> None:
    logits = np.array([1, 0, 0, 0, -9] * 3, np.float32)
    drawn = {sampler(logits, position=p, top_k=4, temperature=5.0) for p in range(400)}
    assert drawn == {i for i in range(15) if logits[i] > -9}


def test_numbers_that_are_none(sampler: Sampler) -> None:
    assert sampler(np.full(100, np.nan)) == -1
    assert sampler(np.full(100, -np.inf)) == -1
    logits = np.full(100, np.nan, np.float32)
    logits[33] = -5
    for chain in ({}, {"temperature": 0}, {"top_k": 3}, {"top_p": 0.5}):
        assert sampler(logits, **chain) == 33
    logits[50] = np.inf
    assert sampler(logits, top_p=0.5) == 50


def test_the_counter_gives_even_numbers() -> None:
    numbers = np.array([uniform(seed, position) for seed in range(40) for position in range(50)])
    assert numbers.min() >= 0
    assert numbers.max() < 1
    assert abs(numbers.mean() - 0.5) < 0.02
    assert abs(np.corrcoef(numbers[:-1], numbers[1:])[0, 1]) < 0.06
