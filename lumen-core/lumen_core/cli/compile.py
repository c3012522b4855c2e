"""`lumen compile`: a model as object files, a C header and an image, for programs without Python."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lumen_core.cli import options
from lumen_core.cli.output import note, size_text

EPILOG = """Examples:

  lumen compile demo -o out                                         for this machine
  lumen compile model.gguf --target NAME -o out                     for a target of `lumen backends list`
  lumen compile model.gguf --target MACHINE-SYSTEM+FEATURE -o out   by what another machine has

Then: cc program.c out/*.o, where program.c includes out/model.h.
"""


def compile(
    model: options.ModelName,
    out: Annotated[Path, typer.Option("-o", "--out", help="The directory to write.")],
    target: options.TargetName = None,
    context: options.ContextSize = None,
    threads: Annotated[int, typer.Option("-t", "--threads", min=1, help="Threads that it has room for.")] = 1,
) -> None:
    """Compile a model ahead of time, for this machine or another."""
    from lumen_core.engine.ahead import compile_ahead

    name = options.valid_text(model, "the file name")
    done = compile_ahead(name, out, target=target, context=context, threads=threads)
    note(
        f"{done.directory}: {done.objects} objects of {size_text(done.object_bytes)} for {done.target}, "
        f"an image of {size_text(done.image_bytes)}; {size_text(done.memory_bytes)} of memory when it runs"
    )
