"""`lumen show`: any level of the compiler, as text."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from lumen_core.cli import options

EPILOG = """Examples:

  lumen show qwen3                               a model's syntax tree, printed as Lumen's language
  lumen show qwen3 --at tensor                   its tensor IR, with the four explicit steps of a matmul
  lumen show qwen3 --at fused                    after the passes
  lumen show q4_k --at kernel --only matmul      the matrix products of a format
  lumen show demo --at llvm                      what is compiled for a model file, listed first
  lumen show my.lum --at typed                   types and shapes of your own file
"""


class Level(StrEnum):
    """The levels, in the order of the compiler."""

    ast = "ast"
    typed = "typed"
    tensor = "tensor"
    fused = "fused"
    kernel = "kernel"
    llvm = "llvm"
    asm = "asm"


def show(
    what: Annotated[
        str, typer.Argument(help="A `.lum` file, a model, a format, a model file, or `standard`.")
    ],
    level: Annotated[Level, typer.Option("--at", help="The level to print.")] = Level.ast,
    format: Annotated[
        str, typer.Option("--format", help="The format of a model's matrices, where no file says it.")
    ] = "q4_0",
    only: Annotated[
        str, typer.Option("--only", help="Functions and kernels whose name begins so, such as matmul.")
    ] = "",
    target: options.TargetName = None,
) -> None:
    """Print what the compiler makes of a file, a model or a format, at any level."""
    from lumen_core.engine.show import show as text_of

    text = text_of(options.valid_text(what, "the name"), level.value, target=target, format=format, only=only)
    print(text, end="" if text.endswith("\n") else "\n")
