"""`lumen bench`: speed, by the test names of llama-bench, beside what the machine could do."""

from __future__ import annotations

import csv
import re
import sys
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lumen_core.cli import options
from lumen_core.cli.output import print_json, print_table, progress_bar, size_text
from lumen_core.errors import LumenError

if TYPE_CHECKING:
    from lumen_core.engine.benchmark import Measurement, Test

EPILOG = """Examples:

  lumen bench model.gguf                         pp512 and tg128, five times each
  lumen bench model.gguf -p 512,4096 -n 32 -d 0,16384 -r 3 -t 2
  lumen bench model.gguf -p 0 -n 64 --batch 1,8  several sequences at once
  lumen bench demo -p 0 --lookup                 with prompt look-up, of text that stood before
  lumen bench model.gguf -o json > before.json
  lumen bench model.gguf --against llama.cpp     both in turn, the ratio beside them
  lumen bench model.gguf --profile               where the time goes

pp512: tokens a second over a prompt of 512. tg128: tokens a second while 128 are generated.

chars/s: the same in characters of Korean, by which models of different vocabularies compare.

A list has commas and ranges: 1-4, 128-512+128, 1-64*2.

of peak, of bandwidth: which part that is of what the machine can multiply (pp) or read (tg).
"""
LONGEST_LIST = 1000
_RANGE = re.compile(r"(\d+)-(\d+)(?:([+*])(\d+))?")


class Output(StrEnum):
    """How results are printed."""

    md = "md"
    csv = "csv"
    json = "json"


def bench(
    model: options.ModelName = "demo",
    prompts: Annotated[str, typer.Option("-p", "--n-prompt", help="Prompt lengths; 0 skips.")] = "512",
    generations: Annotated[
        str, typer.Option("-n", "--n-gen", help="Numbers of generated tokens; 0 skips.")
    ] = "128",
    depths: Annotated[
        str, typer.Option("-d", "--n-depth", help="Tokens that are in the cache before a test.")
    ] = "0",
    batches: Annotated[
        str, typer.Option("-b", "--batch", "-np", help="Sequences that are generated at once.")
    ] = "1",
    lookup: Annotated[
        bool,
        typer.Option("--lookup", help="Generate with prompt look-up too, text that stood before."),
    ] = False,
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
    from lumen_core import __version__
    from lumen_core.engine.benchmark import all_tests, benchmark
    from lumen_core.engine.rivals import rivals

    lengths = [count for count in _numbers(prompts, "-p") if count]
    counts = [count for count in _numbers(generations, "-n") if count]
    together = _numbers(batches, "--batch")
    if 0 in together:
        raise typer.BadParameter("a batch has one sequence or more", param_hint="--batch")
    if profile and against:
        raise LumenError("a profile shows Lumen's own work: give --profile or --against, not both")
    tests = all_tests(lengths, counts, _numbers(depths, "-d"), together, lookup)
    if not tests:
        raise LumenError("nothing to measure: both -p and -n are 0")
    if profile:
        _profile(model, tests, threads, target, kv_format, Output.json if json else output)
        return
    with (
        options.opened(
            model,
            threads,
            max(test.context for test in tests),
            target,
            quiet=True,
            sequences=max(together),
            kv_format=kv_format,
        ) as loaded,
        rivals(against, loaded) as others,
        progress_bar() as progress,
    ):
        results, machine = benchmark(loaded, tests, repetitions, progress, others)
    if json or output is Output.json:
        print_json({"lumen": __version__, "machine": machine, "results": results})
    elif output is Output.csv:
        rows = [asdict(result) for result in results]
        _print_csv([{name: value for name, value in row.items() if name != "samples"} for row in rows])
    else:
        _print_markdown([_row(result, bool(others)) for result in results])
        peaks = " ".join(f"{unit} {peak / 1e9:.0f}" for unit, peak in machine.operations_per_second.items())
        reads = machine.read_bytes_per_second / 1e9
        print(f"\nmachine, {machine.threads} threads: reads {reads:.1f} GB/s, peaks in GOPS: {peaks}")


def _profile(
    model: str,
    tests: list[Test],
    threads: int | None,
    target: str | None,
    kv_format: str | None,
    output: Output,
) -> None:
    """Print which share of each test every kind of work takes on the first thread."""
    from lumen_core.engine.benchmark import profile

    context, together = max(test.context for test in tests), max(test.sequences for test in tests)
    with options.opened(
        model, threads, context, target, quiet=True, profile=True, sequences=together, kv_format=kv_format
    ) as loaded:
        results = profile(loaded, tests)
    if output is Output.json:
        print_json(dict(results))
        return
    if output is Output.csv:
        works = [(name, work, share) for name, shares in results for work, share in shares.items()]
        _print_csv([dict(zip(("test", "work", "share"), row, strict=True)) for row in works])
        return
    for name, shares in results:
        rows = [(kind, f"{share:.1%}") for kind, share in shares.items() if share >= 0.0005]
        print_table(("work", "share"), rows, title=name)


def _numbers(text: str, option: str) -> list[int]:
    """Return what a list such as `1,8`, `128-512+128` or `1-64*2` names."""
    numbers: list[int] = []
    for part in text.split(","):
        found = _RANGE.fullmatch(part.strip())
        if found is None:
            try:
                numbers.append(int(part))
            except ValueError:
                raise typer.BadParameter(f"{text!r} is not a list of numbers", param_hint=option) from None
            continue
        number, last, step = int(found[1]), int(found[2]), int(found[4] or 1)
        if step < (2 if found[3] == "*" else 1) or (found[3] == "*" and number == 0):
            raise typer.BadParameter(f"{part!r} would never end", param_hint=option)
        if number > last:
            raise typer.BadParameter(f"{part!r} names no number: it ends before it begins", param_hint=option)
        while number <= last and len(numbers) <= LONGEST_LIST:
            numbers.append(number)
            number = number * step if found[3] == "*" else number + step
    if len(numbers) > LONGEST_LIST:
        raise typer.BadParameter(f"{text!r} names more than {LONGEST_LIST} numbers", param_hint=option)
    if min(numbers, default=0) < 0:
        raise typer.BadParameter("a length cannot be negative", param_hint=option)
    return numbers


def _row(result: Measurement, compared: bool) -> dict[str, Any]:
    row = {
        "engine": result.engine,
        "model": result.model,
        "size": size_text(result.size),
        "params": f"{result.parameters / 1e6:.2f} M",
        "backend": result.target,
        "threads": result.threads,
        "test": result.test,
        "t/s": f"{result.median:.2f} ± {result.spread:.2f}",
        "chars/s": f"{result.characters:.0f}",
        "of peak": f"{result.of_peak:.1%}" if result.test.startswith("pp") else "",
        "of bandwidth": f"{result.of_bandwidth:.1%}" if result.test.startswith("tg") else "",
    }
    if compared:
        row["against"] = f"{result.against:.2f}x" if result.against is not None else ""
    return row


def _print_csv(rows: list[dict[str, Any]]) -> None:
    """Print numbers as they are, under the names that they have in JSON."""
    writer = csv.DictWriter(sys.stdout, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)


def _print_markdown(rows: list[dict[str, Any]]) -> None:
    columns = list(rows[0])
    widths = {name: max(len(name), *(len(str(row[name])) for row in rows)) for name in columns}
    print("| " + " | ".join(f"{name:<{widths[name]}}" for name in columns) + " |")
    print("| " + " | ".join("-" * widths[name] for name in columns) + " |")
    for row in rows:
        print("| " + " | ".join(f"{row[name]!s:<{widths[name]}}" for name in columns) + " |")
