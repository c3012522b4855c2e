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
        tokens, length = self.codes.shape
        made = Guarded(layout.bytes(tokens, length), 64)
        columns, count = layout.columns, -(-tokens // layout.columns)
        spare = ((0, count * columns - tokens), (0, 0))
        codes = np.pad(self.codes, spare)
        if self.scales is None:
            bytes = 4 // layout.group
            codes = np.pad(codes.astype(np.float32), ((0, 0), (0, -length % layout.group)))
            stored = codes.view(np.uint8).reshape(count, columns, -1, layout.group, 4)[..., 4 - bytes :]
            made.array[:] = stored.transpose(0, 2, 1, 3, 4).reshape(-1)
            return made
        groups = length // layout.group
        scales = np.pad(self.scales, spare).astype(np.float32).reshape(count, columns, groups)
        pieces = codes.reshape(count, columns, groups, layout.pieces, 32)
        totals = pieces.sum(axis=-1, dtype=np.int32)
        halves = codes.reshape(count, columns, groups, -1, 16).sum(axis=-1, dtype=np.int32)
        blocks = made.array.reshape(count, groups, layout.block_bytes)

        def put(where: int, values: np.ndarray) -> None:
            """Write [panel, column, group, n] as [panel][group][n][column]."""
            bytes = (
                np.ascontiguousarray(values.transpose(0, 2, 3, 1)).reshape(count, groups, -1).view(np.uint8)
            )
            blocks[:, :, where : where + bytes.shape[-1]] = bytes

        if layout.codes > layout.group:  # sums as digits: sum = 64 * high + low
            per32, per16 = (np.concatenate([sums >> 6, sums & 63], axis=-1) for sums in (totals, halves))
            digits = np.concatenate([np.pad(per32, [(0, 0)] * 3 + [(0, 16)]), per16], axis=-1)
            digits = digits.reshape(count, columns, groups, 2, 32).astype(np.int8)
            pieces = np.concatenate([pieces, digits], axis=3)
        side, run = layout.side, layout.run
        runs = pieces.reshape(count, columns // side, side, groups, -1, 32 // run, run)
        laid = np.ascontiguousarray(runs.transpose(0, 3, 4, 1, 5, 2, 6)).reshape(count, groups, -1)
        blocks[:, :, : laid.shape[-1]] = laid.view(np.uint8)
        put(layout.scales, scales[..., None])
        put(layout.seeds32, -128 * totals)
        if layout.halves:
            put(layout.seeds16, -128 * halves)
        factor = scales[..., None] if layout.scaled_sums else np.float32(1)
        put(layout.sums32, (totals * factor).astype(np.float32))
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
