"""Packing loses nothing: what lies in a packed matrix is what lay in the file."""

from __future__ import annotations

import numpy as np
import pytest
from kit.forms import declarations, form

from lumen_core.quant.floats import FLOAT_BYTES, is_small, small_floats
from lumen_core.quant.integers import BitField, Integers, byte_bias, values
from lumen_core.quant.layout import WeightLayout
from lumen_core.quant.normal_form import NormalForm
from lumen_core.target import Target

from .compiled import TARGETS
from .matrices import packed

each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
ROWS = 21


def stored_codes(layout: WeightLayout, bytes: np.ndarray, blocks: int) -> np.ndarray:
    """The codes of one row group, block after block."""
    return np.concatenate([bytes[at : at + layout.code_bytes] for at, _ in map(layout.places, range(blocks))])


def unpacked_codes(layout: WeightLayout, bytes: np.ndarray, blocks: int) -> np.ndarray:
    """Read the unsigned codes of one row group: [row, blocks * block]."""
    form, rows = layout.form, layout.rows
    units = stored_codes(layout, bytes, blocks).reshape(-1, layout.vectors, rows, 4).astype(np.int32)
    codes = np.zeros((len(units), layout.unit // 4, rows, 4), np.int32)
    for group, fields in enumerate(layout.codes):
        for vector, bit, width in fields:
            codes[:, group] <<= width
            codes[:, group] |= units[:, vector] >> bit & (1 << width) - 1
    return codes.transpose(2, 0, 1, 3).reshape(rows, blocks * form.block)


def bytes_of(field: Integers, blocks: np.ndarray) -> np.ndarray:
    """The integers of a field as the bytes that packing makes of them."""
    return (field.decode(blocks).astype(np.int64) - byte_bias(field)).astype(np.uint8)


@each_target
@pytest.mark.parametrize("name", sorted(declarations()))
def test_what_was_packed_can_be_read(name: str, target: Target) -> None:
    normal = form(name)
    layout, count = WeightLayout(normal, target.lanes, target.depth), 35 if normal.block == 1 else 3
    random = np.random.default_rng(5)
    raw = random.integers(
        0, 256, (ROWS, normal.row_bytes(count * normal.block)), dtype=np.uint8
    )  # NaN scales
    whole = packed(normal, target, raw, parts=2).array
    groups = whole.reshape(layout.groups(ROWS), -1)
    for number, group in enumerate(groups):
        rows = raw[number * target.lanes : (number + 1) * target.lanes]
        blocks = normal.completed(rows)
        check_codes(normal, layout, group, blocks)
        check_scales(normal, layout, group, blocks)


def check_codes(normal: NormalForm, layout: WeightLayout, group: np.ndarray, blocks: np.ndarray) -> None:
    rows, count = blocks.shape[:2]
    if normal.stored is not None:
        size, start = normal.stored.bytes, normal.stored.offset
        stored = blocks[..., start : start + size * normal.block].reshape(rows, -1, size)
        run = layout.run if normal.in_pairs else 1
        runs = -(-stored.shape[1] // run)
        found = stored_codes(layout, group, -(-count // run) * run)
        found = found.reshape(runs, layout.rows, run, size)
        found = found.transpose(1, 0, 2, 3).reshape(layout.rows, runs * run, size)
        np.testing.assert_array_equal(found[:rows, : stored.shape[1]], stored)
        assert not found[rows:].any()
        assert not found[:, stored.shape[1] :].any()
        return
    assert normal.code is not None
    codes = unpacked_codes(layout, group, count)
    low = normal.code.low if isinstance(normal.code, BitField) else 0
    np.testing.assert_array_equal(codes[:rows].reshape(rows, count, -1), normal.code.decode(blocks) - low)
    assert not codes[rows:].any()


def check_scales(normal: NormalForm, layout: WeightLayout, group: np.ndarray, blocks: np.ndarray) -> None:
    rows, count = blocks.shape[:2]
    scales = np.stack([group[at : at + layout.scale_bytes] for _, at in map(layout.places, range(count))])
    for field in layout.floats:
        where = layout.float_offsets[field.name]
        size = field.bytes
        bytes = np.ascontiguousarray(scales[:, where : where + size * field.count * layout.rows])
        found = bytes.view(f"<u{size}").reshape(count, field.count, layout.rows).transpose(2, 0, 1)
        if is_small(field.element):  # the same numbers, but for those that have two codes
            numbers = small_floats(field.element) * field.factor
            if field.element == "ue4m3":
                numbers = (np.arange(256, dtype="<u2")[:128] << 7).view("<f2") * np.float64(field.unit)
            values = numbers.astype(np.float32)[found]
            np.testing.assert_array_equal(values[:rows], field.decode(blocks))
        else:
            stored = field.source.decode(blocks).astype(f"<u{size}")
            np.testing.assert_array_equal(found[:rows], stored)
        assert not found[rows:].any()
    for scale, where in ((normal.scale, layout.scale_offset), (normal.offset, layout.minimum_offset)):
        if scale is None or scale.integer is None:
            continue
        size = scale.integer.count * layout.rows
        found = scales[:, where : where + size].reshape(count, scale.integer.count, layout.rows)
        np.testing.assert_array_equal(found.transpose(2, 0, 1)[:rows], bytes_of(scale.integer, blocks))
        assert not found[:, :, rows:].any()
    if normal.row is not None:
        where = layout.blocks_bytes(count)
        found = np.ascontiguousarray(group[where : where + layout.row_bytes]).view("<f4")
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(found[:rows], normal.row.decode(blocks[:, 0])[:, 0])


@pytest.mark.parametrize("name", sorted(declarations()))
def test_packed_size(name: str) -> None:
    """Codes take the bits that their values need, scales whole bytes, and nothing else is there.

    But for what fills up a row group: its last vector of scales, and its last line.
    """
    normal = form(name)
    scales = [scale for scale in (normal.scale, normal.offset) if scale is not None]
    floats = {field: FLOAT_BYTES[field.element] * field.count for scale in scales for field in scale.floats}
    bytes = sum(floats.values()) + sum(scale.integer.count for scale in scales if scale.integer is not None)
    row = 4 if normal.row is not None else 0
    size = (1024 // normal.block * (normal.block * normal.bits / 8 + bytes) + row) * 1024
    for lanes in (8, 16):
        layout = WeightLayout(normal, lanes)
        filled = 64 + 4 * lanes
        assert size <= layout.matrix_bytes(1024, 1024) <= size + 1024 // lanes * filled
    if normal.kind == "integer" and not isinstance(normal.code, BitField):
        assert normal.code is not None
        assert normal.bits <= 4
        assert (1 << normal.bits - 1) < max(2, len(values(normal.code)))
