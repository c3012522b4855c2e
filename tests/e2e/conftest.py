"""A tiny model file, files that are wrong in one thing, and the program `lumen` run on them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest
from kit.program import Lumen, program_here

from lumen_core.engine.synth import synthesize
from lumen_core.weights.model_file import TensorPlan
from lumen_quant_gguf.container import open_file
from lumen_quant_gguf.writer import create

SIZES = {"layers": 1, "width": 64, "heads": 2, "kv_heads": 1, "head": 32, "hidden": 64, "context": 128}


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One layer, 30 KB."""
    return synthesize("llama-tiny", tmp_path_factory.mktemp("e2e") / "model.gguf", "q8_0", overrides=SIZES)


@pytest.fixture
def changed(model: Path, tmp_path: Path) -> Callable[..., Path]:
    """Return what writes the model with other metadata (None: without the key) and without some tensors."""

    def write(metadata: Mapping[str, object], without: tuple[str, ...] = ()) -> Path:
        path = tmp_path / "changed.gguf"
        with open_file(model) as file:
            table = dict(file.metadata.items())
            table |= metadata
            tensors = [tensor for tensor in file.tensors.values() if tensor.name not in without]
            plan = [TensorPlan(tensor.name, tensor.format, tensor.shape) for tensor in tensors]
            items = {key: _plain(value) for key, value in table.items() if value is not None}
            writer = create(path, items, plan)
            for tensor in tensors:
                writer.write(tensor.data)
            writer.close()
        return path

    return write


def _plain(value: object) -> object:
    if isinstance(value, np.ndarray):
        return value.copy()
    return value.tolist() if hasattr(value, "tolist") else value


@pytest.fixture
def lumen(capfd: pytest.CaptureFixture[str], cache: Path, monkeypatch: pytest.MonkeyPatch) -> Lumen:
    """Run a command in this process, with the real engine."""
    monkeypatch.setenv("LUMEN_CACHE_DIR", str(cache))
    monkeypatch.delenv("LUMEN_TRACEBACK", raising=False)
    return program_here(capfd)


@pytest.fixture
def program(cache: Path) -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run the program as a user does, in a process of its own; arguments may be bytes."""

    def run(*arguments: str | bytes, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "lumen_core.cli.main", *arguments]
        environment = {**os.environ, "LUMEN_CACHE_DIR": str(cache)}
        environment.pop("LUMEN_TRACEBACK", None)
        return subprocess.run(command, input=input, env=environment, capture_output=True, timeout=60)

    return run
