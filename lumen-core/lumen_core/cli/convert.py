"""`lumen convert`: a checkpoint directory into one model file."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lumen_core.cli import options
from lumen_core.cli.output import note, progress_bar, size_text

EPILOG = """Examples:

  lumen convert ./EXAONE-4.0-1.2B exaone.gguf
  lumen convert Qwen/Qwen3-0.6B qwen3.gguf --type f16
"""


def convert(
    model: Annotated[str, typer.Argument(help="A checkpoint directory, or `org/name` on the hub.")],
    file: Annotated[Path, typer.Argument(help="The file to write; its ending names the container.")],
    element: Annotated[
        str | None,
        typer.Option(
            "--type",
            help="f32, f16 or bf16 for the matrices; or a format such as q8_0 for those of a quantized "
            "checkpoint that the file cannot hold exactly. As they are if not given.",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Write a model as a single file that other engines read too."""
    from lumen_core.engine import convert as engine

    with progress_bar() as progress:
        remarks = engine.convert(
            options.valid_text(model, "the name"), file, element, force=force, progress=progress
        )
    for remark in remarks:
        note(f"note: {remark}")
    note(f"{file}: {size_text(file.stat().st_size)}")
