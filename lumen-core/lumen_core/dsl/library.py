"""Files of the language: the standard library, and loading a `.lum` file whole."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cache
from pathlib import Path

from lumen_core.dsl import ast
from lumen_core.dsl.check import check_sound
from lumen_core.dsl.derive import derived
from lumen_core.dsl.parse import parse, parse_sound
from lumen_core.dsl.typed import TypedModule
from lumen_core.source import Diagnostics, Source

STANDARD = Path(__file__).with_name("standard.lum")


@cache
def standard_library() -> ast.Module:
    return parse(Source("standard.lum", STANDARD.read_text(encoding="utf-8")))


def load(path: str | Path, formats: Collection[str] = (), folders: Sequence[Path] = ()) -> TypedModule:
    """Read, parse and check a file; raises SourceError with every finding, OSError if there is no file.

    The base and the parts of a `model x like y with z` are looked for in `y.lum` and `z.lum`, beside the file
    and then in the other `folders`.
    """
    return _load(Source.read(path), formats, (Path(path).parent, *folders))


def whole(module: ast.Module, folders: Sequence[Path]) -> ast.Module:
    """Return the module with its `model x like y` spelt out; raises SourceError."""
    diagnostics = Diagnostics()
    spelt = derived(module, lambda name: _page(name, folders), diagnostics)
    diagnostics.raise_if_any()
    return spelt


def _page(name: str, folders: Sequence[Path]) -> ast.Module | None:
    paths = (folder / f"{name}.lum" for folder in folders)
    return next((parse(Source.read(path)) for path in paths if path.is_file()), None)


def load_text(text: str, name: str = "<text>", formats: Collection[str] = ()) -> TypedModule:
    """Parse and check a text, such as the meaning of an instruction."""
    return _load(Source(name, text), formats)


def _load(source: Source, formats: Collection[str], folders: Sequence[Path] = ()) -> TypedModule:
    """Parse and check: a syntax error in one item does not hide a type error in another."""
    diagnostics = Diagnostics()
    module, broken = parse_sound(source, diagnostics)
    module = derived(module, lambda name: _page(name, folders), diagnostics)
    typed = check_sound(module, standard_library(), formats, broken, diagnostics)
    diagnostics.raise_if_any()
    return typed
