"""What this package tells Lumen: the block formats and the reader of GGUF files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lumen_core.plugins.hookspecs import hookimpl
from lumen_core.plugins.sources import FormatSource

if TYPE_CHECKING:
    from lumen_core.weights.model_file import Reader


@hookimpl
def lumen_formats() -> list[FormatSource]:
    return [FormatSource(Path(__file__).with_name("formats.lum"), _table)]


def _table(name: str) -> object:
    from lumen_quant_gguf.tables import table

    return table(name)


@hookimpl
def lumen_readers() -> list[Reader]:
    from lumen_quant_gguf.container import READER

    return [READER]
