"""Rewritings of the tensor IR; `pipeline` has their order."""

from lumen_core.passes.pipeline import PIPELINE, run

__all__ = ["PIPELINE", "run"]
