"""Every file of `errors/` gives the report at its bottom: all errors, each with line and caret."""

from __future__ import annotations

from pathlib import Path

import pytest

from lumen_core.dsl import load_text
from lumen_core.errors import SourceError

FILES = sorted((Path(__file__).parent / "errors").glob("*.lum"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_report(path, golden):
    def report(text: str) -> str:
        with pytest.raises(SourceError) as caught:
            load_text(text, path.name)
        assert caught.value.diagnostics
        return str(caught.value)

    golden(path, "report", report)
