"""The program `lumen`: joins the commands, and turns every error into one message and an exit code.

Exit codes: 0 good, 1 the user's input, 2 usage, 3 a bug of Lumen, 130 stopped by Ctrl-C.
Commands of plugins are looked up only when help is shown or no built-in command has the name.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lumen_core import __version__
from lumen_core.cli import (
    backends,
    bench,
    chat,
    compile,
    convert,
    formats,
    imatrix,
    inspect,
    models,
    pack,
    plugins,
    quantize,
    run,
    show,
    synth,
    tokenize,
)
from lumen_core.errors import LumenBug, LumenError

HELP = """Run language models, compiled for this machine from their quantization formats' descriptions.

Begin with [bold]lumen run[/bold]: it needs no download. Every command has --help with examples."""


class Commands(TyperGroup):
    """The built-in commands, then those of plugins."""

    def list_commands(self, context: Any) -> list[str]:
        return [*self.commands, *(name for name in self._foreign() if name not in self.commands)]

    def get_command(self, context: Any, name: str) -> Any:
        if name in self.commands:
            return self.commands[name]
        return self._foreign().get(name)

    def _foreign(self) -> dict[str, Any]:
        from lumen_core.plugins.registry import Registry

        found = {}
        for name, entry in Registry.load(strict=False).commands.items():
            command: Any = typer.main.get_command(entry.value)
            command.rich_help_panel = "From plugins"
            found[name] = command
        return found


app = typer.Typer(
    name="lumen",
    cls=Commands,
    help=HELP,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        import platform

        print(f"lumen {__version__} (Python {platform.python_version()}, {platform.machine()})")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    traceback: Annotated[
        bool, typer.Option("--traceback", help="Show Python's traceback of an error (or LUMEN_TRACEBACK=1).")
    ] = False,
) -> None:
    """The options are handled before the commands; `main` takes --traceback wherever it stands."""


def _add(panel: str, module: Any, function: Callable[..., Any]) -> None:
    name = function.__name__.removesuffix("_")
    epilog = "\n\n".join(line for line in module.EPILOG.split("\n") if line)
    app.command(name, rich_help_panel=panel, epilog=epilog)(function)


_add("Use a model", run, run.run)
_add("Use a model", chat, chat.chat)
_add("Use a model", convert, convert.convert)
_add("Look inside", inspect, inspect.inspect)
_add("Look inside", tokenize, tokenize.tokenize)
_add("Look inside", show, show.show)
for _group, _name in ((models, "models"), (formats, "formats"), (backends, "backends"), (plugins, "plugins")):
    app.add_typer(_group.app, name=_name, rich_help_panel="What is installed")
_add("Change a model", compile, compile.compile_)
_add("Change a model", pack, pack.pack)
_add("Change a model", quantize, quantize.quantize)
_add("Change a model", imatrix, imatrix.imatrix)
_add("Measure", bench, bench.bench)
_add("Measure", synth, synth.synth)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; the exit code is raised as SystemExit by the parser or returned."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    wants_traceback = os.environ.get("LUMEN_TRACEBACK", "") not in ("", "0")
    if "--traceback" in given and "--" not in given[: given.index("--traceback")]:
        given.remove("--traceback")
        wants_traceback = True
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # Korean must come out whatever the console's code page is
            stream.reconfigure(encoding="utf-8", errors="replace")
    try:
        typer.main.get_command(app).main(args=given, prog_name="lumen")
    except (LumenError, OSError, MemoryError, RecursionError) as error:
        return _report(_message(error), 1, wants_traceback)
    except Exception as error:
        kind = "" if isinstance(error, LumenBug) else f"{type(error).__name__}: "
        hint = "This is a bug of Lumen; `lumen --traceback ...` shows where. Please report it with that text."
        return _report(f"internal error: {kind}{error}\n{hint}", 3, wants_traceback)
    return 0


def _message(error: BaseException) -> str:
    if isinstance(error, MemoryError):
        return "error: not enough memory"
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"error: {place}{error.strerror.lower()}"
    text = str(error) or type(error).__name__
    return text if text.startswith("error") else f"error: {text}"


def _report(message: str, code: int, wants_traceback: bool) -> int:
    if wants_traceback:
        import traceback

        traceback.print_exc()
    with contextlib.suppress(BrokenPipeError):  # when nobody reads our errors
        print(message, file=sys.stderr, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
