"""The passes in the order in which they run: the only place that knows it."""

from __future__ import annotations

from collections.abc import Sequence

from lumen_core.ir.core import Module
from lumen_core.passes.base import Pass
from lumen_core.passes.canonicalize import Canonicalize
from lumen_core.passes.dead_code import DeadCode
from lumen_core.passes.fuse_matmul import FuseMatmul
from lumen_core.passes.fuse_rowwise import FuseRowwise
from lumen_core.passes.split_early import SplitEarly

PIPELINE: tuple[Pass, ...] = (
    Canonicalize(),
    FuseMatmul(),
    DeadCode(),
    SplitEarly(),
    Canonicalize(),
    FuseRowwise(),
    DeadCode(),
)


def run(module: Module, passes: Sequence[Pass] = PIPELINE) -> Module:
    """Return the module after all passes, verified after each."""
    for step in passes:
        module = step.run(module)
    return module
