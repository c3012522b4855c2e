"""`lumen synth`: a model file of a real shape with random weights, for tests and benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lumen_core.cli import options
from lumen_core.cli.output import note, size_text

EPILOG = """Examples:

  lumen synth qwen2.5-0.5b random.gguf --format q4_0 --vocab vocabulary.gguf
  lumen synth qwen3-30b-a3b part.gguf --format q4_k_m --layers 8
  lumen synth llama-tiny tiny.gguf --format f32 --vocab demo --seed 7

Then measure it: lumen bench random.gguf
"""


def synth(
    shape: Annotated[str, typer.Argument(help="A named shape; a wrong name lists them.")],
    out: Annotated[Path, typer.Argument(help="The file to write.")],
    format: Annotated[str, typer.Option("--format", help="A format or a mixture such as q4_k_m.")] = "q8_0",
    vocab: Annotated[
        str | None, typer.Option("--vocab", help="A file whose vocabulary is taken; bytes if not given.")
    ] = None,
    layers: Annotated[
        int | None, typer.Option("--layers", min=1, help="Only so many of the shape's layers.")
    ] = None,
    seed: Annotated[int, typer.Option("-s", "--seed", help="The same seed gives the same file.")] = 0,
) -> None:
    """Write a model file of a real model's shape, with random weights and another file's vocabulary."""
    from lumen_core.engine.synth import synthesize
    from lumen_core.plugins.registry import Registry

    vocabulary = options.model_path(vocab, Registry.load()) if vocab else None
    synthesize(
        shape,
        out,
        format=format,
        vocabulary=vocabulary,
        seed=seed,
        overrides={"layers": layers} if layers else None,
    )
    note(f"{out}: {size_text(out.stat().st_size)}")
