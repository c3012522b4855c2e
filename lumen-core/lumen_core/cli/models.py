"""`lumen models`: the model definitions that are installed."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated, Any

import typer

from lumen_core.cli import options
from lumen_core.cli.output import print_facts, print_json, print_table

app = typer.Typer(
    name="models",
    help="Models that can be run: definitions by architecture, and weights that packages ship.",
    no_args_is_help=True,
)


@app.command("list")
def list_(json: options.Json = False) -> None:
    """List the model definitions."""
    from lumen_core.plugins.registry import Registry

    registry = Registry.load()
    rows: list[dict[str, Any]] = [
        {
            "name": name,
            "architectures": list(entry.value.architectures),
            "family": entry.value.family,
            "vendor": entry.value.vendor,
            "license": entry.value.license,
            "releases": [asdict(release) for release in entry.value.releases],
            "chats": [chat.name for chat in entry.value.chats],
            "files": {file: str(path) for file, path in entry.value.files.items()},
            "package": entry.distribution,
        }
        for name, entry in sorted(registry.models.items())
    ]
    if json:
        print_json(rows)
        return
    print_table(
        ["model", "architectures", "family", "vendor", "shipped weights", "package"],
        [
            (
                row["name"],
                ", ".join(row["architectures"]),
                row["family"],
                row["vendor"],
                ", ".join(row["files"]),
                row["package"],
            )
            for row in rows
        ],
    )
    known = [
        (release["name"], row["name"], f"{release['parameters'] / 1e9:.2f} B", release["vendor"],
         release["license"], release["verified"] or "not yet")
        for row in rows for release in row["releases"]
    ]  # fmt: skip
    if known:
        print_table(["published model", "page", ">parameters", "vendor", "license", "verified by"], known)


@app.command(epilog="Example:\n\n  lumen models show qwen3")
def show(
    name: Annotated[str, typer.Argument(help="A model's name, or that of shipped weights such as `demo`.")],
    json: options.Json = False,
) -> None:
    """Show a model's facts and its page."""
    from lumen_core.errors import ModelError
    from lumen_core.plugins.registry import Registry

    registry = Registry.load()
    owners = {file: entry for entry in registry.models.values() for file in entry.value.files}
    entry = registry.models.get(name) or owners.get(name)
    if entry is None:
        known = ", ".join([*sorted(registry.models), *sorted(owners)]) or "none"
        raise ModelError(f"no installed package defines a model `{name}`\nknown: {known}")
    source = entry.value
    facts: dict[str, object] = {
        "model": source.name,
        "architectures": ", ".join(source.architectures),
        "family": source.family,
        "vendor": source.vendor,
        "license": source.license,
        "note": source.note,
        "chat formats": ", ".join(chat.name for chat in source.chats),
        "releases": ", ".join(release.name for release in source.releases),
        "checkpoints": ", ".join(kind for one in source.checkpoints for kind in one.model_types),
        "package": entry.distribution,
        "file": str(source.path),
        "weights": ", ".join(f"{file} ({path})" for file, path in source.files.items()),
    }
    page = source.path.read_text(encoding="utf-8")
    if json:
        print_json(facts | {"page": page})
        return
    print_facts(facts)
    print(f"\n{page}", end="")
