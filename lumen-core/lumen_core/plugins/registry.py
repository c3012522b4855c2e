"""The registry: what all installed plugins offer, and what is wrong with them.

In: the installed distributions with an entry point in the group `lumen`. Out: one value;
there is no global one. A plugin that fails is a `Problem` and breaks nothing else; two plugins that declare
the same name raise PluginError. `.lum` files are parsed when their names are first asked for.
`LUMEN_PLUGINS=one,two` restricts discovery to the distributions named.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lumen_core.errors import LumenError, ModelError, ModelFormatError, PluginError, UnsupportedFormatError
from lumen_core.plugins.collect import Entry, Plugin, Problem, collect
from lumen_core.plugins.hookspecs import GROUP
from lumen_core.plugins.sources import FormatSource, ModelSource

if TYPE_CHECKING:
    import typer

    from lumen_core.dsl import ast
    from lumen_core.target import Backend
    from lumen_core.weights.model_file import Reader


@dataclass
class Registry:
    """What plugins offer, by name. Make one with `Registry.load()`."""

    plugins: tuple[Plugin, ...] = ()
    backends: Mapping[str, Entry[Backend]] = field(default_factory=dict)
    readers: Mapping[str, Entry[Reader]] = field(default_factory=dict)
    models: Mapping[str, Entry[ModelSource]] = field(default_factory=dict)
    commands: Mapping[str, Entry[typer.Typer]] = field(default_factory=dict)
    format_sources: tuple[Entry[FormatSource], ...] = ()
    problems: list[Problem] = field(default_factory=list)
    strict: bool = True

    @staticmethod
    def load(*, strict: bool = True, found: Iterable[EntryPoint] | None = None) -> Registry:
        """Call every plugin's hooks once.

        strict  raise PluginError when two plugins declare one name; otherwise the first keeps it
                and the collision becomes a problem
        found   entry points to use instead of the installed ones
        """
        if found is None:
            found = entry_points(group=GROUP)
            if chosen := os.environ.get("LUMEN_PLUGINS"):
                names = {_normal(name) for name in chosen.split(",")}
                found = [point for point in found if point.dist and _normal(point.dist.name) in names]
        registry = Registry(strict=strict)
        offers = collect(found, registry.problems)
        registry.plugins = offers.plugins
        registry.backends = registry.named("backend", offers.backends, lambda value: [value.name])
        registry.readers = registry.named("reader", offers.readers, lambda value: [value.name])
        registry.models = registry.named("model", offers.models, lambda value: [value.name])
        registry.commands = registry.named("command", offers.commands, lambda value: [value.info.name])
        registry.format_sources = tuple(offers.formats)
        return registry

    def named(self, kind: str, entries: Iterable[Entry[Any]], names: Any) -> dict[str, Entry[Any]]:
        """Return the entries by their names; a name that is taken already is a collision."""
        table: dict[str, Entry[Any]] = {}
        for entry in entries:
            for name in names(entry.value):
                if name not in table:
                    table[name] = entry
                    continue
                owners = f"by {table[name].distribution} and by {entry.distribution}"
                message = f"{kind} `{name}` is declared twice: {owners}"
                if self.strict:
                    raise PluginError(f"{message}; uninstall one of them")
                self.problems.append(Problem(entry.distribution, f"{kind} `{name}`", message))
        return table

    @cached_property
    def architectures(self) -> dict[str, Entry[ModelSource]]:
        """Models by the architecture names that model files use."""
        return self.named("architecture", self.models.values(), lambda value: value.architectures)

    @cached_property
    def files(self) -> dict[str, Entry[Path]]:
        """Weights that plugins ship, by name."""
        shipped = [
            Entry((name, path), entry.distribution)
            for entry in self.models.values()
            for name, path in entry.value.files.items()
        ]
        table = self.named("model file", shipped, lambda value: [value[0]])
        return {name: Entry(entry.value[1], entry.distribution) for name, entry in table.items()}

    @cached_property
    def formats(self) -> dict[str, Entry[ast.Format]]:
        """Declarations of formats by name; a `.lum` file with errors becomes a problem."""
        declared: list[Entry[ast.Format]] = []
        for entry in self.format_sources:
            try:
                module = _parse(entry.value.path)
            except (LumenError, OSError) as error:
                self.problems.append(Problem(entry.distribution, str(entry.value.path), str(error)))
                continue
            declared += [Entry(item, entry.distribution, entry.value.path) for item in module.formats]
        return self.named("format", declared, lambda value: [value.name])

    def format(self, name: str) -> ast.Format:
        """Return the declaration of a format; raises UnsupportedFormatError."""
        if name not in self.formats:
            message = f"no installed package declares the format `{name}`"
            raise UnsupportedFormatError(self._explained(message, self.formats))
        return self.formats[name].value

    def model(self, architecture: str) -> ModelSource:
        """Return the model for a file's architecture; raises ModelError."""
        if architecture not in self.architectures:
            message = f"no installed package defines a model for the architecture `{architecture}`"
            raise ModelError(self._explained(message, self.architectures))
        return self.architectures[architecture].value

    def definition(self, name: str) -> ast.Model:
        """Return the parsed page of a model; raises ModelError or SourceError."""
        if name not in self.models:
            raise ModelError(self._explained(f"no installed package defines a model `{name}`", self.models))
        source = self.models[name].value
        for model in _parse(source.path).models:
            if model.name == name:
                return model
        raise PluginError(f"{self.models[name].distribution}: {source.path} defines no model `{name}`")

    def reader(self, path: Path) -> Reader:
        """Return the reader that recognizes a file; raises ModelFormatError."""
        for entry in self.readers.values():
            if entry.value.matches(path):
                return entry.value
        message = f"{path}: no installed package reads this kind of file"
        raise ModelFormatError(self._explained(message, self.readers))

    def _explained(self, message: str, known: Iterable[str]) -> str:
        """Add what is known, and plugins that failed: the missing thing may be theirs."""
        lines = [message, f"known: {', '.join(sorted(known)) or 'none'}"]
        lines += [f"a plugin has a problem: {problem}" for problem in self.problems]
        return "\n".join(lines)


def _normal(name: str) -> str:
    return name.strip().lower().replace("_", "-").replace(".", "-")


def _parse(path: Path) -> ast.Module:
    from lumen_core.dsl.parse import parse
    from lumen_core.source import Source

    return parse(Source.read(path))
