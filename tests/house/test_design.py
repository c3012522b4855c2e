"""The invariants of the design: who may import whom, what core may not know, how large a file may be."""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

import lumen_core
from lumen_core.dsl.parse import parse
from lumen_core.source import Source

ROOT = Path(__file__).parents[2]
PACKAGES = {folder.name: folder / folder.name.replace("-", "_") for folder in sorted(ROOT.glob("lumen-*"))}
CORE = PACKAGES["lumen-core"]

# A module of core imports only from its own folder and from rows below; the last row is one foundation.
ROWS = [
    {"cli"},
    {"engine"},
    {"plugins", "weights"},
    {"runtime"},
    {"codegen"},
    {"schedule"},
    {"passes"},
    {"lower"},
    {"quant"},
    {"dsl", "ir"},
    {"target"},
    {"types", "errors", "source", "text", ""},
]
ROW = {name: number for number, row in enumerate(ROWS) for name in row}

DISTRIBUTIONS = {"llama_cpp": "llama-cpp-python"}  # where a distribution is not named like its module

MACHINE_WORDS = re.compile(
    r"x86|\bavx|\bsse\d?\b|\bvnni|\bamx\b|\bvpdp|\b[xyz]mm\d*\b|\bneon\b|\bsve\d?\b|aarch64|\barm(v\d\w*|64)?\b"
    r"|\bcuda\b|\bptx\b|\bnvvm\b|\bintel\b|\bamd(64)?\b|\bzen\s?\d\b|\bepyc\b|\bxeon\b|\bllvm\.(?:aarch|nv)",
    re.IGNORECASE,
)
FORMAT_NAME = re.compile(r"^(i?q[1-8]_\w+|tq[12]_0|bf?16_?\d*)$", re.IGNORECASE)
DATA_OF_THE_DSL = tuple(f"lumen_core.dsl.{module}" for module in ("ast", "typed", "configuration"))
HEAVY = ["llvmlite", "tokenizers", "sentencepiece", "jinja2", "gguf", "huggingface_hub", "torch",
         "transformers", "cuda"]  # fmt: skip


