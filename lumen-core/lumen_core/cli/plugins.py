"""`lumen plugins`: what is installed and what is wrong with it."""

from __future__ import annotations

import typer

from lumen_core.cli import options
from lumen_core.cli.output import print_json, print_table

app = typer.Typer(
    name="plugins",
    help="Packages that add machines, formats, readers, models and commands to Lumen.",
    no_args_is_help=True,
)


@app.command("list", epilog="LUMEN_PLUGINS=one,two restricts Lumen to the packages named.")
def list_(json: options.Json = False) -> None:
    """List the plugins and their problems; a broken plugin breaks nothing else."""
    from lumen_core.plugins.registry import Registry

    registry = Registry.load(strict=False)
    registry.check()
    broken = {problem.distribution for problem in registry.problems}
    if json:
        listed = [
            {
                "name": plugin.name,
                "package": plugin.distribution,
                "version": plugin.version,
                "module": plugin.module,
                "hooks": list(plugin.hooks),
                "good": plugin.distribution not in broken,
            }
            for plugin in registry.plugins
        ]
        print_json({"plugins": listed, "problems": registry.problems})
        return
    print_table(
        ["plugin", "package", "version", "state", "offers"],
        [
            (
                plugin.name,
                plugin.distribution,
                plugin.version,
                "problem" if plugin.distribution in broken else "good",
                ", ".join(hook.removeprefix("lumen_") for hook in plugin.hooks),
            )
            for plugin in registry.plugins
        ],
    )
    for problem in registry.problems:
        print(f"problem: {problem}")
