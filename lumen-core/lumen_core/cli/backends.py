"""`lumen backends`: the machines that can be compiled for."""

from __future__ import annotations

from typing import Any

import typer

from lumen_core.cli import options
from lumen_core.cli.output import print_json, print_table

app = typer.Typer(name="backends", help="Machines that Lumen can compile for.", no_args_is_help=True)


@app.command(
    "list", epilog="`--target NAME` or LUMEN_TARGET chooses one; otherwise the best usable is taken."
)
def list_(json: options.Json = False) -> None:
    """List the targets, best first, and which of them this machine can run."""
    import platform

    from lumen_core.codegen.objects import host_features
    from lumen_core.plugins.registry import Registry

    features = host_features()
    rows: list[dict[str, Any]] = []
    for name, entry in sorted(Registry.load().backends.items()):
        usable = entry.value.usable(platform.machine(), features)
        for target in entry.value.targets:
            rows.append(
                {
                    "backend": name,
                    "target": target.name,
                    "usable": target in usable,
                    "best": bool(usable) and target is usable[0],
                    "vector_bits": target.vector_bytes * 8,
                    "instructions": len(target.instructions),
                    "features": [*target.features, *target.facts],
                    "package": entry.distribution,
                }
            )
    rows.sort(key=lambda row: not row["usable"])  # what runs here comes first
    if json:
        print_json(rows)
        return
    print_table(
        ["backend", "target", "this machine", ">vector bits", ">instructions", "features", "package"],
        [
            (
                row["backend"],
                row["target"],
                "best" if row["best"] else "usable" if row["usable"] else "no",
                row["vector_bits"],
                row["instructions"],
                " ".join(row["features"]),
                row["package"],
            )
            for row in rows
        ],
    )
