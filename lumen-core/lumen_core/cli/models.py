"""`lumen models`: the model definitions that are installed, and the published models that they run."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from lumen_core.cli import options
from lumen_core.cli.output import print_facts, print_json, print_table

if TYPE_CHECKING:
    from lumen_core.engine.page import ChatFormat
    from lumen_core.plugins.sources import Release

app = typer.Typer(
    name="models",
    help="Models that can be run: definitions by architecture, and weights that packages ship.",
    no_args_is_help=True,
)
_SIZE = re.compile(r"-(\d[\d.]*[BM](?:-A[\d.]+B)?|Mini|Base|Light)$")  # what a name says about the size


@app.command("list", epilog="Example:\n\n  lumen models list")
def list_(json: options.Json = False) -> None:
    """List published models that are known, and the pages that run them."""
    from lumen_core.plugins.registry import Registry

    registry = Registry.load()
    models = sorted(registry.models.items())
    if json:
        print_json([
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
            for name, entry in models
        ])  # fmt: skip
        return
    checks: dict[str, str] = {}  # how a model was verified -> the letter that stands for it
    rows: list[tuple[object, ...]] = []
    for name, entry in models:
        for series, releases in _series(entry.value.releases).items():
            one = releases[0]
            letter = checks.setdefault(one.verified, chr(ord("a") + len(checks))) if one.verified else "-"
            rows.append((series, _sizes(releases), name, one.vendor, one.license, letter))
    if rows:
        print_table(["model", "sizes", "page", "vendor", "license", "checked"], rows)
        for how, letter in checks.items():
            print(f"  checked {letter}: {how}")
        print("\nA file is known by its exact number of parameters: `lumen inspect FILE`.\n")
    print_table(
        ["page", "architectures", "chat formats", "shipped weights", "package"],
        [
            (
                name,
                ", ".join(entry.value.architectures),
                ", ".join(chat.name for chat in entry.value.chats),
                ", ".join(entry.value.files),
                entry.distribution,
            )
            for name, entry in models
        ],
    )


def _series(releases: Iterable[Release]) -> dict[str, list[Release]]:
    """Releases that differ in size alone, together."""
    found: dict[tuple[str, ...], list[Release]] = {}
    for one in releases:
        found.setdefault((_SIZE.sub("", one.name), one.vendor, one.license, one.verified), []).append(one)
    return {key[0]: ones for key, ones in found.items()}


def _sizes(releases: Iterable[Release]) -> str:
    """Sizes as the names say them, with the number of parameters where they say none."""
    texts = []
    for one in releases:
        match = _SIZE.search(one.name)
        count = f"{one.parameters / 1e9:.3g}B"
        word = match[1] if match else ""
        texts.append(word if word[:1].isdigit() else f"{word} {count}".strip())
    return ", ".join(texts)


@app.command(epilog="Example:\n\n  lumen models show qwen3")
def show(
    name: Annotated[str, typer.Argument(help="A model's name, or that of shipped weights such as `demo`.")],
    json: options.Json = False,
) -> None:
    """Show a model's facts, settings, rotation, chat formats, and its page."""
    from lumen_core.engine.page import describe_page
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
        "releases": ", ".join(release.name for release in source.releases),
        "checkpoints": ", ".join(kind for one in source.checkpoints for kind in one.model_types),
        "package": entry.distribution,
        "file": str(source.path),
        "weights": ", ".join(f"{file} ({path})" for file, path in source.files.items()),
    }
    text = source.path.read_text(encoding="utf-8")
    page = describe_page(registry, source)
    if json:
        print_json(facts | asdict(page) | {"page": text})
        return
    print_facts(facts | {"rotation": "; ".join(page.rotations)})
    print_table(
        ["setting", "key in a model file", "in config.json", "otherwise"],
        [(one.name, one.key, one.config, one.otherwise) for one in page.settings],
    )
    for chat in page.chats:
        _print_chat(chat)
    print(text, end="")


def _print_chat(chat: ChatFormat) -> None:
    print_facts({
        "chat format": chat.name, "ends with": " ".join(chat.ends) or "what the file declares",
        "thinking": chat.thinking, "tool calls": chat.tools,
    })  # fmt: skip
    print("".join(f"    | {line}\n" for line in chat.prompt.split("\n")))
