"""The benchmark: every engine runs every test in turn, and the figures are consistent with each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from lumen_core.engine.benchmark import LUMEN, benchmark, file_work
from lumen_core.engine.model import load
from lumen_core.engine.rivals import rivals
from lumen_core.engine.synth import synthesize
from lumen_core.errors import LumenError
from lumen_core.text.sample import PARAGRAPH


class Tortoise:
    """An engine of known speed that remembers what it was asked."""

    name = "tortoise"

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def speed(self, ids: Sequence[int], generated: int) -> float:
        self.asked.append((len(ids), generated))
        return 0.5


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize("qwen3-tiny", tmp_path_factory.mktemp("models") / "tiny.gguf", format="q8_0")


def test_engines_run_in_turn_and_are_compared(path: Path) -> None:
    rival = Tortoise()
    with load(path, threads=1) as model:
        results, limits = benchmark(model, [16], [4], repetitions=2, rivals=[rival])
        characters = len(PARAGRAPH) / len(model.tokenizer.encode(PARAGRAPH, add_special=False))
    assert rival.asked == [(16, 0), (1, 4)] * 3  # a round that only warms up, then two
    assert [(result.engine, result.test) for result in results] == [
        (LUMEN, "pp16"), ("tortoise", "pp16"), (LUMEN, "tg4"), ("tortoise", "tg4"),
    ]  # fmt: skip
    ours, theirs = results[0], results[1]
    assert theirs.median == 0.5 and len(ours.samples) == 2
    assert ours.against == pytest.approx(ours.median / 0.5)
    assert theirs.against == pytest.approx(0.5 / ours.median)
    assert ours.characters == pytest.approx(ours.median * characters)
    assert theirs.characters == pytest.approx(0.5 * characters)
    work = file_work(path)
    share = ours.median * work.operations_per_token / limits.int8_operations_per_second
    assert ours.of_int8_peak == pytest.approx(share)


def test_an_unknown_engine_is_named(path: Path) -> None:
    with (
        load(path, threads=1) as model,
        pytest.raises(LumenError, match="known: llama"),
        rivals("abacus", model),
    ):
        pass
