"""Tiny models and compiled objects, made once for all tests of the engine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from kit.engines import Engine

from lumen_core.engine.loading import load
from lumen_core.engine.model import Model
from lumen_core.engine.synth import synthesize
from lumen_core.plugins.registry import Registry


@pytest.fixture(scope="session")
def installed() -> Registry:
    return Registry.load()


@pytest.fixture(scope="session")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of compiled objects that the tests share."""
    return tmp_path_factory.mktemp("objects")


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory, installed: Registry) -> Callable[..., Path]:
    """Return the path of a synthetic model: shape, format and changes of the shape."""
    folder, made = tmp_path_factory.mktemp("models"), {}

    def path(shape: str, format: str, **overrides: Any) -> Path:
        key = (shape, format, *sorted(overrides.items()))
        if key not in made:
            file = folder / f"{len(made)}-{shape}-{format}.gguf"
            made[key] = synthesize(shape, file, format, overrides=overrides, registry=installed)
        return made[key]

    return path


@pytest.fixture
def engine(installed: Registry, objects: Path) -> Callable[..., Engine]:
    """Return what opens a model file by its parts."""
    return lambda path, **options: Engine(installed, path, objects, **options)


@pytest.fixture
def opened(installed: Registry, objects: Path) -> Callable[..., Model]:
    """Return `load` with the shared caches."""
    return lambda path, **options: load(path, **{"registry": installed, "cache": objects, **options})
