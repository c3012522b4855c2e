"""A plugin of every kind. Each function returns data; nothing is registered anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lumen_core.plugins.hookspecs import hookimpl
from lumen_core.plugins.sources import FormatSource, ModelSource
from lumen_core.target import Backend, Target

if TYPE_CHECKING:
    import typer

HERE = Path(__file__).parent


@hookimpl
def lumen_backends() -> list[Backend]:
    """A machine that does not exist, with vectors and no instruction of its own."""
    target = Target(
        name="example-plain",
        triple="",
        cpu="",
        features=(),
        vector_bytes=16,
        registers=16,
        broadcast_memory=False,
        cache_bytes=(32 << 10, 1 << 20),
        instructions=(),
    )
    return [Backend(name="example", machines=("example64",), targets=(target,))]


@hookimpl
def lumen_formats() -> list[FormatSource]:
    return [FormatSource(HERE / "formats.lum")]


@hookimpl
def lumen_models() -> list[ModelSource]:
    return [
        ModelSource(
            name="example_bag",
            path=HERE / "example_bag.lum",
            architectures=("example-bag",),
            family="Example",
            vendor="nobody",
            license="Apache-2.0",
            note="no attention: every token goes its own way",
        )
    ]


@hookimpl
def lumen_commands() -> list[typer.Typer]:
    import typer

    app = typer.Typer(name="hello", help="Greet somebody: the example plugin's command.")

    @app.command()
    def hello(name: str = "Lumen") -> None:
        """Greet somebody."""
        print(f"안녕, {name}!")

    return [app]
