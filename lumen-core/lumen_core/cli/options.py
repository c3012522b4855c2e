"""Options that several commands share, and how their values become arguments of the engine."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lumen_core.errors import LumenError, SourceError

if TYPE_CHECKING:
    from lumen_core.engine.model import Model
    from lumen_core.plugins.registry import Registry

SAMPLING, MACHINE = "Sampling", "Machine"

ModelName = Annotated[
    str,
    typer.Argument(
        help="A model file, a checkpoint directory, `demo`, or a name on the hub: `org/name`, "
        "`org/name@revision:file`."
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table or text.")]
MaxTokens = Annotated[
    int, typer.Option("-n", "--max-tokens", "--n-predict", min=0, help="Stop after so many tokens.")
]
Temperature = Annotated[
    float | None,
    typer.Option("--temp", "--temperature", min=0.0, help="0 takes the likeliest token.",
                 rich_help_panel=SAMPLING),
]  # fmt: skip
TopK = Annotated[
    int | None,
    typer.Option("--top-k", min=0, help="Choose among the k likeliest; 0: all.", rich_help_panel=SAMPLING),
]
TopP = Annotated[
    float | None,
    typer.Option("--top-p", min=0.0, max=1.0, help="Choose among the likeliest that make up p together.",
                 rich_help_panel=SAMPLING),
]  # fmt: skip
MinP = Annotated[
    float | None,
    typer.Option("--min-p", min=0.0, max=1.0, help="Drop tokens below p times the likeliest.",
                 rich_help_panel=SAMPLING),
]  # fmt: skip
RepeatPenalty = Annotated[
    float | None,
    typer.Option("--repeat-penalty", min=0.0, help="Above 1: make recent tokens less likely.",
                 rich_help_panel=SAMPLING),
]  # fmt: skip
Seed = Annotated[
    int | None,
    typer.Option("-s", "--seed", help="The same seed gives the same text.", rich_help_panel=SAMPLING),
]
Threads = Annotated[
    int | None,
    typer.Option("-t", "--threads", min=1, envvar="LUMEN_THREADS", rich_help_panel=MACHINE,
                 help="Worker threads; one for each core if not given."),
]  # fmt: skip
ContextSize = Annotated[
    int | None,
    typer.Option("-c", "--ctx-size", min=1, envvar="LUMEN_CTX_SIZE", rich_help_panel=MACHINE,
                 help="Tokens that prompt and answer may have together."),
]  # fmt: skip
KvFormat = Annotated[
    str | None,
    typer.Option("--kv-format", envvar="LUMEN_KV_FORMAT", rich_help_panel=MACHINE, metavar="<K[:V]>",
                 help="Keep keys and values of the text so far in this format, such as q8_0 or q8_0:q4_0."),
]  # fmt: skip
TargetName = Annotated[
    str | None,
    typer.Option("--target", envvar="LUMEN_TARGET", rich_help_panel=MACHINE,
                 help="Compile for this target instead of the best; see `lumen backends list`."),
]  # fmt: skip


Think = Annotated[
    bool | None,
    typer.Option("--think/--no-think", help="Turn thinking on or off, where the model has it."),
]
ParseSpecial = Annotated[
    bool,
    typer.Option("--parse-special", help="Read names of control tokens in the text as these tokens."),
]
ThinkBudget = Annotated[
    int | None,
    typer.Option("--think-budget", min=1, help="Think for at most so many tokens; implies --think."),
]
Stop = Annotated[
    list[str] | None,
    typer.Option("--stop", metavar="<TEXT>", rich_help_panel=SAMPLING,
                 help="End the answer before this text; may be given several times."),
]  # fmt: skip
ToolsFile = Annotated[
    Path | None,
    typer.Option("--tools", metavar="<FILE>",
                 help="Functions that the model may call, a JSON list as in OpenAI's API; implies --chat."),
]  # fmt: skip


def given(**options: Any) -> dict[str, Any]:
    """Return the options that have a value, so that the engine's own defaults hold for the others."""
    return {name: value for name, value in options.items() if value is not None}


def tools_of(path: Path | None) -> list[Mapping[str, Any]]:
    """Read the descriptions of tools in a file; none without one."""
    if path is None:
        return []
    import json

    from lumen_core.text.tools import described

    try:
        return described(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise LumenError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:  # of UTF-8 or of JSON
        raise LumenError(f"{path} is no JSON: {error}") from None
    except LumenError as error:
        raise LumenError(f"{path}: {error}") from None


def valid_text(text: str, what: str = "the prompt") -> str:
    """Return the text if it is valid Unicode (the shell may hand over any bytes)."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        raise LumenError(f"{what} is not valid UTF-8") from None
    return text


def in_options(error: LumenError, parameters: Iterable[Any]) -> str:
    """Return an error's text, a command's options where it names the library's parameters in backquotes.

    The arguments of a command's function have the names that they have in the library. What an error in a
    page names is the page's own.
    """
    text = str(error)
    if isinstance(error, SourceError):
        return text
    for parameter in parameters:
        option = next((name for name in parameter.opts if name.startswith("--")), None)
        if option is not None:
            text = text.replace(f"`{parameter.name}`", option)
    return text


def text_or_stdin(text: str, what: str = "the prompt") -> str:
    """Return the text, or all of standard input for `-`."""
    if text != "-":
        return valid_text(text, what)
    try:
        return sys.stdin.buffer.read().decode("utf-8")
    except UnicodeDecodeError as error:
        raise LumenError(f"{what} on standard input is not valid UTF-8 (byte {error.start})") from None


def model_path(name: str, registry: Registry) -> Path:
    """Return the file that a name on the command line stands for."""
    return registry.file(valid_text(name, "the file name"))


Lookup = Annotated[
    bool, typer.Option("--lookup", help="Guess what followed the same words before: same text, sooner.")
]
DraftName = Annotated[
    str | None, typer.Option("--draft", help="A smaller model with the same vocabulary that guesses ahead.")
]


@contextmanager
def opened(
    name: str,
    threads: int | None,
    context: int | None,
    target: str | None,
    quiet: bool = False,
    **more: Any,
) -> Iterator[Model]:
    """Load a model with a progress bar, and close it."""
    from contextlib import nullcontext

    from lumen_core.cli.output import note, progress_bar
    from lumen_core.engine.loading import load
    from lumen_core.runtime.cores import available_threads

    valid_text(name, "the file name")
    if not quiet and threads is not None and threads > (cores := available_threads()):
        note(f"note: {threads} threads take turns on {cores} cores; one for each (-t {cores}) is faster")
    with nullcontext() if quiet else progress_bar() as progress:
        model = load(name, threads=threads, context=context, target=target, progress=progress, **more)
    try:
        for remark in model.remarks:
            note(f"note: {remark}")
        yield model
    finally:
        model.close()


@contextmanager
def speculating(
    lookup: bool, draft: str | None, threads: int | None, context: int | None, target: str | None
) -> Iterator[dict[str, Any]]:
    """Give the engine's option for `--lookup` or `--draft`; a draft model is open as long as the block."""
    if lookup and draft is not None:
        raise typer.BadParameter("--lookup and --draft guess in different ways; give one of them")
    if draft is None:
        yield {"speculate": "lookup"} if lookup else {}
        return
    with opened(draft, threads, context, target, quiet=True) as model:
        yield {"speculate": model}
