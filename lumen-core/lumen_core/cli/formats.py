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
        ],
    )


@app.command(epilog="Example:\n\n  lumen formats show q4_k")
def show(
    name: Annotated[str, typer.Argument(help="A format's name.")],
    target: options.TargetName = None,
    json: options.Json = False,
) -> None:
    """Show a format's declaration and what the compiler derives from it.

    That is its normal form (each weight as codes, scales and offsets, with the place of every bit)
    and how the target's kernels want it packed.
    """
    from lumen_core.engine.session import choose_target
    from lumen_core.errors import TargetError
    from lumen_core.plugins.registry import Registry
    from lumen_core.quant.analyse import analyse
    from lumen_core.quant.describe import layout_text, normal_form_text

    registry = Registry.load()
    entry = registry.format_entry(name)
    declaration = entry.value
    form = analyse(declaration)
    try:
        chosen = choose_target(registry, target)
    except TargetError:
        if target:
            raise
        chosen = None  # no backend for this machine: there is no packed form to show
    facts = _facts(entry) | {"kind": form.kind, "activation": form.activation}
    if json:
        derived: dict[str, object] = {"declaration": declaration.span.text, "normal_form": asdict(form)}
        if chosen:
            text = layout_text(form, chosen.lanes)
            derived["packed"] = {"target": chosen.name, "rows": chosen.lanes, "layout": text}
        print_json(facts | derived)
        return
    print_facts(facts)
    print(f"\n{declaration.span.text}")
    print(f"\nnormal form of {normal_form_text(form)}")
    if chosen:
        print(f"\npacked for {chosen.name}: {layout_text(form, chosen.lanes)}")


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
