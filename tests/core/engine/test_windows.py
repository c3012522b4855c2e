"""Layers with a window keep that many tokens and a page, and compute what they would if they kept all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kit.engines import Engine, token_ids

from lumen_core.engine import memory
from lumen_core.engine.pools import Pool, plan_pools
from lumen_core.engine.shapes import shape
from lumen_core.engine.synth import synthesize
from lumen_core.quant.cache_layout import PAGE
from lumen_core.schedule.segments import DIRECT

CONTEXT = 1100
WINDOWS = [24, 128, 200, 321]


def whole(windows: list[int], page_bytes: int, context: int, sequences: int = 1) -> tuple[Pool, ...]:
    pools = plan_pools(windows, page_bytes, context, sequences)
    return tuple(replace(pool, pages=-(-context // PAGE)) for pool in pools)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Return the path of a model with layers that see so many tokens, and others that see all."""
    folder = tmp_path_factory.mktemp("windows")

    @cache
    def made(window: int) -> Path:
        more = {**shape("exaone4-tiny").more, "attention.sliding_window": window}
        return synthesize("exaone4-tiny", folder / f"{window}.gguf", "q4_0", overrides={"more": more})

    return made


@pytest.fixture
def pair(
    engine: Callable[..., Engine], path: Callable[[int], Path], monkeypatch: pytest.MonkeyPatch
) -> Callable[..., tuple[Engine, Engine]]:
    """Return what opens a model twice: with rings, and with all pages and steps that need no staging."""

    def open_both(window: int, **options: Any) -> tuple[Engine, Engine]:
        ringed = engine(path(window), context=CONTEXT, **options)
        with monkeypatch.context() as patch:
            patch.setattr(memory, "plan_pools", whole)
            plain = engine(path(window), context=CONTEXT, **options | {"chunk": DIRECT})
        assert [pool.pages for pool in ringed.memory.pools] == [-(-window // PAGE) + 1, 9]
        assert [pool.pages for pool in plain.memory.pools] == [9, 9]
        return ringed, plain

    return open_both


@pytest.mark.parametrize("window", WINDOWS)
@pytest.mark.parametrize("chunk", [256, 150])
def test_borders_of_chunks(pair: Callable[..., tuple[Engine, Engine]], window: int, chunk: int) -> None:
    ids = token_ids(900, seed=window)
    ringed, plain = pair(window, chunk=chunk, threads=2)
    with ringed, plain:
        wanted = plain.prefill(ids)
        np.testing.assert_array_equal(ringed.prefill(ids, seed=1), wanted)
        np.testing.assert_array_equal(ringed.decode(ids, before=821), wanted[821:])


@pytest.mark.parametrize("kv_format", [None, "q8_0"])
@pytest.mark.parametrize("window", WINDOWS)
def test_whatever_sequences_do(
    pair: Callable[..., tuple[Engine, Engine]], window: int, kv_format: str | None
) -> None:
    """Steps of several sequences: long ones, single tokens, guesses that are taken back, new beginnings."""
    ringed, plain = pair(window, sequences=3, kv_format=kv_format)
    random = np.random.default_rng(window)
    with ringed, plain:
        texts = [token_ids(CONTEXT, seed=seed) for seed in range(3)]
        wanted = [plain.prefill(ids) for ids in texts]
        sequences = [ringed.sequence(seed=7) for _ in texts]
        kept = 0
        for _ in range(60):
            work, places, room = [], [], 256
            for number in random.permutation(3)[: random.integers(1, 4)]:
                begin = len(sequences[number].tokens)
                begin = begin if begin < CONTEXT else sequences[number].rewind(0)
                count = min(int(random.choice([1, 5, 64, 127, 128, 129, 130, 256])), room, CONTEXT - begin)
                if count:
                    room -= count
                    work.append((sequences[number], texts[number][begin : begin + count]))
                    places.append((number, begin, begin + count))
            for found, (number, begin, end) in zip(ringed.step(work), places, strict=True):
                np.testing.assert_array_equal(found, wanted[number][begin:end])
                own, less = sequences[number], int(random.integers(begin, end + 1))
                if end - begin <= DIRECT and random.random() < 0.5:
                    assert own.rewind(less) == less
                elif end == CONTEXT or random.random() < 0.2:
                    # about where the oldest key that is seen is the oldest that the ring has
                    edge = own._written - ringed.memory.pools[0].pages * PAGE + window - 1
                    kept += own.rewind(max(edge + int(random.integers(-1, 3)), 0)) > 0
        assert kept  # of longer texts something, at times


def test_forks(pair: Callable[..., tuple[Engine, Engine]]) -> None:
    """Answers that begin alike, side by side: rings are not shared, so each reads the beginning again."""
    ringed, plain = pair(200, sequences=3)
    beginning = token_ids(300, seed=5)
    with ringed, plain:
        first, second = ringed.sequence(), ringed.sequence()
        ringed.step([(first, beginning[:256])])
        assert second.adopt(first, 256) == 0
        ringed.step([(first, beginning[256:]), (second, beginning[:200])])
        found = ringed.step([(first, [1, 2, 3]), (second, [*beginning[200:], 4])])
        np.testing.assert_array_equal(found[0], plain.prefill([*beginning, 1, 2, 3])[300:])
        np.testing.assert_array_equal(found[1], plain.prefill([*beginning, 4])[200:])
