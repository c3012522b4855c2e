"""The program `lumen` run in this process."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from lumen_core.cli.main import main

Lumen = Callable[..., SimpleNamespace]


def program_here(capfd: pytest.CaptureFixture[str]) -> Lumen:
    """Return a function that runs a command and gives its exit code and what it printed."""

    def run(*arguments: str) -> SimpleNamespace:
        try:
            code = main(list(arguments))
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
        out, err = capfd.readouterr()
        return SimpleNamespace(code=code, out=out, err=err)

    return run
