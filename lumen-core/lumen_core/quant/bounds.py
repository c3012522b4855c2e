"""How large the sums can get that kernels hold in 32-bit integers: the proof that none overflows.

A block whose activations share a scale is summed in integers, each sub-block times its own integer; the
block's float comes last. Activations are -127..127, codes at most what a byte holds.
"""

from __future__ import annotations

from lumen_core.quant.integers import Integers
from lumen_core.quant.normal_form import NormalForm

LARGEST_SUM = (1 << 31) - 1
_ACTIVATION = 127


def summed(form: NormalForm) -> int:
    """Products that are added up before a float takes their sum."""
    return 256 if form.activation == "i8g256" else 32


def largest_code(form: NormalForm) -> int:
    """The largest magnitude that enters the products for a weight: of a code, or of what its table holds."""
    return max(map(abs, form.table)) if form.table is not None else (1 << form.bits) - 1


def reach(integer: Integers | None) -> int:
    """The largest magnitude of a sub-block's integer."""
    return max(abs(integer.low), abs(integer.high)) if integer is not None else 1


def largest_sum(form: NormalForm) -> int:
    """The largest magnitude of a sum, of codes or of minimums."""
    scale, offset = (factor.integer if factor is not None else None for factor in (form.scale, form.offset))
    return summed(form) * _ACTIVATION * max(largest_code(form) * reach(scale), reach(offset))
