"""`lumen chat`: a conversation in the terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lumen_core.cli import options
from lumen_core.cli.output import Speech, note
from lumen_core.cli.tokenize import warn_of_decomposed
from lumen_core.errors import LumenError

if TYPE_CHECKING:
    from lumen_core.engine.model import Model
    from lumen_core.text.tools import ToolCall

HELP = """/bye               leave (also Ctrl-D)
/clear             forget the conversation
/system TEXT       set the system message and start anew
/result TEXT       what a tool that the model called gave back; after the last one the model goes on
/think, /nothink   turn thinking on or off, where the model has it; `/think 200`: so many tokens at most
/stats             how fast the last answer was
/help              this list
Three double quotes begin and end a message of several lines. Ctrl-C stops an answer."""

EPILOG = """Examples:

  lumen chat                                    talk to the embedded model
  lumen chat model.gguf --system "너는 친절한 도우미야." --temp 0.7
  lumen chat model.gguf --tools tools.json      calls of tools are shown; /result TEXT answers one
"""


def chat(
    model: options.ModelName = "demo",
    system: Annotated[str | None, typer.Option("--system", "-sys", help="A system message.")] = None,
    max_tokens: options.MaxTokens = 1024,
    think: options.Think = None,
    think_budget: options.ThinkBudget = None,
    tools: options.ToolsFile = None,
    temperature: options.Temperature = None,
    top_k: options.TopK = None,
    top_p: options.TopP = None,
    min_p: options.MinP = None,
    repeat_penalty: options.RepeatPenalty = None,
    seed: options.Seed = None,
    stop: options.Stop = None,
    threads: options.Threads = None,
    context: options.ContextSize = None,
    kv_format: options.KvFormat = None,
    target: options.TargetName = None,
    lookup: options.Lookup = False,
    draft: options.DraftName = None,
    *,
    this: typer.Context,
) -> None:
    """Talk to a model; `/help` lists what can be typed. Sampling is as its authors advise, if they do."""
    sampling = options.given(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repeat_penalty=repeat_penalty,
        seed=seed,
        stop=stop or None,
    )
    functions = options.tools_of(tools)
    with (
        options.opened(model, threads, context, target, kv_format=kv_format) as loaded,
        options.speculating(lookup, draft, threads, context, target) as guesses,
    ):
        if sys.stdin.isatty():
            _line_editing()
            note("/help lists the commands, /bye leaves.")
        thinking = options.given(think=think if think_budget is None else think_budget)
        sampling = loaded.recommended | sampling
        more = {"max_tokens": max_tokens, "tools": functions, **thinking, **sampling, **guesses}
        Conversation(loaded, system, more, this.command.params).talk()


class Conversation:
    """The messages so far, and what a typed line does to them."""

    def __init__(
        self, model: Model, system: str | None, sampling: dict[str, Any], parameters: Sequence[Any] = ()
    ):
        self.model = model
        self.sampling = sampling
        self.parameters = parameters  # of the command, whose options errors name
        self.messages: list[dict[str, Any]] = []
        self.calls: list[ToolCall] = []  # those that wait for their results
        self.start(system)

    def start(self, system: str | None) -> None:
        self.system = system
        self.calls = []
        self.messages = [{"role": "system", "content": system}] if system else []

    def talk(self) -> None:
        while True:
            try:
                line = read_message()
            except EOFError:
                return
            except KeyboardInterrupt:
                note("\n/bye or Ctrl-D leaves")
                continue
            if line.strip() == "/bye":
                return
            if line.startswith("/"):
                self.command(line)
            elif line.strip():
                self.calls = []
                self.answer({"role": "user", "content": line})

    def command(self, line: str) -> None:
        name, _, rest = line.strip().partition(" ")
        if name == "/clear":
            self.start(self.system)
        elif name == "/system":
            self.start(rest.strip() or None)
        elif name == "/result":
            self.result(rest)
        elif name in ("/think", "/nothink"):
            self.think(name == "/think", rest.strip())
        elif name == "/stats":
            from lumen_core.cli.run import summary

            note(summary(self.model.statistics) if self.model.statistics else "nothing was said yet")
        else:
            note(HELP if name in ("/help", "/?") else f"unknown command {name}\n{HELP}")

    def think(self, wanted: bool, budget: str) -> None:
        if self.model.family is None or not self.model.family.thinks:
            note("this model has no thinking mode")
        elif budget and not (wanted and budget.isascii() and budget.isdigit() and int(budget) > 0):
            note(f"/think takes a number of tokens, not {budget!r}")
        else:
            self.sampling["think"] = int(budget) if budget else wanted

    def result(self, text: str) -> None:
        """Take what the first tool that waits gave back; the model goes on when none waits any more."""
        if not self.calls:
            note("no tool was called")
            return
        call, *others = self.calls
        given = {"role": "tool", "tool_call_id": call.id, "name": call.name, "content": text}
        if others:
            self.calls = others
            self.messages.append(given)
            note(f"/result TEXT answers the call of {others[0].name}")
        else:
            self.answer(given)

    def answer(self, message: dict[str, Any]) -> None:
        """Stream the model's answer; what was stopped or failed leaves the conversation usable."""
        warn_of_decomposed(message["content"], self.model.tokenizer)
        asked = [*self.messages, message]
        turn = self.model.stream_parts(asked, **self.sampling)
        speech = Speech()
        try:
            for part in turn:
                speech.write(part.channel, part.text)
            speech.calls(turn.reply())
        except KeyboardInterrupt:
            note(" (stopped)")
        except LumenError as error:
            note(f"error: {options.in_options(error, self.parameters)}")
            return
        finally:
            speech.end()
        if turn.run is None:  # stopped before it began
            return
        reply = turn.reply()
        self.messages = [*asked, reply.message]
        self.calls = list(reply.tool_calls)
        if self.calls:
            note(f"/result TEXT answers the call of {self.calls[0].name}")


def read_message() -> str:
    """Read one line, or several between three double quotes; raises EOFError at the end."""
    line = _line(">>> ")
    if not line.startswith('"""'):
        return line
    lines = [line[3:]]
    while not lines[-1].endswith('"""'):
        lines.append(_line("... "))
    lines[-1] = lines[-1][:-3]
    return "\n".join(lines).strip("\n")


def _line(mark: str) -> str:
    if sys.stdin.isatty():
        return options.valid_text(input(mark), "the message")
    data = sys.stdin.buffer.readline()
    if not data:
        raise EOFError
    try:
        return data.decode("utf-8").rstrip("\r\n")
    except UnicodeDecodeError:
        raise LumenError("standard input is not valid UTF-8") from None


def _line_editing() -> None:
    with contextlib.suppress(ImportError):  # not on every system
        import readline  # noqa: F401  (importing it is what turns editing and history on)
