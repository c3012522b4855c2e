"""Discovery with real distributions on disk: good, broken and colliding ones."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from importlib.metadata import EntryPoint, distributions
from pathlib import Path

import pytest

from lumen_core.engine.targets import choose_target
from lumen_core.errors import (
    ModelError,
    ModelFormatError,
    PluginError,
    SourceError,
    TargetError,
    UnsupportedFormatError,
)
from lumen_core.plugins import hookspecs
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse

HEAD = """
    from pathlib import Path
    from lumen_core.plugins.hookspecs import hookimpl
    from lumen_core.plugins.sources import FormatSource, ModelSource
    from lumen_core.target import Backend
    HERE = Path(__file__).parent
"""
BACKEND = """
    @hookimpl
    def lumen_backends():
        return [Backend("far", ("far64",), ())]
"""
FORMATS = """
    @hookimpl
    def lumen_formats():
        return [FormatSource(HERE / "{name}.lum")]
"""
MODEL = """
    @hookimpl
    def lumen_models():
        return [ModelSource("{name}", HERE / "{name}.lum", ("{architecture}",))]
"""
GOOD_FORMAT = "format {name} : block 32 {{ d: f16  qs: u8[16]  value = d * bits(qs, 4, run=16) }}\n"

Install = Callable[..., list[EntryPoint]]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """Return a function that installs a distribution and gives the entry points of all installed so far."""
    monkeypatch.syspath_prepend(tmp_path)

    def do(name: str, body: str, files: dict[str, str] | None = None) -> list[EntryPoint]:
        module = name.replace("-", "_")
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(HEAD) + textwrap.dedent(body))
        for file, text in (files or {}).items():
            (tmp_path / file).write_text(text)
        info = tmp_path / f"{module}-1.5.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
        (info / "entry_points.txt").write_text(f"[lumen]\n{module} = {module}\n")
        found = [point for dist in distributions(path=[str(tmp_path)]) for point in dist.entry_points]
        monkeypatch.setattr("sys.dont_write_bytecode", True)
        return found

    yield do
    for module in [module for module in sys.modules if module.startswith("trial_")]:
        del sys.modules[module]


def test_hooks_give_data_with_their_distribution(install: Install) -> None:
    found = install("trial-one", BACKEND)
    registry = Registry.load(found=found)
    assert registry.backends["far"].distribution == "trial-one"
    assert registry.plugins[0].version == "1.5"
    assert registry.check() == []


@pytest.mark.parametrize(
    ("body", "place", "message"),
    [
        ("import no_such_module", "entry point", "no_such_module"),
        ("raise SystemExit(3)", "entry point", "SystemExit"),
        ("@hookimpl\ndef lumen_backends(): raise RuntimeError('no luck')", "hook lumen_backends", "no luck"),
        ("@hookimpl\ndef lumen_backends(): return 5", "hook lumen_backends", "must return a list, not int"),
        ("@hookimpl\ndef lumen_backends(): return ['x']", "hook lumen_backends", "Backends, not str"),
        ("@hookimpl\ndef lumen_readers(): return ['x']", "hook lumen_readers", "Readers, not str"),
        ("@hookimpl\ndef lumen_commands(): return [print]", "hook lumen_commands", "typer.Typer"),
        ("@hookimpl\ndef lumen_cakes(): return []", "hook lumen_cakes", "no such hook"),
        ("@hookimpl\ndef lumen_models(cli): return []", "entry point", "cli"),
        ("@hookimpl\ndef lumen_formats(): return [FormatSource(HERE / 'no.lum')]", "no.lum", "no such file"),
    ],
)  # fmt: skip
def test_a_broken_plugin_is_a_problem_and_breaks_nothing(
    install: Install, body: str, place: str, message: str
) -> None:
    install("trial-good", BACKEND)
    found = install("trial-bad", textwrap.dedent(body))
    registry = Registry.load(found=found)
    problems = registry.check()
    assert list(registry.backends) == ["far"]
    assert [problem.distribution for problem in problems] == ["trial-bad"]
    assert place in problems[0].place
    assert message in problems[0].error


def test_two_owners_of_a_name_are_named(install: Install) -> None:
    install("trial-one", BACKEND)
    found = install("trial-two", BACKEND)
    with pytest.raises(PluginError, match=r"backend `far`.*trial-one.*trial-two"):
        _ = Registry.load(found=found).backends
    lenient = Registry.load(strict=False, found=found)
    assert lenient.backends["far"].distribution == "trial-one"
    assert "trial-one" in str(lenient.problems[0])


def test_a_format_declared_twice_is_refused(install: Install) -> None:
    text = GOOD_FORMAT.format(name="q_twice")
    install("trial-one", FORMATS.format(name="one"), {"one.lum": text})
    found = install("trial-two", FORMATS.format(name="two"), {"two.lum": text})
    with pytest.raises(PluginError, match=r"format `q_twice`.*trial-one.*trial-two"):
        _ = Registry.load(found=found).formats


def test_an_architecture_claimed_twice_is_refused(install: Install) -> None:
    install("trial-one", MODEL.format(name="one", architecture="same"))
    found = install("trial-two", MODEL.format(name="two", architecture="same"))
    with pytest.raises(PluginError, match="architecture `same`"):
        Registry.load(found=found).model("same")


def test_an_error_in_one_formats_file_leaves_the_others(install: Install) -> None:
    install("trial-bad", FORMATS.format(name="bad"), {"bad.lum": "format broken : block {\n"})
    found = install(
        "trial-good", FORMATS.format(name="good"), {"good.lum": GOOD_FORMAT.format(name="q_good")}
    )
    registry = Registry.load(found=found)
    assert registry.format("q_good").block == 32
    assert registry.problems[0].distribution == "trial-bad"
    assert "bad.lum:1:" in registry.problems[0].error
    with pytest.raises(UnsupportedFormatError, match=r"(?s)q_none.*known: q_good.*trial-bad"):
        registry.format("q_none")


def test_missing_things_name_what_is_known(install: Install) -> None:
    registry = Registry.load(found=install("trial-one", MODEL.format(name="one", architecture="first")))
    with pytest.raises(ModelError, match=r"(?s)`second`.*known: first"):
        registry.model("second")
    with pytest.raises(ModelFormatError, match="no such file"):
        registry.reader(Path("nowhere.bin"))
    with pytest.raises(ModelFormatError, match="directory"):
        registry.reader(Path.cwd())
    with pytest.raises(ModelFormatError, match="reads this kind of file"):
        registry.reader(Path(__file__))


def test_discovery_can_be_restricted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUMEN_PLUGINS", "Lumen_Quant.GGUF")
    assert [plugin.distribution for plugin in Registry.load().plugins] == ["lumen-quant-gguf"]


def test_a_restriction_to_what_is_not_installed_is_a_problem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LUMEN_PLUGINS", "lumen-quant-gguf, lumen-backend-abacus,")
    registry = Registry.load()
    assert [problem.distribution for problem in registry.problems] == ["lumen-backend-abacus"]
    with pytest.raises(TargetError, match=r"(?s)known: none.*lumen-backend-abacus: LUMEN_PLUGINS: no plugin"):
        choose_target(registry, None)


def test_the_example_plugin_brings_one_of_each() -> None:
    registry = Registry.load()
    assert registry.backends["example"].distribution == "lumen-plugin-example"
    assert registry.formats["example_q4"].value.block == 64
    assert registry.model("example-bag").name == "example_bag"
    assert registry.definition("example_bag").name == "example_bag"
    assert "hello" in registry.commands


def test_the_installed_packages_have_no_problems() -> None:
    assert Registry.load().check() == []


def test_every_hook_is_documented_and_tested() -> None:
    hooks = [name for name in vars(hookspecs) if name.startswith("lumen_")]
    example = Path(__file__).parents[2] / "plugin_example" / "lumen_plugin_example" / "plugin.py"
    tested = example.read_text() + Path(__file__).read_text()
    for name in hooks:
        assert getattr(hookspecs, name).__doc__
        assert name in tested


def test_the_command_line_reports_a_broken_plugin_and_goes_on(install: Install, tmp_path: Path) -> None:
    install("trial-bad", "import no_such_module")
    done = subprocess.run(
        [sys.executable, "-m", "lumen_core.cli.main", "plugins", "list"],
        env={"PYTHONPATH": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "problem: trial-bad: entry point trial_bad: ModuleNotFoundError" in done.stdout
    assert "lumen-backend-x86" in done.stdout


def test_a_shipped_name_wins_over_a_path_of_that_name(
    install: Install, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a checkout of Lumen a folder is named `demo`; `./demo` still says the path."""
    body = """
        @hookimpl
        def lumen_models():
            return [ModelSource("m", HERE / "m.lum", ("m",), files={"demo": HERE / "weights.bin"})]
    """
    registry = Registry.load(found=install("shipper", body))
    (tmp_path / "demo").mkdir()
    monkeypatch.chdir(tmp_path)
    assert registry.file("demo") == tmp_path / "weights.bin"
    assert registry.file("./demo") == Path("demo") == registry.file(Path("demo"))


@pytest.mark.parametrize(
    "name",
    ["gptq_f16_4", "gptq_f16_4_128_9", "gptq_f16_4_128+x", "gptq__4_128", "nvfp4+d", "q4_0+scale", "", "+"],
)
def test_names_that_no_family_has(name: str) -> None:
    with pytest.raises(UnsupportedFormatError):
        Registry.load().format(name)


@pytest.mark.parametrize(
    "name",
    [
        "gptq_f16_\u00b2_128",
        "gptq_f16_4_" + "9" * 5000,
        "gptq_f16_0_32",
        "gptq_f16_64_32",
        "gptq_x_4_32",
        "gptq_f16_4_48",
    ],
)
def test_formats_of_a_family_that_cannot_be(name: str) -> None:
    with pytest.raises(SourceError):
        analyse(Registry.load().format(name))
