"""`lumen imatrix`: which columns of a model's matrices matter, found by letting it read a text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lumen_core.cli import options
from lumen_core.cli.output import note, print_json, progress_bar
from lumen_core.errors import LumenError

EPILOG = """Examples:

  lumen imatrix model-f16.gguf calibration.txt -o imatrix.gguf
  lumen imatrix model-f16.gguf calibration.txt -o imatrix.gguf --chunks 50
  lumen quantize model-f16.gguf model-q4_k_m.gguf --imatrix imatrix.gguf
"""


def imatrix(
    model: options.ModelName,
    text: Annotated[Path, typer.Argument(help="A text like what the model will read and write.")],
    out: Annotated[Path, typer.Option("-o", "--output", help="The file to write.")] = Path("imatrix.gguf"),
    chunks: Annotated[
        int | None, typer.Option("--chunks", min=1, help="Read at most so many chunks.")
    ] = None,
    chunk: Annotated[int, typer.Option("-c", "--ctx-size", min=2, help="Tokens of a chunk.")] = 512,
    process_output: Annotated[
        bool, typer.Option("--process-output", help="Also watch the output matrix.")
    ] = False,
    json: options.Json = False,
) -> None:
    """Collect the importance of every column of a model's matrices, for `lumen quantize --imatrix`."""
    from lumen_core.engine.importance import collect
    from lumen_core.engine.output_file import require_safe_output
    from lumen_core.plugins.registry import Registry
    from lumen_core.text.tokenizer import build

    registry = Registry.load()
    path = options.model_path(model, registry)
    writers = [entry.value.write_importance for entry in registry.readers.values()]
    write = next((item for item in writers if item is not None), None)
    if write is None:
        raise LumenError("no installed package writes importance files")
    try:
        words = text.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LumenError(f"{text} is not UTF-8 text (byte {error.start})") from None
    with registry.reader(path).open(path) as file:
        require_safe_output(out, file)
        ids = build(file.metadata).encode(words)
        with progress_bar() as progress:
            found = collect(file, ids, registry=registry, chunk=chunk, chunks=chunks, head=process_output,
                            dataset=text.name, progress=progress)  # fmt: skip
    write(out, found)
    if json:
        print_json({"file": str(out), "chunks": found.chunks, "chunk_size": found.chunk_size,
                    "tensors": sorted(found.sums)})  # fmt: skip
    note(f"{out}: {len(found.sums)} matrices, {found.chunks} chunks of {found.chunk_size} tokens")
