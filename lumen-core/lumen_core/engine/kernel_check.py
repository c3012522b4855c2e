"""The kernels of one format on this machine, against plain arithmetic on its decoded weights.

In: a normal form and a target that the machine runs. Out: what was covered, or a `Difference`. Sums may be
off by as much as the rounding of f32 allows, gathered rows by nothing.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np

from lumen_core.codegen.llvm import emit_llvm
from lumen_core.codegen.objects import compile_object
from lumen_core.engine.format_samples import magnitudes, random_rows
from lumen_core.ir.kernel import Kernel
from lumen_core.ir.operations.values import round_bf16
from lumen_core.quant.bounds import LARGEST_SUM, largest_sum
from lumen_core.quant.layout import ALIGNMENT, ActivationLayout, WeightLayout
from lumen_core.quant.normal_form import NormalForm
from lumen_core.quant.panels import pack_panels
from lumen_core.runtime.link import Library
from lumen_core.runtime.memory import address, allocate
from lumen_core.schedule.blocking import tile_columns
from lumen_core.schedule.matmul import MatmulTile, build_matmul
from lumen_core.schedule.pack import build_pack
from lumen_core.schedule.rows import build_rows
from lumen_core.schedule.weights import DotPlan
from lumen_core.target import Target

ROWS = 37  # no multiple of any row group
TOKENS = (1, 3, 35)


class Difference(Exception):
    """A test found a difference; str() says which."""


def require(good: object, message: str) -> None:
    """Raise `Difference` where something that must hold does not."""
    if not good:
        raise Difference(message)


def compiled(kernel: Kernel, target: Target) -> Callable[..., None]:
    """Compile a kernel of pointers and 64-bit numbers; arrays are given as they are."""
    library = Library([compile_object(emit_llvm(kernel, target), target)], [kernel.name])
    kinds = [ctypes.c_void_p if p.type.element == "ptr" else ctypes.c_int64 for p in kernel.parameters]
    function = library.function(kernel.name, None, *kinds)

    def call(*arguments: object) -> None:
        function(*(item.ctypes.data if isinstance(item, np.ndarray) else item for item in arguments))

    return call


def packed(form: NormalForm, target: Target, raw: np.ndarray) -> np.ndarray:
    """A matrix as the kernels read it: raw rows, uint8 [rows, row bytes] -> uint8 [bytes], aligned."""
    layout = WeightLayout(form, target.lanes, target.depth)
    length = form.columns(raw.shape[1])
    made = allocate(layout.matrix_bytes(len(raw), length), "a packed matrix")
    assert address(made) % ALIGNMENT == 0
    source = np.ascontiguousarray(raw)
    compiled(build_pack(form, target), target)(source, made, length, len(raw), 0, layout.groups(len(raw)))
    return made


def panels(layout: ActivationLayout, codes: np.ndarray, scales: np.ndarray | None) -> np.ndarray:
    """Activations (codes and scales, or plain numbers) in memory as a matmul kernel reads them."""
    bytes = pack_panels(layout, codes, scales)
    made = allocate(bytes.size, "activations")
    made[: bytes.size] = bytes
    return made


def check_overflow(form: NormalForm, target: Target) -> str:
    """Sums of products fit the target's accumulators, whatever the codes of weights and activations are."""
    if form.kind == "float":
        return "no integers"
    plan, largest = DotPlan.choose(form, target), largest_sum(form)
    require(largest <= LARGEST_SUM, f"a sum can reach {largest}, which 32 bits do not hold")
    if plan.chain:
        pairs = plan.chain * 2 * 127 * _largest_byte(form, plan)
        require(pairs < 1 << 15, f"{plan.chain} pairs of products can reach {pairs}: 16 bits do not hold it")
    return f"codes enter as `{plan.kind}`, {plan.left}; sums reach {largest} at most"


def _largest_byte(form: NormalForm, plan: DotPlan) -> int:
    """The largest magnitude that enters a product."""
    if plan.left == "magnitude":
        return 128
    if plan.table is not None:
        return max(map(abs, plan.table))
    return 1 << (form.bits - 1 + plan.shift) if plan.turned else ((1 << form.bits) - 1) << plan.shift


def check_rows(form: NormalForm, target: Target) -> str:
    """Rows that an embedding gathers are the decoded rows, to the bit."""
    raw = random_rows(form, ROWS, 3 if form.block > 1 else 70, seed=4)
    length = form.columns(raw.shape[1])
    ids = np.array([0, ROWS - 1, 5, 5], np.int32)
    found = np.full((len(ids), length), np.nan, np.float32)
    compiled(build_rows(form, target), target)(raw, ids, found, 4 * length, length, 0, len(ids))
    wanted = form.decode(raw)[ids]
    require(np.array_equal(found, wanted, equal_nan=True), "gathered rows are not the decoded rows")
    return f"{len(ids)} gathered rows, to the bit"


def check_matmul(form: NormalForm, target: Target) -> str:
    """Products of one token and of full and ragged panels, extreme codes too, are right but for rounding."""
    generator = np.random.default_rng(5)
    length = 96 if form.block == 1 else 3 * form.block
    group = ActivationLayout(form.activation, 1).group
    length = -(-length // group) * group
    raw = random_rows(form, ROWS, length // form.block, seed=6)
    weights = packed(form, target, raw)
    values, sizes = form.decode(raw).astype(np.float64), magnitudes(form, raw)
    count = 0
    for columns in (1, tile_columns(target)):
        kernel = compiled(build_matmul(form, target, MatmulTile(columns)), target)
        layout = ActivationLayout(form.activation, columns, target.depth)
        for tokens in TOKENS if columns > 1 else (1,):
            for extreme in (False, True):
                codes, scales = _activations(form, tokens, length, extreme, generator)
                x = codes.astype(np.float64)
                if scales is not None:
                    x = x * np.repeat(scales.astype(np.float64), group, axis=1)
                padded = -(-ROWS // target.lanes) * target.lanes
                found = np.full((tokens, padded), np.nan, np.float32)
                kernel(weights, panels(layout, codes, scales), found, 4 * padded, length, 0,
                       padded // target.lanes, tokens)  # fmt: skip
                bound = length * 2.0**-24 * (np.abs(x) @ sizes.T) + 1e-30
                difference = np.abs(found[:, :ROWS] - x @ values.T)
                require((difference <= bound).all(), f"{tokens} tokens, tile of {columns}: off by "
                         f"{float(np.nanmax(difference / bound)):.3g} times the rounding bound")  # fmt: skip
                count += tokens * ROWS
    return f"{count} sums of {length} products within the bound of rounding"


def _activations(
    form: NormalForm, tokens: int, length: int, extreme: bool, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    """Codes i8 [tokens, length] and scales f32 [tokens, groups], or plain numbers and None."""
    if ActivationLayout(form.activation, 1).plain:
        values = generator.standard_normal((tokens, length)).astype(np.float32)
        return round_bf16(values) if form.activation == "bf16" else values, None
    group = ActivationLayout(form.activation, 1).group
    codes = generator.integers(-127, 128, (tokens, length)).astype(np.int8)
    if extreme:
        codes[:] = np.where(np.arange(length) % 5 == 0, -127, 127)
    return codes, generator.uniform(1e-3, 1e-2, (tokens, length // group)).astype(np.float32)
