"""The printed syntax tree and the printed typed tree of the files in `printed/` and `typed/`."""

from __future__ import annotations

from pathlib import Path

import pytest

from lumen_core.dsl import load_text, parse
from lumen_core.dsl.printer import print_module
from lumen_core.dsl.typed_printer import print_typed
from lumen_core.source import Source

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[2]
PRINTED = sorted((FOLDER / "printed").glob("*.lum"))
TYPED = sorted((FOLDER / "typed").glob("*.lum"))
SHIPPED = sorted(ROOT.glob("lumen-*/lumen_*/**/*.lum"))


@pytest.mark.parametrize("path", PRINTED, ids=lambda path: path.stem)
def test_printed(path, golden):
    def printed(text: str) -> str:
        tree = parse(Source(path.name, text))
        result = print_module(tree)
        assert tree == parse(Source("printed", result))
        return result

    golden(path, "printed", printed)


@pytest.mark.parametrize("path", TYPED, ids=lambda path: path.stem)
def test_typed(path, golden):
    golden(path, "typed", lambda text: print_typed(load_text(text, path.name)))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_files_print_back(path):
    tree = parse(Source.read(path))
    assert tree == parse(Source("printed", print_module(tree)))


def test_there_are_files():
    assert {"standard", "llama", "qwen2", "qwen3"} <= {path.stem for path in SHIPPED}
