"""`lumen quantize`: a model file in other formats."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lumen_core.cli import options
from lumen_core.cli.output import note, print_facts, print_json, print_table, progress_bar, size_text
from lumen_core.errors import LumenError

if TYPE_CHECKING:
    from lumen_core.engine.quantize import Job
    from lumen_core.plugins.registry import Registry
    from lumen_core.weights.model_file import Importance

EPILOG = """Examples:

  lumen quantize model-f16.gguf model-q4_k_m.gguf --format q4_k_m
  lumen quantize in.gguf out.gguf -f q4_0 --tensor 'attn_v=q8_0' --tensor '^output=f16'
  lumen quantize in.gguf out.gguf -f q4_k_m --dry-run
  lumen quantize in.gguf out.gguf -f q4_k_m --imatrix imatrix.gguf --verify

The result gets its name only when it is complete. `pure-NAME` gives every matrix that one format.
"""


def quantize(
    source: Annotated[
        str, typer.Argument(metavar="IN", help="A model file, a checkpoint directory, or `demo`.")
    ],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    format: Annotated[
        str, typer.Option("-f", "--format", help="A format, or a mixture such as q4_k_m.")
    ] = "q4_k_m",
    tensor: Annotated[
        list[str] | None,
        typer.Option(
            "--tensor",
            "--tensor-type",
            metavar="REGEX=FORMAT",
            help="Another format for tensors whose name matches; repeatable, the last one wins.",
        ),
    ] = None,
    imatrix: Annotated[
        Path | None, typer.Option("--imatrix", help="Importances that `lumen imatrix` collected.")
    ] = None,
    pure: Annotated[bool, typer.Option("--pure", help="The same format for every matrix.")] = False,
    requantize: Annotated[
        bool, typer.Option("--allow-requantize", help="Accept a source that is quantized already.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show sizes, write nothing.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Compare the result with the source: tensors and whole model.")
    ] = False,
    verify_text: Annotated[
        Path | None,
        typer.Option("--verify-text", help="A text to verify with; else what the source writes itself."),
    ] = None,
    threads: options.Threads = None,
    json: options.Json = False,
) -> None:
    """Write a model file in another format or mixture, with the quantizers derived from the formats."""
    from lumen_core.engine.output_file import require_safe_output
    from lumen_core.engine.quantize import plan, write
    from lumen_core.engine.sources import open_model
    from lumen_core.engine.targets import choose_target
    from lumen_core.plugins.registry import Registry
    from lumen_core.runtime.cores import available_threads

    registry = Registry.load()
    path = options.model_path(source, registry)
    text = _text(verify_text) if verify or verify_text else None
    mixture = f"pure-{format}" if pure and not format.startswith("pure-") else format
    with open_model(path, registry) as file:
        require_safe_output(out, file)
        importance = _importance(imatrix, registry) if imatrix else None
        job = plan(file, mixture.lower(), [_override(item) for item in tensor or ()], registry=registry,
                   importance=importance, requantize=requantize)  # fmt: skip
        facts = _facts(job)
        for change in job.changes:
            if change.fallback:
                note(f"{change.tensor.name}: rows of {change.tensor.shape[-1]} do not fill blocks of "
                     f"{change.fallback}; {change.format} takes its place")  # fmt: skip
        if job.poor:
            formats = sorted({change.format for change in job.changes if change.tensor.name in job.poor})
            note(f"warning: {', '.join(formats)} ({len(job.poor)} tensors) lose much without an importance "
                 "matrix; collect one with `lumen imatrix` and give it with --imatrix")  # fmt: skip
        if not dry_run:
            with _stoppable(), progress_bar() as progress:
                target = choose_target(registry, None)
                write(job, out, target, threads or available_threads(), progress)
            facts["file_bytes"] = out.stat().st_size
            if verify or verify_text:
                facts["verified"] = _verified(job, path, out, text, threads, registry)
    if json:
        print_json(facts)
        return
    if dry_run:
        _print_plan(facts)
    elif "verified" in facts:
        _print_errors(facts["verified"])
    summary = f"{size_text(facts['source_bytes'])} -> {size_text(facts['bytes'])}, "
    note(f"{out}: {summary}{facts['bits_per_weight']:.2f} bits a weight{' (not written)' if dry_run else ''}")


def _override(text: str) -> tuple[str, str]:
    pattern, found, format = text.rpartition("=")
    if not found or not pattern or not format:
        raise LumenError(f"--tensor wants REGEX=FORMAT, found {text!r}")
    return pattern, format.lower()


def _importance(path: Path, registry: Registry) -> Importance:
    for entry in registry.readers.values():
        if entry.value.read_importance is not None:
            return entry.value.read_importance(path)
    raise LumenError("no installed package reads importance files")


def _text(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LumenError(f"{path} is not UTF-8 text (byte {error.start})") from None


@contextmanager
def _stoppable() -> Iterator[None]:
    """A polite kill cleans up like Ctrl-C does."""

    def stop(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _facts(job: Job) -> dict[str, Any]:
    elements = sum(change.elements for change in job.changes)
    return {
        "source": str(job.file.path),
        "format": job.mixture,
        "source_bytes": sum(change.tensor.data.nbytes for change in job.changes),
        "bytes": job.bytes,
        "bits_per_weight": 8 * job.bytes / max(elements, 1),
        "tensors": [
            {
                "name": change.tensor.name,
                "shape": list(change.tensor.shape),
                "from": change.tensor.format,
                "to": change.format,
                "source_bytes": int(change.tensor.data.nbytes),
                "bytes": change.bytes,
            }
            for change in job.changes
        ],
    }


def _print_plan(facts: dict[str, Any]) -> None:
    print_table(
        ["tensor", ">shape", "from", "to", ">size", ">becomes"],
        [
            (item["name"], "x".join(map(str, item["shape"])), item["from"], item["to"],
             size_text(item["source_bytes"]), size_text(item["bytes"]))
            for item in facts["tensors"]
        ],
    )  # fmt: skip
    by_format: dict[str, list[int]] = {}
    for item in facts["tensors"]:
        entry = by_format.setdefault(item["to"], [0, 0])
        entry[0] += 1
        entry[1] += item["bytes"]
    print_table(
        ["format", ">tensors", ">size"],
        [(name, count, size_text(size)) for name, (count, size) in sorted(by_format.items())],
    )


def _verified(job: Job, source: Path, out: Path, text: str | None, threads: int | None,
              registry: Registry) -> dict[str, Any]:  # fmt: skip
    from dataclasses import asdict

    from lumen_core.engine.verify import divergence, tensor_errors

    with registry.reader(out).open(out) as result:
        errors = [asdict(error) for error in tensor_errors(job.file, result, job.forms)]
    found = divergence(source, out, text, registry=registry, **options.given(threads=threads))
    return {"tensors": errors, "model": asdict(found)}


def _print_errors(verified: dict[str, Any]) -> None:
    print_table(
        ["tensor", "from", "to", ">error"],
        [(item["name"], item["source"], item["format"], f"{item['error']:.5f}") for item in
         verified["tensors"]],
    )  # fmt: skip
    model = verified["model"]
    print_facts(
        {
            "tokens compared": model["tokens"],
            "KL divergence": f"{model['kl_mean']:.5f} nats on average, {model['kl_max']:.5f} at most",
            "same likeliest token": f"{100 * model['same_top']:.1f} %",
            "perplexity": f"{model['perplexity']:.4f} (source {model['perplexity_source']:.4f})",
        }
    )
