"""What this package tells Lumen: the formats of quantized checkpoints, and how their configs name them."""

from __future__ import annotations

from pathlib import Path

from lumen_core.plugins.hookspecs import hookimpl
from lumen_core.plugins.sources import FormatSource


@hookimpl
def lumen_formats() -> list[FormatSource]:
    from lumen_quant_safetensors.schemes import SCHEMES

    return [FormatSource(Path(__file__).with_name("formats.lum"), schemes=SCHEMES)]
