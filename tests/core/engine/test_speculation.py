"""Guessing ahead changes the speed and nothing else: the same tokens for any temperature and penalty."""

from __future__ import annotations

from pathlib import Path

import pytest

from lumen_core.engine.loading import load
from lumen_core.engine.speculation import Lookup
from lumen_core.engine.synth import synthesize
from lumen_core.errors import LumenError

PROMPT = list(range(50, 60)) * 3
SETTINGS = [
    {"temperature": 0},
    {"temperature": 0.9, "seed": 3},
    {"temperature": 0.8, "seed": 5, "repeat_penalty": 1.3},
]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize("qwen3-tiny", tmp_path_factory.mktemp("models") / "tiny.gguf", format="q4_k_m")


@pytest.mark.parametrize("settings", SETTINGS, ids=["greedy", "drawn", "penalized"])
def test_guesses_never_change_the_tokens(path: Path, settings: dict[str, float]) -> None:
    asked = {"max_tokens": 60, "ignore_end": True, **settings}
    with load(path, threads=2) as model, load(path, threads=1) as draft:
        wanted = model.generate(PROMPT, **asked).tokens
        for speculate in ("lookup", draft):
            model.reset()
            found = model.generate(PROMPT, speculate=speculate, **asked)
            assert found.tokens == wanted
        assert found.statistics.accepted_tokens > 0  # the draft is the model itself


def test_guesses_stop_at_the_end_of_the_context(path: Path) -> None:
    with load(path, context=40) as model:
        wanted = model.generate(PROMPT, max_tokens=None, temperature=0, ignore_end=True)
        model.reset()
        found = model.generate(PROMPT, max_tokens=None, temperature=0, ignore_end=True, speculate="lookup")
        assert found.tokens == wanted.tokens
        assert len(found.tokens) == 40 - len(PROMPT)
        assert found.finish_reason == "length"


def test_a_lookup_proposes_what_followed_the_longest_run() -> None:
    lookup = Lookup()
    assert lookup.propose([1, 2, 3], 4) == []
    assert lookup.propose([1, 2, 3, 9, 2, 3], 4) == [9, 2, 3, 9]  # what repeats may go on repeating
    assert lookup.propose([1, 2, 3, 9, 2, 3, 7, 1, 2, 3], 2) == [9, 2]


def test_other_vocabularies_cannot_draft(path: Path) -> None:
    with load(path) as model, load("demo") as other:
        with pytest.raises(LumenError, match="vocabulary"):
            model.generate(PROMPT, speculate=other)
        with pytest.raises(LumenError, match="lookup"):
            model.generate(PROMPT, speculate="guess")
