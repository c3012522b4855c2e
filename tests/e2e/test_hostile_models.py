"""T1 for the whole way: a model file with anything changed runs or is refused, in bounded memory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]


def run(model: Path, folder: Path, first: int, count: int) -> tuple[int, int]:
    """Run mutations; return how many ran and how many were refused."""
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "kit.hostile_models", str(model), str(folder), str(first), str(count)],
        env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=1200,
    )  # fmt: skip
    last = "\n".join(done.stderr.splitlines()[-3:])
    assert done.returncode == 0, f"ended with {done.returncode} at\n{last}"
    *findings, summary = done.stdout.strip().split("\n")
    assert not findings, "\n".join(findings[:60])
    words = summary.replace(",", "").split()
    return int(words[1]), int(words[3])


def test_mutations(model: Path, tmp_path: Path) -> None:
    ran, refused = run(model, tmp_path, 0, 60)
    assert ran > 5
    assert refused > 20


@pytest.mark.slow
def test_many_mutations(model: Path, tmp_path: Path) -> None:
    run(model, tmp_path, 1000, 3000)
