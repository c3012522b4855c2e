"""docs/coverage.md: every installed format on every target, without a hole."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from lumen_core.engine.coverage import coverage
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse

REGISTRY = Registry.load()
PAGE = (Path(__file__).parents[3] / "docs" / "coverage.md").read_text(encoding="utf-8")
TABLE = [line.strip("| ").split(" | ") for line in PAGE.splitlines() if line.startswith("| ")]
BACKENDS = [entry.value for entry in REGISTRY.backends.values() if entry.value.systems]


def test_the_page_is_whole() -> None:
    head, _, *rows = TABLE
    assert set(head[1:]) == {target.name for backend in BACKENDS for target in backend.targets}
    assert {row[0] for row in rows} == set(REGISTRY.formats)
    assert {name for name, *cells in rows if set(cells) != {"all"}} == set()


def test_a_few_cells_are_true() -> None:
    forms = [analyse(REGISTRY.format(name)) for name in ("q4_0", "mxfp4", "f16")]
    for row in coverage(forms, [BACKENDS[0].targets[0], BACKENDS[-1].targets[-1]]):
        assert not row.missing, row


@pytest.mark.slow
def test_the_page_is_what_the_command_prints(lumen: Any) -> None:
    done = lumen("formats", "matrix", "--markdown")
    assert done.code == 0, done.err
    assert done.out == PAGE
