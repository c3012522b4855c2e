"""`lumen pack`: a model's weights as kernels read them, for a start that only maps them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lumen_core.cli import options
from lumen_core.cli.output import note, progress_bar, size_text

EPILOG = """Examples:

  lumen pack model.gguf packed.gguf
  lumen run packed.gguf "안녕하세요"            starts at once

The file fits the target that it was packed for; on another machine pack the model again there.
"""


def pack(
    model: options.ModelName,
    out: Annotated[Path, typer.Argument(help="The file to write; its ending names the container.")],
    target: options.TargetName = None,
    threads: options.Threads = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
) -> None:
    """Pack a model's weights once, so that every later start only maps them."""
    from lumen_core.engine import pack as engine

    name = options.valid_text(model, "the file name")
    with progress_bar() as progress:
        engine.pack(name, out, target=target, threads=threads, force=force, progress=progress)
    note(f"{out}: {size_text(out.stat().st_size)}")
