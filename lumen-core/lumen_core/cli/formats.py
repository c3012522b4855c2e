"""`lumen formats`: the quantization formats that are installed."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from lumen_core.cli import options
from lumen_core.cli.output import note, print_facts, print_json, print_table
from lumen_core.errors import LumenError

if TYPE_CHECKING:
    from lumen_core.dsl import ast
    from lumen_core.plugins.collect import Entry
    from lumen_core.quant.normal_form import NormalForm
    from lumen_core.target import Target

app = typer.Typer(
    name="formats", help="Quantization formats, each one declaration in a `.lum` file.", no_args_is_help=True
)


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List the formats with their sizes."""
    from lumen_core.plugins.registry import Registry

    registry = Registry.load()
    rows = []
    for _, entry in sorted(registry.formats.items()):
        try:
            rows.append(_facts(entry))
        except LumenError as error:  # one package's mistake hides no other's formats
            note(f"warning: {error}")
    for problem in registry.problems:
        note(f"warning: {problem}")
    if json:
        print_json(rows)
        return
    print_table(
        ["format", ">block", ">bytes", ">bits/weight", "package"],
        [
            (row["name"], row["block"], row["block_bytes"], f"{row['bits_per_weight']:.4g}", row["package"])
            for row in rows
        ]
        + [
            (f"{name}[{', '.join(entry.value.generics)}]", entry.value.block, "", "", entry.distribution)
            for name, entry in sorted(registry.declarations.items())
            if entry.value.generics
        ],
    )


@app.command(epilog="Example:\n\n  lumen formats show q4_k\n  lumen formats show my_format.lum")
def show(
    file: Annotated[str, typer.Argument(help="An installed format, or a `.lum` file with declarations.")],
    target: options.TargetName = None,
    json: options.Json = False,
) -> None:
    """Show a format's declaration and what the compiler derives from it.

    That is a picture of the block, its normal form (each weight as codes, scales and offsets, with the
    place of every bit), how the target's kernels want it packed, and the instructions of the innermost
    loop of the product with one vector.
    """
    from lumen_core.cli.format_report import declared
    from lumen_core.engine.targets import choose_target
    from lumen_core.errors import TargetError
    from lumen_core.plugins.registry import Registry
    from lumen_core.quant.analyse import analyse_all

    registry = Registry.load()
    entries = declared(file, registry)
    forms = analyse_all(entry.value for entry in entries)
    try:
        chosen = choose_target(registry, target)
    except TargetError:
        if target:
            raise
        chosen = None  # no backend for this machine: there is no packed form to show
    pairs = list(zip(entries, forms, strict=True))
    if json:
        shown = [_derived(entry, form, chosen) for entry, form in pairs]
        print_json(shown if file.endswith(".lum") else shown[0])
        return
    for number, (entry, form) in enumerate(pairs):
        print("\n" * (number > 0), end="")
        _print(entry, form, chosen)


def _derived(entry: Entry[ast.Format], form: NormalForm, target: Target | None) -> dict[str, object]:
    from lumen_core.quant.describe import layout_text
    from lumen_core.quant.picture import block_picture

    derived = _facts(entry) | {
        "kind": form.kind, "activation": form.activation, "declaration": entry.value.span.text,
        "picture": block_picture(form), "normal_form": asdict(form),
    }  # fmt: skip
    if target:
        text = layout_text(form, target.lanes)
        derived["packed"] = {"target": target.name, "rows": target.lanes, "layout": text}
        derived["inner_loop"] = _inner_loop(form, target)
    return derived


def _print(entry: Entry[ast.Format], form: NormalForm, target: Target | None) -> None:
    from lumen_core.quant.describe import layout_text, normal_form_text
    from lumen_core.quant.picture import block_picture

    print_facts(_facts(entry) | {"kind": form.kind, "activation": form.activation})
    print(f"\n{entry.value.span.text}")
    print(f"\n{block_picture(form)}")
    print(f"\nnormal form of {normal_form_text(form)}")
    if target:
        print(f"\npacked for {target.name}: {layout_text(form, target.lanes)}")
        loop = _inner_loop(form, target)
        print(f"\ninner loop of the product with one vector, {len(loop)} instructions:")
        print("\n".join(f"  {line}" for line in loop))


@app.command(epilog="Example:\n\n  lumen formats check my_format.lum\n  lumen formats check q4_k")
def check(
    file: Annotated[str, typer.Argument(help="A `.lum` file with declarations, or an installed format.")],
    target: options.TargetName = None,
    speed: Annotated[bool, typer.Option(help="Measure the kernels' speed too.")] = True,
    json: options.Json = False,
) -> None:
    """Run every derived test on a declaration, and show its quality and speed beside its neighbours."""
    from lumen_core.cli.format_report import checked
    from lumen_core.plugins.registry import Registry

    if not checked(file, Registry.load(), target, speed, json):
        raise typer.Exit(1)


@app.command(epilog="Example:\n\n  lumen formats matrix --markdown > docs/coverage.md")
def matrix(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the page of the docs.")] = False,
    json: options.Json = False,
) -> None:
    """Show what is derived for every installed format on every target that has systems to run on.

    Each cell's kernels are built: nothing is looked up.
    """
    from lumen_core.cli.format_report import coverage_page
    from lumen_core.engine.coverage import USES, coverage
    from lumen_core.plugins.registry import Registry
    from lumen_core.quant.analyse import analyse

    registry = Registry.load()
    forms = [analyse(entry.value) for _, entry in sorted(registry.formats.items())]
    backends = [entry.value for entry in registry.backends.values() if entry.value.systems]
    targets = [target for backend in backends for target in backend.targets]
    rows = list(coverage(forms, targets))
    if json:
        print_json([asdict(row) for row in rows])
    elif markdown:
        print(coverage_page(rows), end="")
    else:
        print_table(
            ["format", "target", *USES],
            [
                (row.format, row.target, *("no" if use in row.missing else "yes" for use in USES))
                for row in rows
            ],
        )  # fmt: skip
        for row in rows:
            for use, reason in row.missing.items():
                note(f"{row.format} on {row.target}, {use}: {reason}")


def _inner_loop(form: NormalForm, target: Target) -> list[str]:
    from lumen_core.codegen.inner_loop import inner_loop
    from lumen_core.codegen.llvm import emit_llvm
    from lumen_core.codegen.objects import compile_assembly
    from lumen_core.schedule.matmul import MatmulTile, build_matmul

    kernel = build_matmul(form, target, MatmulTile(1))
    return inner_loop(compile_assembly(emit_llvm(kernel, target), target))


def _facts(entry: Entry[ast.Format]) -> dict[str, object]:
    from lumen_core.quant.analyse import analyse

    declaration = entry.value
    size = analyse(declaration).block_bytes
    return {
        "name": declaration.name,
        "block": declaration.length,
        "block_bytes": size,
        "bits_per_weight": size * 8 / declaration.length,
        "package": entry.distribution,
        "file": str(entry.path),
    }
