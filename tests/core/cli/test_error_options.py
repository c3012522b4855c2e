"""Errors of the library name its parameters; a command names its options in their place."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lumen_core.cli.options import in_options
from lumen_core.errors import LumenError


def test_an_error_of_the_library_names_options(lumen: Any, tmp_path: Any) -> None:
    """It names parameters in backquotes; a command puts its own option there if it has one."""
    path = tmp_path / "out.gguf"
    path.write_bytes(b"mine")
    assert "or give --force" in lumen("convert", "demo", str(path)).err
    assert "try --at fused" in lumen("show", "standard", "--at", "llvm").err
    error = LumenError("`context`, or `beam`")
    parameters = [
        SimpleNamespace(name="context", opts=["-c", "--ctx-size"]),
        SimpleNamespace(name="beam", opts=["beam"]),
    ]
    assert in_options(error, parameters) == "--ctx-size, or `beam`"


def test_names_of_a_page_are_no_options(tmp_path: Path, lumen: Any) -> None:
    path = tmp_path / "mine.lum"
    path.write_text("format mine : block 32 { q: i8[32]  d: f16  value = d * q * target }")
    done = lumen("formats", "show", str(path))
    assert done.code == 1
    assert "unknown name `target`" in done.err
    done = lumen("show", str(path), "--at", "kernel")
    assert done.code == 1
    assert "unknown name `target`" in done.err
