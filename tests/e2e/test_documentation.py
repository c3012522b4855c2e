"""What the documents print is true: commands have these options, examples run as they stand."""

from __future__ import annotations

import importlib.util
import re
import shlex
import shutil
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
import typer

from lumen_core.cli.main import app
from lumen_core.dsl.parse import parse
from lumen_core.dsl.printer import print_item
from lumen_core.engine.synth import synthesize
from lumen_core.plugins.registry import Registry
from lumen_core.source import Source

from .conftest import SIZES

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")), *sorted(ROOT.glob("lumen-*/README.md"))]
FORMATS = ROOT / "docs" / "formats.md"


def blocks(document: Path, language: str) -> list[str]:
    """The fenced blocks of a document in a language; "": those that name none."""
    text = document.read_text("utf-8")
    found = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    return [block for name, block in found if name == language]


def commands(document: Path) -> list[list[str]]:
    """The arguments of every `lumen` in a document's blocks."""
    lines = [shlex.split(line, comments=True) for line in "".join(blocks(document, "sh")).splitlines()]
    return [line[1:] for line in lines if line[:1] == ["lumen"]]


SHOWN = [(document.name, line) for document in DOCUMENTS for line in commands(document)]


@pytest.mark.parametrize(("document", "line"), SHOWN, ids=[" ".join(line) for _, line in SHOWN])
def test_a_command_takes_what_it_is_shown_with(document: str, line: list[str]) -> None:
    if line == ["--help"]:
        return
    command: Any = typer.main.get_command(app)
    while hasattr(command, "get_command"):
        name, *line = line
        command = command.get_command(command.context_class(command), name)
        assert command is not None, f"{document}: there is no command {name}"
    command.make_context("lumen", line)  # raises where an option or an argument is not one of the command's


def test_commands_of_the_readme(lumen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that need nothing but a file, on a tiny one."""
    monkeypatch.chdir(tmp_path)
    synthesize("llama-tiny", tmp_path / "model.gguf", "q8_0", overrides=SIZES)
    synthesize("llama-tiny", tmp_path / "f16.gguf", "f16", overrides=SIZES)
    wanted = ("run model.gguf", "quantize", "pack", "inspect", "formats show", "show", "--help")
    lines = [line for line in commands(ROOT / "README.md") if " ".join(line).startswith(wanted)]
    lines = [
        line for line in lines if "--chat" not in line and "--tools" not in line
    ]  # it has no chat format
    assert {line[0] for line in lines} >= {"run", "quantize", "pack", "inspect", "formats", "show"}
    for line in lines:
        done = lumen(*line)
        assert done.code == 0, done.err
    assert {"small.gguf", "packed.gguf"} <= {path.name for path in tmp_path.iterdir()}


def test_python_of_the_readme(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LUMEN_CACHE_DIR", str(cache))
    demo = files("lumen_models_korean").joinpath("demo/demo.gguf")
    Path("model.gguf").write_bytes(demo.read_bytes())
    (code,) = blocks(ROOT / "README.md", "python")
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    assert len(capsys.readouterr().out.splitlines()) >= 3
    assert names["logits"].shape == (3, 4096)
    assert names["ids"] and isinstance(names["answer"].text, str)


def test_the_format_of_the_readme_is_the_one_that_is_installed() -> None:
    text = next(block for block in blocks(ROOT / "README.md", "") if block.startswith("format q4_k"))
    (declaration,) = parse(Source("README.md", text)).formats
    assert print_item(declaration) == print_item(Registry.load().format("q4_k"))


def test_a_format_becomes_a_package_as_described(
    lumen, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (declaration,) = [block for block in blocks(FORMATS, "") if block.startswith("format")]
    (module,), (project,) = blocks(FORMATS, "python"), blocks(FORMATS, "toml")
    Path("formats.lum").write_text(declaration, encoding="utf-8")
    for line in commands(FORMATS):
        if line[-1] == "kernel" or line == ["formats", "show", "formats.lum"]:
            assert lumen(*line).code == 0
    (name,) = tomllib.loads(project)["project"]["entry-points"]["lumen"].values()
    folder = tmp_path / name
    folder.mkdir()
    shutil.copy("formats.lum", folder)
    (folder / "__init__.py").write_text(module, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, folder / "__init__.py")
    assert spec is not None and spec.loader is not None
    plugin = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(plugin)
    (source,) = plugin.lumen_formats()
    (found,) = parse(Source.read(source.path)).formats
    assert print_item(found) == print_item(parse(Source("formats.lum", declaration)).formats[0])
