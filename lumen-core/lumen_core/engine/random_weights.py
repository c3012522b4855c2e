"""Random weights in any declared format, made directly as the bytes of a file.

In: a declaration with its normal form, a shape and a standard deviation.  Out: chunks of rows as bytes.
Codes and integer scales are random bits, which every format allows; the float scales are chosen by decoding a
sample, so that the weights come out with mean 0 and the wanted spread.  No format is known by name here.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from lumen_core.quant.encode import encode
from lumen_core.quant.normal_form import FloatField, NormalForm
from lumen_core.quant.store import float_bytes
from lumen_core.quant.stored_floats import store_everywhere

_CHUNK = 1 << 24  # bytes made at a time
_SAMPLE = 2048  # blocks decoded to find the spread


class RandomBlocks:
    """Makes rows of one format."""

    def __init__(self, form: NormalForm):
        self.form = form
        self._fields: list[tuple[FloatField, float]] = []  # with the value that gives spread 1
        self._ones: list[FloatField] = []  # factors beside them
        self._signs = False
        if form.kind != "float":
            self._calibrate()

    def _bits(self, generator: np.random.Generator, blocks: int) -> np.ndarray:
        """Complete blocks of random bits."""
        size = self.form.block_bytes + self.form.header_bytes
        return np.frombuffer(generator.bytes(blocks * size), np.uint8).reshape(blocks, size).copy()

    def _set(self, blocks: np.ndarray, field: FloatField, values: np.ndarray) -> None:
        store_everywhere(field, values, blocks.T)

    def _decoded(self, blocks: np.ndarray) -> np.ndarray:
        return self.form.decode(self.form.rows(blocks[:, None]))

    def _calibrate(self) -> None:
        assert self.form.scale is not None
        row = self.form.row.floats if self.form.row is not None else ()
        scale = [*self.form.scale.floats, *row]
        offset = [
            field for field in (self.form.offset.floats if self.form.offset else ()) if field not in scale
        ]
        sample = self._bits(np.random.default_rng(0), _SAMPLE)
        ones = np.ones(_SAMPLE)
        for field in (*scale, *offset):
            self._set(sample, field, ones)
        level = 1.0
        if offset:  # balance the offset against the mean of the scaled codes
            with_offset = self._decoded(sample).mean(dtype=np.float64)
            self._set(sample, offset[0], 0 * ones)
            without = self._decoded(sample).mean(dtype=np.float64)
            level = -without / (with_offset - without)
            self._set(sample, offset[0], level * ones)
        decoded = self._decoded(sample)
        spread = float(decoded.std(dtype=np.float64))
        # codes that lean to one side are balanced by scales of both signs
        self._signs = not offset and bool(abs(decoded.mean(dtype=np.float64)) > 0.02 * spread)
        self._fields = [(field, 1 / spread) for field in scale[:1]]
        self._fields += [(field, level / spread) for field in offset[:1]]
        self._ones = [*scale[1:], *offset[1:]]

    def rows(
        self, generator: np.random.Generator, count: int, columns: int, spread: float
    ) -> Iterator[np.ndarray]:
        """Yield the bytes of `count` rows, some rows at a time."""
        row_bytes = self.form.row_bytes(columns)
        step = max(1, _CHUNK // row_bytes)
        for first in range(0, count, step):
            yield self._some(generator, min(step, count - first), columns, spread)

    def _some(self, generator: np.random.Generator, rows: int, columns: int, spread: float) -> np.ndarray:
        if self.form.kind == "float":
            values = generator.standard_normal(rows * columns, np.float32) * np.float32(spread)
            if self.form.scale is None and self.form.row is None:
                return float_bytes(values, self.form.element)
            return encode(self.form, values.reshape(rows, columns)).reshape(-1)
        blocks = self._bits(generator, rows * columns // self.form.block)
        strength = generator.random(len(blocks), np.float32) + np.float32(0.5)
        if self._signs:
            strength[generator.random(len(blocks), np.float32) < 0.5] *= -1
        for field in self._ones:
            self._set(blocks, field, np.ones(len(blocks)))
        for field, value in self._fields:
            self._set(blocks, field, strength * np.float32(value * spread))
        return self.form.rows(blocks.reshape(rows, columns // self.form.block, -1)).reshape(-1)
