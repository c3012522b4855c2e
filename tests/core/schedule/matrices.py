"""Packed matrices and panels of activations by hand: what the tests of pack, rows and matmul share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np
from kit.guarded import Guarded, guarded

from lumen_core.ir.operations.values import round_bf16
from lumen_core.quant.layout import ALIGNMENT, ActivationLayout, WeightLayout
from lumen_core.quant.normal_form import NormalForm
from lumen_core.quant.panels import pack_panels
from lumen_core.schedule.matmul import MatmulTile, build_matmul
from lumen_core.schedule.pack import build_pack
from lumen_core.schedule.rows import build_rows
from lumen_core.target import Target

from .compiled import compiled


@cache
def pack_kernel(form: NormalForm, target: Target) -> Callable[..., object]:
    return compiled(build_pack(form, target), target)


@cache
def rows_kernel(form: NormalForm, target: Target) -> Callable[..., object]:
    return compiled(build_rows(form, target), target)


@cache
def matmul_kernel(form: NormalForm, target: Target, columns: int, accumulate: bool) -> Callable[..., object]:
    return compiled(build_matmul(form, target, MatmulTile(columns, accumulate)), target)


def packed(form: NormalForm, target: Target, raw: np.ndarray, parts: int = 1) -> Guarded:
    """Pack raw rows, uint8 [N, row bytes], in `parts` calls; reading and writing is watched at both ends."""
    layout = WeightLayout(form, target.lanes, target.depth)
    length = form.columns(raw.shape[1])
    source = guarded(raw)
    made = Guarded(layout.matrix_bytes(len(raw), length), ALIGNMENT)
    groups = layout.groups(len(raw))
    for part in range(parts):
        first, last = groups * part // parts, groups * (part + 1) // parts
        pack_kernel(form, target)(source.array, made.array, length, len(raw), first, last)
    made.check()
    source.check()
    np.testing.assert_array_equal(source.array, raw.reshape(-1))
    return made


@dataclass(frozen=True)
class Activations:
    """Tokens in an activation format: codes and scales, or (scales None) plain f32 in `codes`."""

    codes: np.ndarray
    scales: np.ndarray | None

    @property
    def values(self) -> np.ndarray:
        """What they stand for, f64 [T, K]."""
        if self.scales is None:
            return self.codes.astype(np.float64)
        group = self.codes.shape[1] // self.scales.shape[1]
        return self.codes * np.repeat(self.scales.astype(np.float64), group, axis=1)

    def panels(self, layout: ActivationLayout) -> Guarded:
        """The bytes that a matmul kernel reads; columns beyond the last token hold zeros."""
        made = Guarded(layout.bytes(*self.codes.shape), 64)
        made.array[:] = pack_panels(layout, self.codes, self.scales)
        return made


def random_activations(form: NormalForm, tokens: int, length: int, seed: int = 0) -> Activations:
    random = np.random.default_rng(seed)
    if ActivationLayout(form.activation, 1).plain:
        values = random.standard_normal((tokens, length)).astype(np.float32)
        return Activations(round_bf16(values) if form.activation == "bf16" else values, None)
    group = ActivationLayout(form.activation, 1).group
    codes = random.integers(-127, 128, (tokens, length)).astype(np.int8)
    return Activations(codes, random.uniform(1e-3, 1e-2, (tokens, length // group)).astype(np.float32))


def multiply(
    form: NormalForm, target: Target, matrix: Guarded, rows: int, activations: Activations, columns: int,
    before: np.ndarray | None = None, parts: int = 1,
) -> np.ndarray:  # fmt: skip
    """Run the fused kernel on a packed matrix: f32 [T, N]; `before` is in the output and is added to."""
    layout = ActivationLayout(form.activation, columns, target.depth)
    tokens, length = activations.codes.shape
    panels = activations.panels(layout)
    groups = -(-rows // target.lanes)
    padded = groups * target.lanes
    output = Guarded(4 * tokens * padded, 4)
    result = output.array.view(np.float32).reshape(tokens, padded)
    result[:] = 0 if before is not None else np.nan
    if before is not None:
        result[:, :rows] = before
    kernel = matmul_kernel(form, target, columns, before is not None)
    for part in range(parts):
        first, last = groups * part // parts, groups * (part + 1) // parts
        kernel(matrix.array, panels.array, result, 4 * padded, length, first, last, tokens)
    for buffer in (matrix, panels, output):
        buffer.check()
    assert (result[:, rows:] == 0).all()  # rows that only fill the last group
    return result[:, :rows]
