"""The program `lumen`: joins the commands, and turns every error into one message and an exit code.

Exit codes: 0 good, 1 the user's input, 2 usage, 3 a bug of Lumen, 130 stopped by Ctrl-C.
Commands of plugins are looked up only when help is shown or no built-in command has the name.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from lumen_core import __version__
from lumen_core.errors import LumenBug, LumenError

MANY = 500_000  # new objects before the interpreter looks for some that only each other know

HELP = """Run language models, compiled for this machine from their quantization formats' descriptions.

Begin with [bold]lumen run[/bold]: it needs no download. Every command has --help with examples."""


# Where help lists the built-in commands; each has a module of its name.
PANELS = {
    "Use a model": ("run", "chat", "convert"),
    "Look inside": ("inspect", "tokenize", "show"),
    "Change a model": ("compile", "pack", "quantize", "imatrix"),
    "Measure": ("bench", "synth"),
    "What is installed": ("models", "formats", "backends", "plugins"),
}
BUILT_IN = {name: panel for panel, names in PANELS.items() for name in names}


class Commands(TyperGroup):
    """The built-in commands, then those of plugins; a module is imported when its command is asked for.

    An error names parameters of the library; where the command has options for them, it names these.
    """

    def __init__(self, **settings: Any):
        super().__init__(**settings)
        names: Any = dict.fromkeys(BUILT_IN)
        self.commands = names  # what a wrong name is compared with

    def list_commands(self, context: Any) -> list[str]:
        return [*BUILT_IN, *(name for name in self._foreign() if name not in BUILT_IN)]

    def get_command(self, context: Any, name: str) -> Any:
        return _built_in(name) if name in BUILT_IN else self._foreign().get(name)

    def invoke(self, context: Any) -> Any:
        try:
            return super().invoke(context)
        except LumenError as error:
            from lumen_core.cli.options import in_options

            if context.invoked_subcommand is not None:
                command = self.get_command(context, context.invoked_subcommand)
                error.args = (in_options(error, command.params),)
            raise

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


def _built_in(name: str) -> Any:
    """The command of a module, or the group of commands that it calls `app`."""
    module = importlib.import_module(f"lumen_core.cli.{name}")
    shelf = typer.Typer()
    if hasattr(module, "app"):
        shelf.add_typer(module.app, name=name, rich_help_panel=BUILT_IN[name])
    else:
        epilog = "\n\n".join(line for line in module.EPILOG.split("\n") if line)
        shelf.command(name, rich_help_panel=BUILT_IN[name], epilog=epilog)(getattr(module, name))
    return typer.main.get_group(shelf).commands[name]


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


def program() -> None:
    """Run `main` as the process that it is, and end it.

    The system takes everything back at once. The interpreter would first free, object by object, what a model
    is made of, which takes longer than its first token.
    """
    gc.set_threshold(MANY)  # what loading makes stays: looking through it again and again takes a tenth
    try:
        code = main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    atexit._run_exitfuncs()
    for stream in filter(None, (sys.stdout, sys.stderr)):  # None: closed before we began
        try:
            stream.flush()
        except BrokenPipeError:  # nobody reads any more
            code = code or 1
        except OSError as error:
            code = _report(_message(error), 1, wants_traceback=False)
    os._exit(code)


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
    program()
