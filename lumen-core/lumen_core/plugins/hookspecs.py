"""The whole contract between Lumen and its plugins: five hooks, each of which returns data.

A plugin is a distribution with one entry point in the group `lumen` that names a module;
the module marks functions of these names with `@hookimpl`. Lumen's own packages do the same.
A hook is called when somebody needs its kind of data, so keep heavy imports out of the module.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    import typer

    from lumen_core.plugins.sources import FormatSource, ModelSource
    from lumen_core.target import Backend
    from lumen_core.weights.model_file import Reader

GROUP = "lumen"
hookspec = pluggy.HookspecMarker(GROUP)
hookimpl = pluggy.HookimplMarker(GROUP)


@hookspec
def lumen_backends() -> list[Backend]:  # type: ignore[empty-body]
    """Return families of machines to compile for."""


@hookspec
def lumen_formats() -> list[FormatSource]:  # type: ignore[empty-body]
    """Return `.lum` files that declare quantization formats; one file may declare many."""


@hookspec
def lumen_readers() -> list[Reader]:  # type: ignore[empty-body]
    """Return readers of model files."""


@hookspec
def lumen_models() -> list[ModelSource]:  # type: ignore[empty-body]
    """Return model definitions, with the architecture names that files use for them."""


@hookspec
def lumen_commands() -> list[typer.Typer]:  # type: ignore[empty-body]
    """Return command line commands: `typer.Typer(name=...)`, each becomes `lumen NAME`."""
