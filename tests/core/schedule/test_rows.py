"""Embedding rows: gathered rows of a table are its decoded rows, to the bit."""

from __future__ import annotations

import numpy as np
import pytest
from kit.forms import declarations, form
from kit.guarded import Guarded, guarded

from lumen_core.target import Target

from .compiled import TARGETS
from .matrices import rows_kernel

each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)


@each_target
@pytest.mark.parametrize("name", sorted(declarations()))
def test_rows_are_decoded_to_the_bit(name: str, target: Target) -> None:
    normal = form(name)
    rows, count = 19, 70 if normal.block == 1 else 3
    length, stride = count * normal.block, 4 * count * normal.block + 12
    raw = np.random.default_rng(6).integers(0, 256, (rows, normal.row_bytes(length)), dtype=np.uint8)
    if normal.element == "e4m3":  # no kernel keeps a NaN of one byte, so none is let in
        raw[:, :-4] &= 0x7E
    ids = np.array([18, 0, 7, 7, 18, 1], np.int32)  # the table's last row ends where it ends
    table, output = guarded(raw), Guarded(len(ids) * stride - 12, 4, fill=0x77)
    call = rows_kernel(normal, target)
    call(table.array, ids, output.array, stride, length, 0, 2)
    call(table.array, ids, output.array, stride, length, 2, len(ids))
    output.check()
    with np.errstate(all="ignore"):
        wanted = normal.decode(raw)[ids]
    nan = np.isnan(wanted)
    for token in range(len(ids)):
        place = token * stride
        found = np.ascontiguousarray(output.array[place : place + 4 * length]).view(np.float32)
        np.testing.assert_array_equal(np.isnan(found), nan[token])
        sound = ~nan[token]
        np.testing.assert_array_equal(found[sound].view(np.uint32), wanted[token][sound].view(np.uint32))
        assert (output.array[place + 4 * length : place + stride] == 0x77).all()
