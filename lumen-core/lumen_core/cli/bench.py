"""`lumen bench`: speed, by the test names of llama-bench, beside what the machine could do."""

from __future__ import annotations

import csv
import sys
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lumen_core.cli import options
from lumen_core.cli.output import print_json, print_table, progress_bar, size_text
from lumen_core.errors import LumenError

if TYPE_CHECKING:
    from lumen_core.engine.benchmark import Measurement

EPILOG = """Examples:

  lumen bench model.gguf                         pp512 and tg128, five times each
  lumen bench model.gguf -p 128,512 -n 32 -r 3 -t 2
  lumen bench model.gguf -o json > before.json
  lumen bench model.gguf --against llama.cpp     both in turn, the ratio beside them
  lumen bench model.gguf --profile               where the time goes

pp512: tokens a second over a prompt of 512. tg128: tokens a second while 128 are generated.

chars/s: the same in characters of Korean, by which models of different vocabularies compare.

The last columns say which part of the measured int8 peak (pp) or read bandwidth (tg) that is.
"""


class Output(StrEnum):
    """How results are printed."""

    md = "md"
    csv = "csv"
    json = "json"


def bench(
    model: options.ModelName = "demo",
    prompts: Annotated[
        str, typer.Option("-p", "--n-prompt", help="Prompt lengths, separated by commas; 0 skips.")
    ] = "512",
    generations: Annotated[
        str, typer.Option("-n", "--n-gen", help="Numbers of generated tokens, separated by commas; 0 skips.")
    ] = "128",
    repetitions: Annotated[
        int, typer.Option("-r", "--repetitions", min=1, help="Repetitions of each test.")
    ] = 5,
    threads: options.Threads = None,
    kv_format: options.KvFormat = None,
    target: options.TargetName = None,
    output: Annotated[Output, typer.Option("-o", "--output", help="How results are printed.")] = Output.md,
    profile: Annotated[
        bool, typer.Option("--profile", help="Show where the time goes, per kind of work, instead of speeds.")
    ] = False,
    against: Annotated[
        str | None,
        typer.Option("--against", help="Measure `llama.cpp` in turn with it (package llama-cpp-python)."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="The same as -o json.")] = False,
) -> None:
    """Measure prompt processing and generation; medians, their spread, and the machine's own limits."""
    from lumen_core.engine.benchmark import benchmark
    from lumen_core.engine.rivals import rivals

    lengths, counts = _numbers(prompts, "-p"), _numbers(generations, "-n")
    if not lengths and not counts:
        raise LumenError("nothing to measure: both -p and -n are 0")
    context = max(lengths + [count + 2 for count in counts])
    if profile:
        _profile(model, lengths, counts, threads, context, target, kv_format, json or output is Output.json)
        return
    with (
        options.opened(model, threads, context, target, quiet=True, kv_format=kv_format) as loaded,
        rivals(against, loaded) as others,
        progress_bar() as progress,
    ):
        results, machine = benchmark(loaded, lengths, counts, repetitions, progress, others)
    if json or output is Output.json:
        print_json({"machine": machine, "results": results})
    elif output is Output.csv:
        rows = [_row(result) for result in results]
        writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    else:
        _print_markdown([_row(result) for result in results])
        reads = machine.read_bytes_per_second / 1e9
        peak = machine.int8_operations_per_second / 1e9
        print(f"\nmachine, {machine.threads} threads: reads {reads:.1f} GB/s, int8 peak {peak:.0f} GOPS")


def _profile(
    model: str,
    lengths: list[int],
    counts: list[int],
    threads: int | None,
    context: int,
    target: str | None,
    kv_format: str | None,
    json: bool,
) -> None:
    """Print which share of each test every kind of work takes on the first thread."""
    from lumen_core.engine.benchmark import profile

    with options.opened(
        model, threads, context, target, quiet=True, profile=True, kv_format=kv_format
    ) as loaded:
        results = profile(loaded, lengths, counts)
    if json:
        print_json(dict(results))
        return
    for name, shares in results:
        rows = [(kind, f"{share:.1%}") for kind, share in shares.items() if share >= 0.0005]
        print_table(("work", "share"), rows, title=name)


def _numbers(text: str, option: str) -> list[int]:
    try:
        numbers = [int(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a list of numbers", param_hint=option) from None
    if min(numbers) < 0:
        raise typer.BadParameter("a length cannot be negative", param_hint=option)
    return [number for number in numbers if number]


def _row(result: Measurement) -> dict[str, Any]:
    return {
        "engine": result.engine,
        "model": result.model,
        "size": size_text(result.size),
        "params": f"{result.parameters / 1e6:.2f} M",
        "backend": result.target,
        "threads": result.threads,
        "test": result.test,
        "t/s": f"{result.median:.2f} ± {result.spread:.2f}",
        "chars/s": f"{result.characters:.0f}",
        "of int8 peak": f"{result.of_int8_peak:.1%}",
        "of bandwidth": f"{result.of_bandwidth:.1%}",
        "against": f"{result.against:.2f}x",
    }


def _print_markdown(rows: list[dict[str, Any]]) -> None:
    columns = list(rows[0])
    widths = {name: max(len(name), *(len(str(row[name])) for row in rows)) for name in columns}
    print("| " + " | ".join(f"{name:<{widths[name]}}" for name in columns) + " |")
    print("| " + " | ".join("-" * widths[name] for name in columns) + " |")
    for row in rows:
        print("| " + " | ".join(f"{row[name]!s:<{widths[name]}}" for name in columns) + " |")
