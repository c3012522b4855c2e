"""Panels of activations by numpy: the bytes of `ActivationLayout`, the oracle of the kernels that write them.

In: codes and scales of tokens, or plain numbers. Out: what a matmul kernel reads.
"""

from __future__ import annotations

import numpy as np

from lumen_core.quant.layout import DIGIT, ActivationLayout


def pack_panels(layout: ActivationLayout, codes: np.ndarray, scales: np.ndarray | None) -> np.ndarray:
    """Return uint8 [layout.bytes(T, K)] of codes, i8 [T, K], and scales, f32 [T, K / group].

    scales  None: `codes` are plain numbers, f32

    Columns beyond the last token hold zeros.
    """
    tokens, length = codes.shape
    columns, count = layout.columns, -(-tokens // layout.columns)
    spare = ((0, count * columns - tokens), (0, 0))
    codes = np.pad(codes, spare)
    if scales is None:
        codes = np.pad(codes.astype(np.float32), ((0, 0), (0, -length % layout.group)))
        kept = 4 // layout.group  # bytes of a number, from the highest on
        stored = codes.view(np.uint8).reshape(count, columns, -1, layout.group, 4)[..., 4 - kept :]
        return stored.transpose(0, 2, 1, 3, 4).reshape(-1)
    groups = length // layout.group
    scales = np.pad(scales, spare).astype(np.float32).reshape(count, columns, groups, 1)
    pieces = codes.reshape(count, columns, groups, layout.pieces, 32)
    sums = pieces.sum(-1, dtype=np.int32)
    halves = codes.reshape(count, columns, groups, -1, 16).sum(-1, dtype=np.int32)
    made = np.zeros(layout.bytes(tokens, length), np.uint8)
    blocks = made.reshape(count, groups, layout.block_bytes)

    def put(where: int, values: np.ndarray) -> None:
        """Write [panel, column, group, n] as [panel][group][n][column]."""
        data = np.ascontiguousarray(values.transpose(0, 2, 3, 1)).reshape(count, groups, -1).view(np.uint8)
        blocks[:, :, where : where + data.shape[-1]] = data

    if layout.codes > layout.group:
        per32, per16 = (
            np.concatenate([values >> DIGIT, values & ((1 << DIGIT) - 1)], axis=-1)
            for values in (sums, halves)
        )
        digits = np.concatenate([np.pad(per32, [(0, 0)] * 3 + [(0, 16)]), per16], axis=-1)
        digits = digits.reshape(count, columns, groups, 2, 32).astype(np.int8)
        pieces = np.concatenate([pieces, digits], axis=3)
    run, side = layout.run, layout.side
    runs = pieces.reshape(count, columns // side, side, groups, -1, 32 // run, run)
    laid = np.ascontiguousarray(runs.transpose(0, 3, 4, 1, 5, 2, 6)).reshape(count, groups, -1)
    blocks[:, :, : laid.shape[-1]] = laid.view(np.uint8)
    pairs = scales.reshape(count, columns // side, 1, side, groups, 1)
    put(layout.scales, np.repeat(pairs, side, axis=2).reshape(count, columns * side, groups, 1))
    if layout.halves:
        put(layout.seeds16, -128 * halves)
    put(layout.seeds32, -128 * sums)
    put(layout.sums32, (sums * (scales if layout.scaled_sums else np.float32(1))).astype(np.float32))
    return made
