"""What `lumen formats check` prints: findings, quality and speed of the formats of a file."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lumen_core.cli.output import note, print_json, print_table
from lumen_core.errors import LumenError, SourceError, TargetError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lumen_core.dsl import ast
    from lumen_core.engine.coverage import Row
    from lumen_core.plugins.collect import Entry
    from lumen_core.plugins.registry import Registry
    from lumen_core.quant.normal_form import NormalForm
    from lumen_core.target import Target

_COVERAGE = """# What is derived for every format

Made by `lumen formats matrix --markdown`, which builds every kernel of every installed format for every
target of the installed backends. "all" is {uses}
(keys and values, of heads that the blocks divide).

{table}
"""


def checked(file: str, registry: Registry, target: str | None, speed: bool, json: bool) -> bool:
    """Check every format of a file (or one that is installed); return whether all is well."""
    from lumen_core.quant.analyse import analyse_all

    declarations = [entry.value for entry in declared(file, registry)]
    forms = analyse_all(declarations)
    targets = _targets(registry, target)
    others = [] if target else _others(registry, targets)
    installed = _installed(registry)
    reports = [
        _report(item, form, targets, others, installed, speed)
        for item, form in zip(declarations, forms, strict=True)
    ]
    for item in declarations:
        if Path(file).is_file() and item.name in registry.formats:
            owner = registry.formats[item.name].distribution
            note(
                f"{owner} has a format {item.name} too; a package with another one would be refused beside it"
            )
    if json:
        print_json(reports)
    else:
        for report in reports:
            _print(report)
    good = all(finding["passed"] for report in reports for finding in report["findings"])
    failed = sum(not finding["passed"] for report in reports for finding in report["findings"])
    note("every test passed" if good else f"{failed} tests failed")
    return good


def declared(file: str, registry: Registry) -> list[Entry[ast.Format]]:
    """The formats of a `.lum` file, or the installed one of that name."""
    from lumen_core.dsl.parse import parse
    from lumen_core.plugins.collect import Entry
    from lumen_core.source import Source

    path = Path(file)
    if not path.is_file() and path.suffix != ".lum":
        return [registry.format_entry(file)]
    found = parse(Source.read(path)).formats
    if not found:
        raise LumenError(f"{file} declares no format")
    alone = [Entry(item, "not installed", path) for item in found if not item.generics]
    if families := ["_".join([item.name, *item.generics]) for item in found if item.generics]:
        message = f"formats of a family go by name once it is installed: {', '.join(families)}"
        if not alone:
            raise LumenError(f"{file} declares only families; {message}")
        note(message)
    return alone


def _targets(registry: Registry, name: str | None) -> list[Target]:
    """The named target, or the machine's own: every one it runs, of every backend."""
    import platform

    from lumen_core.codegen.objects import host_features
    from lumen_core.engine.targets import choose_target

    if name is not None:
        return [choose_target(registry, name)]
    features, machine = host_features(), platform.machine()
    found = [t for entry in registry.backends.values() for t in entry.value.usable(machine, features)]
    if not found:
        raise TargetError(f"no installed backend runs on this machine ({machine})")
    return found


def _others(registry: Registry, targets: Sequence[Target]) -> list[Target]:
    """The targets of installed backends that this machine does not run."""
    backends = [entry.value for entry in registry.backends.values() if entry.value.systems]
    return [target for backend in backends for target in backend.targets if target not in targets]


def _installed(registry: Registry) -> dict[str, NormalForm]:
    from lumen_core.quant.analyse import analyse

    found = {}
    for name, entry in registry.formats.items():
        try:
            found[name] = analyse(entry.value)
        except SourceError:
            continue  # another's mistake: `lumen formats check NAME` says what it is
    return found


def _report(
    declaration: ast.Format,
    form: NormalForm,
    targets: list[Target],
    others: list[Target],
    installed: dict[str, NormalForm],
    speed: bool,
) -> dict[str, Any]:
    from lumen_core.engine import format_check, format_quality

    findings = [asdict(finding) for finding in format_check.check(declaration, form, targets, others)]
    forms = [form, *format_quality.neighbours(form, installed)]
    report: dict[str, Any] = {
        "name": form.name,
        "findings": findings,
        "quality": [asdict(format_quality.quality(item, targets[0])) for item in forms],
        "target": targets[0].name,
    }
    if speed:
        report["speed"] = [asdict(format_quality.speed(item, targets[0])) for item in forms]
    return report


def _print(report: dict[str, Any]) -> None:
    rows = [
        ("ok" if item["passed"] else "FAILED", item["test"], item["detail"]) for item in report["findings"]
    ]
    print_table(["", "test", "what was found"], rows, title=f"format {report['name']}")
    print_table(
        ["format", ">bits/weight", ">Gaussian", ">Student-t(3)", ">quantizes"],
        [
            (item["name"], f"{item['bits_per_weight']:.4g}", _number(item["gaussian"]),
             _number(item["heavy_tailed"]), _number(item["encode_speed"], ".1f", " M/s"))
            for item in report["quality"]
        ],
        title="relative error of quantized weights",
    )  # fmt: skip
    if "speed" in report:
        print_table(
            ["format", ">GEMV", ">of bandwidth", ">GEMM", ">of int8 peak"],
            [
                (item["name"], f"{item['gemv_bytes_per_second'] / 1e9:.1f} GB/s",
                 f"{100 * item['of_bandwidth']:.0f} %",
                 f"{item['gemm_operations_per_second'] / 1e9:.0f} GOPS",
                 f"{100 * item['of_int8_peak']:.0f} %")
                for item in report["speed"]
            ],
            title=f"one thread, {report['target']}",
        )  # fmt: skip


def _number(value: float | None, form: str = ".5f", unit: str = "") -> str:
    return "none" if value is None else f"{value:{form}}{unit}"


def coverage_page(rows: Sequence[Row]) -> str:
    """The coverage matrix as a page: formats down, targets across; reasons below."""
    from lumen_core.engine.coverage import USES

    targets = list(dict.fromkeys(row.target for row in rows))
    lines = [f"| format | {' | '.join(targets)} |", "| --- " * (len(targets) + 1) + "|"]
    reasons: dict[str, dict[str, None]] = {}
    for name in dict.fromkeys(row.format for row in rows):
        cells = []
        for row in (row for row in rows if row.format == name):
            cells.append(f"all but {', '.join(row.missing)}" if row.missing else "all")
            for use, reason in row.missing.items():
                reason = reason.replace(name, "the format").removeprefix("the format: ")
                reasons.setdefault(f"{use}: {reason}", {})[name] = None
        lines.append(f"| {name} | {' | '.join(cells)} |")
    missing = [f"- {reason}\n  ({', '.join(names)})\n" for reason, names in reasons.items()]
    page = _COVERAGE.format(uses=", ".join(USES), table="\n".join(lines))
    return page + "".join(["\nNot derived:\n\n", *missing]) * bool(missing)
