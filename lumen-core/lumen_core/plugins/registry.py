"""The registry: what all installed plugins offer, and what is wrong with them.

In: the installed distributions with an entry point in the group `lumen`. Out: one value;
there is no global one. A plugin that fails is a `Problem` and breaks nothing else; two plugins that declare
the same name raise PluginError. `.lum` files are parsed when their names are first asked for.
`LUMEN_PLUGINS=one,two` restricts discovery to the distributions named.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lumen_core.errors import LumenError, ModelError, ModelFormatError, PluginError, UnsupportedFormatError
from lumen_core.plugins.collect import Entry, Plugin, Problem, call, collect, reason
from lumen_core.plugins.hookspecs import GROUP
from lumen_core.plugins.sources import ModelSource, Scheme
from lumen_core.text.chat import ChatFamily, family_of

if TYPE_CHECKING:
    import typer

    from lumen_core.dsl import ast
    from lumen_core.target import Backend
    from lumen_core.weights.model_file import Reader


@dataclass
class Registry:
    """What plugins offer, by name; a hook is called when its kind is first asked for.

    Make one with `Registry.load()`.

    strict  raise PluginError when two plugins declare one name; otherwise the first keeps it
            and the collision becomes a problem
    """

    plugins: tuple[Plugin, ...] = ()
    problems: list[Problem] = field(default_factory=list)
    strict: bool = True

    @staticmethod
    def load(*, strict: bool = True, found: Iterable[EntryPoint] | None = None) -> Registry:
        """Import every plugin's module; `found` are entry points to use instead of the installed ones."""
        problems: list[Problem] = []
        if found is None:
            found = entry_points(group=GROUP)
            if chosen := os.environ.get("LUMEN_PLUGINS"):
                found = _chosen(found, chosen, problems)
        return Registry(collect(found, problems), problems, strict)

    def offers(self, hook: str) -> list[Entry[Any]]:
        """Call a hook of every plugin."""
        return call(self.plugins, hook, self.problems)

    @cached_property
    def backends(self) -> dict[str, Entry[Backend]]:
        return self.named("backend", self.offers("lumen_backends"), lambda value: [value.name])

    @cached_property
    def readers(self) -> dict[str, Entry[Reader]]:
        return self.named("reader", self.offers("lumen_readers"), lambda value: [value.name])

    @cached_property
    def models(self) -> dict[str, Entry[ModelSource]]:
        return self.named("model", self.offers("lumen_models"), lambda value: [value.name])

    @cached_property
    def commands(self) -> dict[str, Entry[typer.Typer]]:
        return self.named("command", self.offers("lumen_commands"), lambda value: [value.info.name])

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

    def chat_family(self, architecture: str, vocabulary: Collection[str]) -> ChatFamily | None:
        """The chat format that a vocabulary can speak: one of its architecture's, else of any model."""
        entry = self.architectures.get(architecture)
        own = family_of(vocabulary, entry.value.chats) if entry is not None else None
        every = (chat for one in self.models.values() for chat in one.value.chats)
        return own or family_of(vocabulary, every)

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
    def declarations(self) -> dict[str, Entry[ast.Format]]:
        """What `.lum` files declare, by name: formats and families; one with errors becomes a problem."""
        declared: list[Entry[ast.Format]] = []
        for entry in self.offers("lumen_formats"):
            try:
                module = _parse(entry.value.path)
            except (LumenError, OSError) as error:
                self.problems.append(Problem(entry.distribution, str(entry.value.path), reason(error)))
                continue
            tables = tuple(replace(table, supply=entry.value.tables) for table in module.tables)
            declared += [
                Entry(replace(item, tables=tables), entry.distribution, entry.value.path)
                for item in module.formats
            ]
        return self.named("format", declared, lambda value: [value.name])

    @cached_property
    def formats(self) -> dict[str, Entry[ast.Format]]:
        """The formats that are no family, by name, without the fields that may be missing."""
        from lumen_core.dsl.specialise import specialise

        return {
            name: replace(entry, value=specialise(entry.value))
            for name, entry in self.declarations.items()
            if not entry.value.generics
        }

    def check(self) -> list[Problem]:
        """Ask for everything that plugins offer, so that all problems are known."""
        for kind in ("backends", "readers", "commands", "formats", "architectures", "files"):
            getattr(self, kind)
        for entry in self.models.values():
            try:
                self.definition(entry.value.name)
            except (LumenError, OSError) as error:
                self.problems.append(Problem(entry.distribution, str(entry.value.path), reason(error)))
            for path in entry.value.files.values():
                if not path.is_file():
                    self.problems.append(Problem(entry.distribution, str(path), "this file is missing"))
        return self.problems

    @cached_property
    def schemes(self) -> dict[str, Entry[Scheme]]:
        """How checkpoint directories are quantized, by `quant_method`."""
        found = [
            Entry(scheme, entry.distribution)
            for entry in self.offers("lumen_formats")
            for scheme in entry.value.schemes
        ]
        return self.named("quant_method", found, lambda value: value.methods)

    def format(self, name: str) -> ast.Format:
        """Return the declaration of a format, also one of a family; raises UnsupportedFormatError."""
        return self.format_entry(name).value

    def format_entry(self, name: str) -> Entry[ast.Format]:
        """Return the declaration of a format and where it is from; raises UnsupportedFormatError."""
        from lumen_core.dsl.specialise import optional_fields, specialise

        if name in self.formats:
            return self.formats[name]
        stem, *present = name.split("+")
        entry, arguments = self.family(stem)
        if set(present) <= {field.name for field in optional_fields(entry.value)}:
            return replace(entry, value=specialise(entry.value, arguments, present))
        raise UnsupportedFormatError(f"the format `{entry.value.name}` has no part {' or '.join(present)}")

    def family(self, name: str) -> tuple[Entry[ast.Format], list[str]]:
        """Return the declaration of which `name` is a format, and its arguments; UnsupportedFormatError."""
        for family, entry in self.declarations.items():
            given = name.removeprefix(family).removeprefix("_")
            arguments = given.split("_") if given else []
            fits = len(arguments) == len(entry.value.generics) and all(arguments)
            if fits and name == "_".join([family, *arguments]):
                return entry, arguments
        if name in self.declarations:
            generics = self.declarations[name].value.generics
            raise UnsupportedFormatError(
                f"`{name}` is a family of formats; name one of them, with {', '.join(generics)} in its name: "
                f"{'_'.join([name, *generics])}"
            )
        message = f"no installed package declares the format `{name}`"
        known = [f"{n}[{', '.join(e.value.generics)}]" if e.value.generics else n
                 for n, e in self.declarations.items()]  # fmt: skip
        raise UnsupportedFormatError(self.explained(message, known))

    @property
    def folders(self) -> tuple[Path, ...]:
        """Where pages of models stand: one may be like a page of another package."""
        return tuple(dict.fromkeys(entry.value.path.parent for entry in self.models.values()))

    def model(self, architecture: str) -> ModelSource:
        """Return the model for a file's architecture; raises ModelError."""
        if architecture not in self.architectures:
            message = f"no installed package defines a model for the architecture `{architecture}`"
            raise ModelError(self.explained(message, self.architectures))
        return self.architectures[architecture].value

    def definition(self, name: str) -> ast.Model:
        """Return the parsed page of a model; raises ModelError or SourceError."""
        if name not in self.models:
            raise ModelError(self.explained(f"no installed package defines a model `{name}`", self.models))
        source = self.models[name].value
        for model in _parse(source.path).models:
            if model.name == name:
                return model
        raise PluginError(f"{self.models[name].distribution}: {source.path} defines no model `{name}`")

    def file(self, name: str | Path) -> Path:
        """Return the file that a name stands for: one that a plugin ships (`demo`) or a path (`./demo`)."""
        shipped = self.files.get(name) if isinstance(name, str) else None
        return shipped.value if shipped is not None else Path(name)

    def reader(self, path: Path) -> Reader:
        """Return the reader that recognizes a file; raises ModelFormatError."""
        if not path.exists():
            shipped = f"; shipped with Lumen: {', '.join(sorted(self.files))}" if self.files else ""
            raise ModelFormatError(f"{path}: no such file{shipped}")
        if path.is_dir():
            raise ModelFormatError(f"{path} is a directory; name the model file inside it")
        for entry in self.readers.values():
            if entry.value.matches(path):
                return entry.value
        message = f"{path}: no installed package reads this kind of file"
        raise ModelFormatError(self.explained(message, self.readers))

    def container(self, path: Path) -> Reader:
        """Return the reader that also writes files named like this one; raises ModelError."""
        entry = self.readers.get(path.suffix.lower().removeprefix("."))
        if entry is None or entry.value.create is None:
            writable = sorted(name for name, entry in self.readers.items() if entry.value.create is not None)
            raise ModelError(
                f"{path}: give a name that ends in {' or '.join('.' + name for name in writable)}"
            )
        return entry.value

    def explained(self, message: str, known: Iterable[str]) -> str:
        """Add what is known, and plugins that failed: the missing thing may be theirs."""
        lines = [message, f"known: {', '.join(sorted(known)) or 'none'}"]
        lines += [f"a plugin has a problem: {problem}" for problem in self.problems]
        return "\n".join(lines)


def _chosen(found: Iterable[EntryPoint], chosen: str, problems: list[Problem]) -> list[EntryPoint]:
    """Return the entry points of the distributions named, with commas between; others are problems."""
    wanted = {_normal(name): name.strip() for name in chosen.split(",") if name.strip()}
    kept = [point for point in found if point.dist and _normal(point.dist.name) in wanted]
    installed = {_normal(point.dist.name) for point in kept if point.dist}
    problems += [
        Problem(name, "LUMEN_PLUGINS", "no plugin of this name is installed")
        for normal, name in wanted.items()
        if normal not in installed
    ]
    return kept


def _normal(name: str) -> str:
    return name.strip().lower().replace("_", "-").replace(".", "-")


def _parse(path: Path) -> ast.Module:
    from lumen_core.dsl.parse import parse
    from lumen_core.source import Source

    return parse(Source.read(path))
