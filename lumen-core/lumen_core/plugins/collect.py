"""Calling the hooks: each plugin alone, so that a broken one is a report and nothing more.

In: entry points. Out: plugins with their hooks, and, when asked for one kind, what these hooks return,
checked item by item, with the distribution it came from; what went wrong is appended to `problems`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Generic, TypeVar

import pluggy

from lumen_core.errors import LumenError
from lumen_core.plugins import hookspecs
from lumen_core.plugins.sources import FormatSource, ModelSource
from lumen_core.target import Backend

T = TypeVar("T")


@dataclass(frozen=True)
class Entry(Generic[T]):
    """One thing that a plugin offers, and who offers it."""

    value: T
    distribution: str
    path: Path | None = None


@dataclass(frozen=True)
class Problem:
    """Something that a plugin did wrong; `place` is its entry point, hook or file."""

    distribution: str
    place: str
    error: str

    def __str__(self) -> str:
        return f"{self.distribution}: {self.place}: {self.error}"


@dataclass(frozen=True)
class Plugin:
    """An installed plugin: its distribution, and the hooks that it implements."""

    name: str
    distribution: str
    version: str
    module: str
    hooks: Mapping[str, Callable[[], Any]] = field(repr=False)


def collect(found: Iterable[EntryPoint], problems: list[Problem]) -> tuple[Plugin, ...]:
    """Import each entry point's module and look at its hooks; none is called."""
    plugins = []
    for point in sorted(found, key=lambda point: (_distribution(point), point.name)):
        hooks: dict[str, Callable[[], Any]] = {}
        try:
            hooks = _hooks(point, problems)
        except (Exception, SystemExit) as error:  # whatever a foreign module raises while it is imported
            problems.append(Problem(_distribution(point), f"entry point {point.value}", reason(error)))
        version = point.dist.version if point.dist else ""
        plugins.append(Plugin(point.name, _distribution(point), version, point.value, hooks))
    return tuple(plugins)


def call(plugins: Iterable[Plugin], hook: str, problems: list[Problem]) -> list[Entry[Any]]:
    """Call one hook of every plugin and return the items that are of the kind it promises."""
    return [
        Entry(item, plugin.distribution)
        for plugin in plugins
        if hook in plugin.hooks
        for item in _items(plugin, hook, problems)
    ]


def _hooks(point: EntryPoint, problems: list[Problem]) -> dict[str, Callable[[], object]]:
    """Import a plugin and let pluggy check its hooks' names and signatures; unknown hooks are left out."""
    manager = pluggy.PluginManager(hookspecs.GROUP)
    manager.add_hookspecs(hookspecs)
    plugin = point.load()
    manager.register(plugin, point.name)
    callers = manager.get_hookcallers(plugin) or []
    for caller in callers:
        if not caller.has_spec():
            problems.append(Problem(_distribution(point), f"hook {caller.name}", "Lumen has no such hook"))
    return {caller.name: caller for caller in callers if caller.has_spec()}


def _items(plugin: Plugin, hook: str, problems: list[Problem]) -> Iterable[object]:
    place = f"hook {hook}"
    try:
        results = plugin.hooks[hook]()
    except (Exception, SystemExit) as error:  # a foreign function may raise anything
        problems.append(Problem(plugin.distribution, place, reason(error)))
        return
    for result in results:  # pluggy gives one result per implementation
        if not isinstance(result, list | tuple):
            message = f"it must return a list, not {type(result).__name__}"
            problems.append(Problem(plugin.distribution, place, message))
            continue
        for item in result:
            if complaint := CHECKS[hook](item):
                problems.append(Problem(plugin.distribution, place, complaint))
            else:
                yield item


def _instance(kind: type) -> Callable[[object], str | None]:
    def check(item: object) -> str | None:
        return (
            None if isinstance(item, kind) else f"it must return {kind.__name__}s, not {type(item).__name__}"
        )

    return check


def _reader(item: Any) -> str | None:
    """Readers are known by their shape, so that discovery need not import the weights."""
    shape = isinstance(getattr(item, "name", None), str)
    if shape and callable(getattr(item, "matches", None)) and callable(getattr(item, "open", None)):
        return None
    return f"it must return Readers, not {type(item).__name__}"


def _command(item: object) -> str | None:
    import typer

    if not isinstance(item, typer.Typer):
        return f"it must return typer.Typer values, not {type(item).__name__}"
    if not isinstance(item.info.name, str) or not item.info.name:
        return "a command needs a name: typer.Typer(name=...)"
    return None


CHECKS: dict[str, Callable[[Any], str | None]] = {
    "lumen_backends": _instance(Backend),
    "lumen_formats": _instance(FormatSource),
    "lumen_readers": _reader,
    "lumen_models": _instance(ModelSource),
    "lumen_commands": _command,
}


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else point.name


def reason(error: BaseException) -> str:
    """Return one line about an error, whatever raised it."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    if isinstance(error, LumenError):
        return str(error)
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
