"""Random models in f32, written as upstream converters do: our logits are those that `transformers` gave."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from kit.engines import Engine, oracle

import lumen_core as lumen
from lumen_core.ir.operations.values import DTYPES
from lumen_core.plugins.registry import Registry

sys.path.insert(0, str(Path(__file__).parent))

from random_models import CASES, PROMPT, RECORDED, TOKENS, Case, write  # (no package)


@pytest.fixture(scope="module")
def recorded() -> dict[str, np.ndarray]:
    return dict(np.load(Path(__file__).parent / "data" / "random_models.npz"))


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("objects")


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_logits(case: Case, recorded: dict[str, np.ndarray], objects: Path, tmp_path: Path) -> None:
    expected = recorded[case.name]
    path = write(case, tmp_path / "model.gguf")
    assert path.stat().st_size < 600_000
    with lumen.load(path, threads=2, cache=objects) as model:
        found = model.logits(PROMPT.tolist())[RECORDED]
        assert found.shape == expected.shape == (len(RECORDED), TOKENS)
        error = np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
        assert error.max() < 1e-3, error  # what is left is the cache's: it holds f16
        np.testing.assert_array_equal(found.argmax(axis=-1), expected.argmax(axis=-1))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_logits_without_the_rounding_of_the_cache(
    case: Case,
    recorded: dict[str, np.ndarray],
    objects: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The interpreter with a cache of f32 is a hundred times closer: the pages are right."""
    with Engine(Registry.load(), write(case, tmp_path / "model.gguf"), objects, context=128) as engine:
        monkeypatch.setitem(DTYPES, "f16", np.dtype(np.float32))
        found = oracle(engine.session).step(PROMPT.tolist())[RECORDED]
    expected = recorded[case.name]
    error = np.linalg.norm(found - expected, axis=-1) / np.linalg.norm(expected, axis=-1)
    assert error.max() < 1e-5, error


def test_the_cases_differ(recorded: dict[str, np.ndarray]) -> None:
    """What a case adds (scaling, another head length) changes the numbers by far more than the tolerance."""
    tables = list(recorded.values())
    for number, table in enumerate(tables):
        for other in tables[:number]:
            assert np.abs(table - other).max() > 0.1 * np.abs(table).max()
