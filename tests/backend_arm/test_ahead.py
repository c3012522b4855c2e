"""Whole models compiled ahead of time for ARM give, under an emulator, the tokens that they give here."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from kit.emulator import EMULATOR, GCC, MISSING, PROCESSORS

from lumen_core.engine.ahead import compile_ahead
from lumen_core.engine.loading import load
from lumen_core.engine.synth import synthesize

pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}")

PROGRAM = Path(__file__).parents[1] / "kit" / "ahead_program.c"
COUNT = 16


def run_ahead(model: str, target: str, ids: list[int], folder: Path, threads: int = 1) -> list[int]:
    """Compile a model, link it with a small program and run that under the emulator."""
    compile_ahead(model, folder, target=target, context=256, threads=threads)
    program = folder / "program"
    objects = [str(path) for path in folder.glob("*.o")]
    options = [f"-DTHREADS={threads}", "-pthread"] if threads > 1 else []
    command = [GCC, "-O1", "-static", *options, f"-I{folder}", "-o", str(program), str(PROGRAM), *objects]
    subprocess.run(command, check=True)
    numbers = [str(COUNT), *map(str, ids)]
    command = [EMULATOR, "-cpu", PROCESSORS[target], str(program), str(folder / "model.image"), *numbers]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    return [int(line) for line in done.stdout.split()]


def run_here(model: str, ids: list[int]) -> list[int]:
    # by a target whose attention rounds no factors to bf16 either
    with load(model, context=256, threads=1, target="x86-avx2") as loaded:
        return list(loaded.generate(ids, max_tokens=COUNT, temperature=0, ignore_end=True).tokens)


@pytest.mark.parametrize("target", PROCESSORS)
def test_the_demo_model_says_the_same(target: str, tmp_path: Path) -> None:
    ids = [5, 300, 17, 900, 1234, 77, 4, 2050, 11, 12, 13, 14, 600, 700, 800, 900, 1000, 1100, 1200]
    wanted = run_here("demo", ids)
    assert run_ahead("demo", target, ids, tmp_path) == wanted
    if target == "arm-dotprod":
        assert run_ahead("demo", target, ids, tmp_path, threads=3) == wanted


@pytest.mark.parametrize(
    ("shape", "end"),
    [
        ("llama-tiny", 60),
        ("qwen2-tiny", 60),
        ("qwen3-tiny", 60),
        ("qwen3moe-tiny", 60),
        ("exaone4-tiny", 160),
    ],
)
def test_models_of_mixed_formats(shape: str, end: int, tmp_path: Path) -> None:
    path, ids = tmp_path / "model.gguf", list(range(3, end))
    synthesize(shape, path, format="q4_k_m", seed=1)
    found = run_ahead(str(path), "arm-dotprod", ids, tmp_path)
    with load(str(path), context=256, threads=1) as loaded:
        logits = loaded.logits([*ids, *found])[len(ids) - 1 : -1]
    # Random weights: rounding turns a close decision now and then, on two targets of x86 as well.
    behind = logits.max(axis=1) - logits[np.arange(COUNT), found]
    assert (behind > 0).sum() <= 2
    assert (behind <= 0.25 * logits.std(axis=1)).all()
