"""What a quantizer chooses for a whole row: the factor of all its weights, stored before its blocks.

In: rows of weights. Out: factors, and the bytes that say them. A factor brings the row's largest weight to
the end of what blocks can hold, so that their integers are used in full.
"""

from __future__ import annotations

import numpy as np

from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant import stored_floats
from lumen_core.quant.floats import is_small
from lumen_core.quant.normal_form import NormalForm

_ZERO = np.float32(1e-30)  # a row whose largest weight is below this is all zero


class RowFactor:
    """Chooses the factors of one format; one that it does not understand is refused at once.

    limit  the largest magnitude that blocks hold
    end    what codes reach furthest from 0 where nothing in the block scales them: the sign is then free
    """

    def __init__(self, form: NormalForm, limit: float, end: float | None):
        self.form = form
        self.limit = limit
        floats = form.row.floats if form.row is not None else ()
        if form.reads_header or len(floats) != 1 or floats[0].inverse:
            raise UnsupportedFormatError(f"{form.name}: no quantizer is derived for what its rows store")
        self.field = floats[0]
        self.end = end if stored_floats.signed(self.field.element) else None
        # Floats of a block that are fine enough find their own size.
        self.fine = any(not is_small(field.element) for field in form.floats if field != self.field)

    def divided(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rows without their factors, f32 [R, K], and the bytes of the factors, uint8 [R, header bytes]."""
        extreme = np.take_along_axis(rows, np.abs(rows).argmax(1)[:, None], 1)[:, 0]
        if self.end is None:
            wanted = 1.0 if self.fine else np.abs(extreme) / np.float32(self.limit)
        else:
            wanted = extreme / np.float32(self.end)
        wanted = np.where(np.abs(extreme) < _ZERO, 0, wanted)
        kept = stored_floats.rounded(self.field, wanted.astype(np.float32))
        size = self.form.block_bytes + self.form.header_bytes
        made = np.zeros((size, len(rows)), np.uint8)
        stored_floats.store(self.field, kept[None], made)
        inverse = np.where(kept == 0, 0, 1 / np.where(kept == 0, 1, kept))
        inside = np.clip(rows * inverse[:, None], -np.float32(self.limit), np.float32(self.limit))
        return inside, np.ascontiguousarray(made[self.form.block_bytes :].T)
