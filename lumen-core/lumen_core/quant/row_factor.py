"""What a quantizer chooses for a whole row: the factor of its weights, and where zero lies, if rows say it.

In: rows of weights. Out: rows as their blocks shall hold them, and the bytes that say what was chosen. Where
blocks have scales of their own, a factor brings the row's largest weight to the end of what they can hold, so
that their integers are used in full. Where they have none, the row is searched as one long block.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant import stored_floats
from lumen_core.quant.alphabet import Alphabet, alphabet
from lumen_core.quant.choices import choice
from lumen_core.quant.floats import is_small
from lumen_core.quant.integers import bit_sources
from lumen_core.quant.normal_form import NormalForm
from lumen_core.quant.search import NumpySearch
from lumen_core.quant.zero_points import fit_zero_point

_ZERO = np.float32(1e-30)  # a row whose largest weight is below this is all zero
_EFFORT = "fine"


class RowFactor:
    """Chooses what the rows of one format store; one that it does not understand is refused at once.

    limit   the largest magnitude that blocks hold of a row that is divided by its factor
    blocks  the form of blocks that are left then
    """

    def __init__(self, form: NormalForm, blocks: NormalForm, limit: float):
        self.form = form
        self.limit = limit
        self.blocks = blocks
        floats = form.row.floats if form.row is not None else ()
        self.searched = _has_no_scale(blocks) and isinstance(alphabet(blocks), Alphabet)
        zero = blocks.offset
        self.zero = None
        if self.searched and zero is not None and zero.integer is not None and not zero.floats:
            self.zero = choice(zero.integer, form.name)
            self.ratio = zero.constant / blocks.scale.constant  # type: ignore[union-attr]
            self.blocks = replace(blocks, offset=None)
        if self.blocks.reads_header or len(floats) != 1:
            raise UnsupportedFormatError(f"{form.name}: no quantizer is derived for what its rows store")
        self.field = floats[0]
        # Floats of a block that are fine enough find their own size.
        self.fine = any(not is_small(field.element) for field in form.floats if field != self.field)

    def divided(self, rows: np.ndarray, importance: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Rows as blocks hold them, f32 [R, K], and what the rows store, uint8 [R, header bytes]."""
        made = np.zeros((self.form.block_bytes + self.form.header_bytes, len(rows)), np.uint8)
        shift = np.zeros(len(rows), np.float32)
        with np.errstate(over="ignore", under="ignore", divide="ignore", invalid="ignore"):
            if self.searched:
                factor, zeros = self._searched(rows, importance)
                if self.zero is not None:
                    self.zero.store(zeros, made)
                    shift = np.float32(self.ratio * self.blocks.scale.constant) * zeros[0]  # type: ignore[union-attr]
            else:
                largest = np.abs(rows).max(1)
                factor = np.ones_like(largest) if self.fine else largest / np.float32(self.limit)
                factor = self._kept(np.where(largest < _ZERO, 0, factor))
            stored = _inverse(factor) if self.field.inverse else factor
            stored_floats.store(self.field, stored[None], made)
            zero = factor == 0
            inside = np.where(zero[:, None], 0, rows / np.where(zero, 1, factor)[:, None]) - shift[:, None]
        inside = np.clip(inside, -np.float32(self.limit), np.float32(self.limit))
        return inside, np.ascontiguousarray(made[self.form.block_bytes :].T)

    def _kept(self, factor: np.ndarray) -> np.ndarray:
        """The factors that rows can store."""
        if self.field.inverse:  # what is stored divides: never 0
            return _inverse(stored_floats.rounded(self.field, _inverse(np.where(factor == 0, 1, factor))))
        return stored_floats.rounded(self.field, factor.astype(np.float32))

    def _searched(self, rows: np.ndarray, importance: np.ndarray | None) -> tuple[np.ndarray, np.ndarray]:
        """Factors [R], and where zero lies [1, R], of rows whose blocks have no scales."""
        values, scale = alphabet(self.blocks), self.blocks.scale
        assert scale is not None
        constant = np.float32(scale.constant)
        whole = replace(self.blocks, block=rows.shape[1], sub=rows.shape[1])
        search = NumpySearch(whole, values, rows, importance)

        def keep(wanted: np.ndarray) -> np.ndarray:
            return self._kept(wanted * search.unit / constant) * constant / search.unit

        if self.zero is None:
            signed = stored_floats.signed(self.field.element)
            kept, zeros = keep(search.scales(signed, _EFFORT)), np.zeros((1, len(rows)), np.float32)
        else:
            kept, zeros = fit_zero_point(search, values.ends, self.zero, self.ratio, keep, _EFFORT)
        return self._kept(kept[0] * search.unit / constant), zeros


def _inverse(numbers: np.ndarray) -> np.ndarray:
    return np.where(numbers == 0, 0, 1 / np.where(numbers == 0, 1, numbers)).astype(np.float32)


def _has_no_scale(form: NormalForm) -> bool:
    """Tell whether a block of codes stores nothing that scales or shifts them."""
    own = [
        bit < 8 * form.block_bytes
        for factor in (form.scale, form.offset)
        if factor is not None and factor.integer is not None
        for bit in bit_sources(factor.integer)
    ]
    floats = [field for factor in (form.scale, form.offset) if factor is not None for field in factor.floats]
    return form.kind != "float" and not floats and not any(own)