def sources(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Give the full name of everything a module imports when it runs (not for type checking only)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            skipped.update(inner for part in node.body for inner in ast.walk(part))
    for node in ast.walk(tree):
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from ((name.name, node.lineno) for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            for name in node.names:
                yield f"{node.module}.{name.name}", node.lineno


def part_of_core(module: str) -> str:
    """Return the folder or file of core that a full name belongs to; "" is the package itself."""
    head = module.split(".")[1] if "." in module else ""
    return head if (CORE / head).is_dir() or (CORE / f"{head}.py").is_file() else ""


@pytest.mark.parametrize("path", sources(CORE), ids=lambda path: str(path.relative_to(CORE)))
def test_a_module_imports_only_from_rows_below(path: Path) -> None:
    own = path.relative_to(CORE).with_suffix("").parts[0]
    if own == "__init__":
        own = ""
    assert own in ROW, f"{own} has no row in the design"
    for module, line in imports(path):
        if module.split(".")[0] != "lumen_core":
            continue
        other = part_of_core(module)
        below = ROW[other] > ROW[own] or ROW[own] == len(ROWS) - 1 == ROW[other]
        assert other == own or below, f"{path}:{line}: {own} imports {module}, which is not below"


def test_packages_form_a_star_around_core() -> None:
    names = {folder.name for folder in PACKAGES.values()}
    for package, folder in PACKAGES.items():
        allowed = {folder.name, "lumen_core"}
        for path in sources(folder):
            for module, line in imports(path):
                root = module.split(".")[0]
                assert root not in names - allowed, f"{path}:{line}: {package} imports its sibling {root}"


@pytest.mark.parametrize(
    "path", [*sources(CORE), *sorted(CORE.rglob("*.lum"))], ids=lambda path: str(path.relative_to(CORE))
)
def test_core_knows_no_machine(path: Path) -> None:
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        found = MACHINE_WORDS.search(line)
        assert not found, f"{path}:{number}: core says {found.group()!r}: {line.strip()}"


def named_formats(path: Path) -> Iterator[str]:
    """Give the places where a module has the name of a quantization format as a string."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            element = node.value.lower() in ("f16", "bf16")  # these are element types too
            if FORMAT_NAME.match(node.value) and not element:
                yield f"{path}:{node.lineno}: names the format {node.value!r}"


def test_the_compiler_knows_no_format_by_name() -> None:
    for part in ("dsl", "ir", "quant", "lower", "passes", "schedule", "codegen", "runtime", "plugins"):
        assert [place for path in sources(CORE / part) for place in named_formats(path)] == []


@pytest.mark.parametrize("package", ["lumen-backend-x86", "lumen-models-korean"])
def test_backends_and_models_name_no_format(package: str) -> None:
    assert [place for path in sources(PACKAGES[package]) for place in named_formats(path)] == []


@pytest.mark.parametrize("package", ["lumen-quant-gguf", "lumen-models-korean"])
def test_formats_and_models_name_no_machine(package: str) -> None:
    for path in [*sources(PACKAGES[package]), *sorted(PACKAGES[package].rglob("*.lum"))]:
        found = MACHINE_WORDS.search(path.read_text(encoding="utf-8"))
        assert not found, f"{path} says {found.group()!r}"


def test_a_stage_does_not_call_the_one_before() -> None:
    """Each stage takes what it is given; the order stands in the engine alone."""
    stages = ["dsl", "lower", "passes", "schedule", "codegen"]
    for before, stage in itertools.pairwise(stages):
        for path in sources(CORE / stage):
            for module, line in imports(path):
                data = module.startswith(
                    ("lumen_core.dsl.ast", "lumen_core.dsl.typed", "lumen_core.dsl.conf")
                )
                called = module.startswith(f"lumen_core.{before}.") and not data
                assert not called, f"{path}:{line}: {stage} imports {module}"


def test_only_the_command_line_names_its_options() -> None:
    """An error of the library speaks of parameters (lumen_core/errors.py says how)."""
    named = []
    for path in chain.from_iterable(sources(folder) for folder in PACKAGES.values()):
        if CORE / "cli" not in path.parents:
            texts = (n.value for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant))
            named += [
                (path.name, t) for t in texts if isinstance(t, str) and re.search(r"(^|[ (`])--[a-z]", t)
            ]
    assert not named


def test_llvm_is_used_in_codegen_and_runtime_only() -> None:
    for folder in PACKAGES.values():
        for path in sources(folder):
            if path.relative_to(folder).parts[0] in ("codegen", "runtime") and folder == CORE:
                continue
            for module, line in imports(path):
                assert module.split(".")[0] != "llvmlite", f"{path}:{line}"


@pytest.mark.parametrize(
    "program",
    [
        "import lumen_core",
        "import lumen_core.cli.main",
        "from lumen_core.plugins.registry import Registry; Registry.load().check()",
    ],
)
def test_importing_and_discovering_load_nothing_heavy(program: str) -> None:
    report = f"{program}\nimport sys\nprint(*[name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_no_file_is_long() -> None:
    files = [path for folder in [*PACKAGES.values(), ROOT / "tests"] for path in sources(folder)]
    files += [path for folder in PACKAGES.values() for path in folder.rglob("*.lum")]
    long = {str(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {path: count for path, count in long.items() if count > 400} == {}


def test_every_module_says_what_it_is() -> None:
    silent = [
        str(path)
        for folder in PACKAGES.values()
        for path in sources(folder)
        if path.read_text(encoding="utf-8").strip()
        and not ast.get_docstring(ast.parse(path.read_text("utf-8")))
    ]
    assert silent == []


def test_each_format_is_declared_once_in_at_most_15_lines() -> None:
    """Of every package and of the example plugin; `pytest -s` prints the table."""
    seen: dict[str, tuple[str, int]] = {}
    for folder in [*PACKAGES.values(), ROOT / "tests/plugin_example"]:
        for path in sorted(folder.rglob("*.lum")):
            for declaration in parse(Source.read(path)).formats:
                name, lines = declaration.name, declaration.span.text.splitlines()
                assert name not in seen, f"{name}: {seen[name][0]} and {path}"
                seen[name] = str(path.relative_to(ROOT)), len([line for line in lines if line.strip()])
    print("\nlines of each format's declaration, tables aside:")
    for name, (where, count) in sorted(seen.items(), key=lambda item: (item[1][0], item[1][1], item[0])):
        print(f"{count:4}  {name:12} {where}")
    assert {name: count for name, (_, count) in seen.items() if count > 15} == {}
    assert {"q4_k", "gptq", "iq4_ks"} <= seen.keys()


def test_the_readme_names_every_format_and_architecture() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for path in PACKAGES["lumen-quant-gguf"].rglob("*.lum"):
        for declaration in parse(Source.read(path)).formats:
            assert re.search(rf"\b{declaration.name.upper()}\b", readme), declaration.name
    for path in PACKAGES["lumen-models-korean"].glob("*.lum"):
        for declaration in parse(Source.read(path)).models:
            assert f"`{declaration.name}`" in readme


def test_links_between_documents_lead_somewhere() -> None:
    for document in [*ROOT.glob("*.md"), *ROOT.glob("*/*.md"), *ROOT.glob("tests/**/*.md")]:
        for link in re.findall(r"\]\(([^)#]+)\)", document.read_text(encoding="utf-8")):
            assert "://" in link or (document.parent / link).exists(), f"{document}: {link}"


def project(package: str) -> dict[str, object]:
    return tomllib.loads((ROOT / package / "pyproject.toml").read_text())["project"]


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_declares_exactly_what_it_imports(package: str) -> None:
    folder = PACKAGES[package]
    used = {
        module.split(".")[0] for path in sources(folder) for module, _ in imports(path)
    } - sys.stdlib_module_names  # fmt: skip
    used = {DISTRIBUTIONS.get(name, name.replace("_", "-")) for name in used - {folder.name}}
    facts = project(package)
    items = [*facts["dependencies"], *chain(*facts.get("optional-dependencies", {}).values())]  # type: ignore[misc,attr-defined]
    assert used == {re.split(r"[<>=~! ]", item)[0] for item in items}


@pytest.mark.parametrize("package", PACKAGES)
def test_packages_agree(package: str) -> None:
    facts = project(package)
    assert facts["name"] == package
    assert facts["version"] == lumen_core.__version__
    assert facts["license"] == "Apache-2.0"
    assert facts["requires-python"] == ">=3.11"
    assert (ROOT / package / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()
    assert (ROOT / package / "README.md").is_file()
    assert (PACKAGES[package] / "py.typed").is_file()
