"""Switches and fixtures of the whole suite: `--bless`, `--slow` and `golden`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings
from kit.golden import compare

# A machine may be busy or paused: how long an example takes says nothing.
settings.register_profile("lumen", deadline=None)
settings.load_profile("lumen")

Golden = Callable[[Path, str, Callable[[str], str]], None]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--bless", action="store_true", help="rewrite golden files with what was found")
    parser.addoption("--slow", action="store_true", help="run the tests that take more than a few seconds")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    for item in items:
        if item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run with --slow"))


@pytest.fixture
def golden(request: pytest.FixtureRequest) -> Golden:
    """Return the check of a golden file: path, title of its expected part, and what makes the text."""
    bless = bool(request.config.getoption("--bless"))
    return lambda path, title, produce: compare(path, title, produce, bless)
