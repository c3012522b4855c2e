"""The same numbers in another format: nothing is searched or rounded, what does not fit exactly is not held.

In: weights as a factor times a whole number each, or plain numbers. Out: rows of the other format, or None.
Only formats with one float a block or sub-block and no offset are tried: with more there is no one way.
"""

from __future__ import annotations

import numpy as np

from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant import stored_floats
from lumen_core.quant.alphabet import Alphabet, alphabet
from lumen_core.quant.normal_form import NormalForm
from lumen_core.quant.store import float_bytes, store_bits


def transcoded(
    rows: np.ndarray, source: NormalForm, target: NormalForm, order: np.ndarray | None = None
) -> np.ndarray | None:
    """Return rows of `target` with the numbers of raw rows of `source`, to the bit; None if it has none.

    order  the columns as they stand in the source, where they are sorted
    """
    values = in_order(source.decode(rows), order)
    if values.shape[1] % target.block:
        return None
    if target.kind == "float":
        made = _as_floats(values, target)
    else:
        factors = in_order(_factors(rows, source), order) if source.kind == "integer" else None
        made = None if factors is None else _as_codes(values, factors, target)
    return made if made is not None and np.array_equal(target.decode(made), values) else None


def in_order(values: np.ndarray, order: np.ndarray | None) -> np.ndarray:
    """Columns in their own order, where they are sorted: values[:, i] belongs to column order[i]."""
    if order is None:
        return values
    result = np.empty_like(values)
    result[:, order] = values
    return result


def _factors(rows: np.ndarray, form: NormalForm) -> np.ndarray:
    """What multiplies the whole number of every weight, f32 [R, K]."""
    assert form.scale is not None
    blocks = form.completed(rows)
    factor = form.scale.decode(blocks)
    if form.row is not None:
        factor = factor * form.row.decode(blocks)
    return factor.repeat(form.block // factor.shape[-1], -1).reshape(len(rows), -1)


def _as_floats(values: np.ndarray, target: NormalForm) -> np.ndarray | None:
    if target.scale is not None or target.row is not None or target.block != 1:
        return None
    try:
        with np.errstate(over="ignore"):
            return float_bytes(values, target.element).reshape(len(values), -1)
    except UnsupportedFormatError:
        return None


def _as_codes(values: np.ndarray, factors: np.ndarray, target: NormalForm) -> np.ndarray | None:
    scale = target.scale
    assert scale is not None
    single = (
        len(scale.floats) == 1 and scale.integer is None and target.offset is None and not target.header_bytes
    )
    codes = alphabet(target) if single else None
    if not isinstance(codes, Alphabet):
        return None
    shared = target.block // scale.count
    groups = factors.reshape(-1, shared)
    if (groups != groups[:, :1]).any():
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.where(factors == 0, 0, np.rint(values / factors))
    if not np.isin(whole, codes.values).all():
        return None
    field, constant = scale.floats[0], np.float32(scale.constant)
    wanted = groups[:, 0].reshape(-1, scale.count).T / constant  # [sub-block, n]
    kept = stored_floats.rounded(field, wanted)
    if not np.array_equal(kept, wanted):
        return None
    stored = np.zeros((target.block_bytes, kept.shape[1]), np.uint8)
    stored_floats.store(field, kept, stored)
    numbers = np.ascontiguousarray(whole.reshape(-1, target.block).T, np.float32)
    for place, bits in codes.contents(numbers).items():
        store_bits(place, bits, stored)
    return np.ascontiguousarray(stored.T).reshape(len(values), -1)
