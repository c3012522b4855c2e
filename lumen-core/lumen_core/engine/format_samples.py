"""Weights that the derived tests of a format run on: random rows, and how large the terms of a weight are.

In: a normal form. Out: raw rows of random bits whose floats are moderate, complete blocks, magnitudes.
"""

from __future__ import annotations

import numpy as np

from lumen_core.quant.encode import encode
from lumen_core.quant.floats import is_small
from lumen_core.quant.normal_form import FloatField, NormalForm


def random_rows(form: NormalForm, rows: int, blocks: int, seed: int = 0) -> np.ndarray:
    """Raw rows: random bits, and floats that a quantizer would write. uint8 [rows, row bytes]."""
    generator = np.random.default_rng(seed)
    weights = (generator.standard_normal((rows, blocks * form.block)) * 0.02).astype(np.float32)
    if form.kind == "float":
        return encode(form, weights)
    size = form.block_bytes + form.header_bytes
    raw = generator.integers(0, 256, (rows * blocks, size), dtype=np.uint8)
    for field in form.floats:
        _set_float(field, raw, generator)
    return form.rows(raw.reshape(rows, blocks, size))


def _set_float(field: FloatField, raw: np.ndarray, generator: np.random.Generator) -> None:
    """Moderate numbers, of both signs where there are two: bits that are neither huge nor tiny."""
    middles = {"f16": 0x2400, "bf16": 0x3C00, "f32": 0x3C000000, "e8m0": 0x78, "ue4m3": 0x20, "e4m3": 0x20,
               "e5m2": 0x30}  # fmt: skip
    spans = {"f16": 0x7FF, "bf16": 0x7F, "f32": 0x7FFFFF, "e8m0": 7, "ue4m3": 0x1F, "e4m3": 0x1F, "e5m2": 0xF}
    shape = (len(raw), field.count)
    contents = middles[field.element] + generator.integers(0, spans[field.element] + 1, shape, dtype=np.int64)
    if not is_small(field.element):
        contents |= generator.integers(0, 2, shape, dtype=np.int64) << (8 * field.bytes - 1)
    field.source.store(raw, contents)


def complete(form: NormalForm, count: int, seed: int = 0) -> np.ndarray:
    """Random blocks with what their rows store once: uint8 [count, bytes]."""
    return form.completed(random_rows(form, count, 1, seed))[:, 0]


def magnitudes(form: NormalForm, raw: np.ndarray) -> np.ndarray:
    """The size of the terms whose sum a weight is, f64 [rows, K]: what rounding is measured by."""
    if form.kind == "float":
        return np.abs(form.decode(raw)).astype(np.float64)
    assert form.scale is not None and form.code is not None
    blocks = form.completed(raw).reshape(-1, form.block_bytes + form.header_bytes)
    scale = np.abs(form.scale.decode(blocks)).astype(np.float64)
    largest = max(map(abs, form.alphabet)) + abs(form.zero)
    size = np.repeat(scale, form.block // scale.shape[1], axis=1) * largest
    if form.offset is not None:
        offset = np.abs(form.offset.decode(blocks)).astype(np.float64)
        size = size + np.repeat(offset, form.block // offset.shape[1], axis=1)
    if form.row is not None:
        size = size * np.abs(form.row.decode(blocks))
    return size.reshape(len(raw), -1)
