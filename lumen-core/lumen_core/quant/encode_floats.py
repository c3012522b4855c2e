"""Weights that are floats themselves, plain or with a scale for each block -> bytes.

A scale brings the largest weight of its block to the largest float; every weight then takes the nearest.
"""

from __future__ import annotations

import numpy as np

from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant import stored_floats
from lumen_core.quant.floats import is_small
from lumen_core.quant.normal_form import NormalForm
from lumen_core.quant.store import float_bytes


class FloatEncoder:
    """Encodes blocks of one format; `limit` is the largest magnitude that they hold."""

    def __init__(self, form: NormalForm):
        self.form = form
        self.largest = stored_floats.largest(form.element)
        self.limit = self.largest
        self.small = is_small(form.element) or form.scale is not None
        if form.scale is not None:
            (field, *others) = form.scale.floats
            if others or form.scale.integer is not None or is_small(field.element):
                raise UnsupportedFormatError(f"{form.name}: no quantizer is derived for its scales")
            self.field, self.constant = field, np.float32(form.scale.constant)
            reach = self.largest * stored_floats.largest(field.element) * form.scale.constant
            self.limit = min(reach, float(np.finfo(np.float32).max))

    def encode(self, blocks: np.ndarray) -> np.ndarray:
        """uint8 [n, block bytes] of f32 [n, block]."""
        form = self.form
        if not self.small:
            return float_bytes(blocks, form.element).reshape(len(blocks), -1)
        stored = np.zeros((form.block_bytes, len(blocks)), np.uint8)
        numbers = blocks.T
        if form.scale is not None:
            wanted = np.abs(blocks).max(1) / np.float32(self.largest) / self.constant
            kept = stored_floats.rounded(self.field, wanted)
            stored_floats.store(self.field, np.broadcast_to(kept, (self.field.count, len(kept))), stored)
            scale = kept * self.constant
            numbers = numbers / np.where(scale == 0, 1, scale)  # 0 only where the weights are
        assert form.stored is not None
        stored_floats.store(form.stored, stored_floats.nearest(form.stored, numbers), stored)
        return np.ascontiguousarray(stored.T)
