"""What is derived for a format on a target: the coverage matrix that `lumen formats matrix` prints.

In: normal forms, targets. Out: for each pair and each use nothing (the code is there, built and emitted as
text for LLVM), or why it is not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import lcm

from lumen_core.codegen.llvm import emit_llvm
from lumen_core.engine.encoders import encoder_kernels
from lumen_core.errors import LumenError
from lumen_core.ir.kernel import Kernel
from lumen_core.quant.cache_layout import check_cache_format
from lumen_core.quant.normal_form import NormalForm
from lumen_core.schedule.blocking import tile_columns
from lumen_core.schedule.encode_block import build_encode
from lumen_core.schedule.matmul import MatmulTile, build_matmul
from lumen_core.schedule.rows import build_rows
from lumen_core.target import Target

USES = ("decode", "GEMV", "GEMM", "quantize", "KV")


@dataclass(frozen=True)
class Row:
    """One format on one target; `missing` says why a use is not there."""

    format: str
    target: str
    missing: Mapping[str, str]


def coverage(forms: Sequence[NormalForm], targets: Sequence[Target]) -> Iterator[Row]:
    """Build every kernel of every format for every target."""
    for form in forms:
        for target in targets:
            yield Row(form.name, target.name, _missing(form, target))


def _missing(form: NormalForm, target: Target) -> dict[str, str]:
    wide = MatmulTile(tile_columns(target))
    kernels: dict[str, Callable[[], Sequence[Kernel]]] = {
        "decode": lambda: [build_rows(form, target)],
        "GEMV": lambda: [build_matmul(form, target, MatmulTile(1))],
        "GEMM": lambda: [build_matmul(form, target, wide)],
        "quantize": lambda: encoder_kernels(form, target),
        "KV": lambda: _cache(form),
    }
    found = {}
    for use, build in kernels.items():
        try:
            for kernel in build():
                emit_llvm(kernel, target)
        except LumenError as error:
            found[use] = str(error)
    return found


def _cache(form: NormalForm) -> list[Kernel]:
    """What writes keys and values of heads that the format's blocks divide; plain floats need nothing."""
    check_cache_format(form, lcm(form.block, 128), "keys and values")
    return [build_encode(form)] if form.kind == "integer" else []
