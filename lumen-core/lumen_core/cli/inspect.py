"""`lumen inspect`: what a model file says about itself."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from math import prod
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lumen_core.cli import options
from lumen_core.cli.output import print_facts, print_json, print_table, size_text

if TYPE_CHECKING:
    from lumen_core.engine.identify import Identity
    from lumen_core.plugins.registry import Registry
    from lumen_core.weights.model_file import ModelFile

SHOWN_TEXT, SHOWN_ITEMS = 100, 6  # of a metadata value in the table; --json has everything

EPILOG = """Examples:

  lumen inspect demo
  lumen inspect model.gguf --no-tensors
  lumen inspect model.gguf -c 32768 --kv-format q8_0
  lumen inspect model.gguf --json | jq .metadata
"""

_ACTIVE = "active parameters"  # those that one token takes, where that is not all of them


def inspect(
    file: options.ModelName,
    tensors: Annotated[bool, typer.Option(help="List every tensor.")] = True,
    context: options.ContextSize = None,
    kv_format: options.KvFormat = None,
    json: options.Json = False,
) -> None:
    """Show a model file's metadata, tensors and sizes, and the memory that it needs, without loading it."""
    from lumen_core.engine.identify import identify
    from lumen_core.engine.sources import open_model
    from lumen_core.plugins.registry import Registry

    registry = Registry.load()
    with open_model(options.valid_text(file, "the file name"), registry) as opened:
        identity = identify(opened, registry)
        if json:
            facts = _facts(opened, identity) | {"memory": _memory(opened, registry, context, kv_format)}
            facts["identity"] = asdict(identity)
            print_json(facts | {"metadata": dict(opened.metadata), "tensors": _tensors(opened)})
            return
        facts = _facts(opened, identity)
        facts["size"] = size_text(opened.size)
        facts |= {name: f"{facts[name]:,}" for name in ("parameters", _ACTIVE) if name in facts}
        facts["formats"] = ", ".join(f"{name} x {count}" for name, count in facts["formats"].items())
        memory = _memory(opened, registry, context, kv_format)
        if "problem" in memory:
            facts["memory"] = f"cannot be run: {memory['problem']}"
        else:
            facts["memory"] = (
                f"{size_text(memory['weights'])} weights + {size_text(memory['cache'])} keys and values "
                f"({memory['context']} tokens of context; one more: {size_text(memory['cache_per_token'])})"
            )
            facts["windows"] = "; ".join(
                f"{ring['layers']} layers see {ring['window']} tokens and keep {ring['tokens']}: "
                f"{size_text(ring['bytes'])}"
                for ring in memory["rings"]
            )
        if identity.releases:
            one, names = identity.releases[0], " or ".join(release.name for release in identity.releases)
            facts["model"] = f"{names} by the number of parameters ({one.vendor}, {one.license})"
        facts["chat"] = identity.chat
        facts["will not work"] = "; ".join(identity.problems)
        facts["note"] = "; ".join(identity.remarks)
        print_facts(facts)
        print_table(["key", "value"], [(key, _short(value)) for key, value in opened.metadata.items()])
        if tensors:
            rows = [
                (item["name"], item["format"], item["shape"], size_text(item["bytes"]))
                for item in _tensors(opened)
            ]
            print_table(["tensor", "format", ">shape", ">size"], rows)


def _facts(file: ModelFile, identity: Identity) -> dict[str, Any]:
    tensors = file.tensors.values()
    idle = sum(prod(tensor.shape) - file.used(tensor, prod(tensor.shape)) for tensor in tensors)
    return {
        "file": str(file.path),
        "architecture": file.architecture,
        "parameters": identity.parameters,
        **({_ACTIVE: identity.parameters - idle} if idle else {}),
        "size": file.size,
        "formats": dict(Counter(tensor.format for tensor in file.tensors.values()).most_common()),
    }


def _memory(
    file: ModelFile, registry: Registry, context: int | None, kv_format: str | None
) -> dict[str, Any]:
    """Return bytes, or the problem for which the file cannot be run."""
    from lumen_core.engine.footprint import footprint
    from lumen_core.errors import ModelError

    if not file.tensors:
        return {"problem": "the file holds a vocabulary and no weights"}
    try:
        found = footprint(file, registry, context, kv_format)
    except ModelError as problem:
        return {"problem": str(problem)}
    return asdict(found)


def _tensors(file: ModelFile) -> list[dict[str, Any]]:
    return [
        {
            "name": tensor.name,
            "format": tensor.format,
            "shape": list(tensor.shape),
            "bytes": tensor.nbytes,
        }
        for tensor in file.tensors.values()
    ]


def _short(value: Any) -> str:
    """Return a metadata value in one line: arrays by their length and first items."""
    if isinstance(value, str):
        text = value if len(value) <= SHOWN_TEXT else value[:SHOWN_TEXT] + "..."
        return "".join(c if c.isprintable() else " " for c in text)
    if hasattr(value, "__len__") and not isinstance(value, bytes):
        items = ", ".join(_short(value[i]) for i in range(min(SHOWN_ITEMS, len(value))))
        return f"[{items}{', ...' if len(value) > SHOWN_ITEMS else ''}] ({len(value)} items)"
    return str(value)
