"""A format's declared expression, evaluated by plain arithmetic: analysis is checked against it."""

from __future__ import annotations

from lumen_core.quant.direct import SIZES, block_bytes, evaluate

__all__ = ["SIZES", "block_bytes", "evaluate"]
