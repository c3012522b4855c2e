"""What of a normal form the quantizer has a search for, and how large weights it can hold.

In: a normal form without its row's factor. Out: the form as it is searched, or an UnsupportedFormatError that
says which scale or offset nothing could choose, and what to declare instead.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant import stored_floats
from lumen_core.quant.alphabet import alphabet
from lumen_core.quant.floats import is_small
from lumen_core.quant.integers import Combined, bit_sources
from lumen_core.quant.normal_form import NormalForm, Scale


def has_zero_point(form: NormalForm) -> bool:
    """Tell whether a float of the scale multiplies the offset too: d * code - d * zero."""
    assert form.scale is not None
    return form.offset is not None and not set(form.scale.floats).isdisjoint(form.offset.floats)


def require_encodable(form: NormalForm, alone: bool) -> None:
    """Refuse scales and offsets that no search chooses; `alone`: no factor of the row stands beside them."""
    scale, offset, groups = form.scale, form.offset, form.block // form.sub
    assert scale is not None

    def require(good: bool, reason: str) -> None:
        if not good:
            raise UnsupportedFormatError(f"{form.name}: no quantizer is derived: {reason}")

    chosen = scale.floats or scale.integer is not None or offset is not None
    require(bool(chosen) or not alone, "there is no scale to choose; let a stored float multiply the codes")
    for one in (scale, offset):
        if one is not None:
            _require_scale(one, groups, require)
    if offset is None:
        return
    if has_zero_point(form):
        single = offset.floats == scale.floats and groups == 1 and scale.integer is None
        names = ", ".join(field.name for field in scale.floats if field in offset.floats)
        require(
            single and offset.integer is not None,
            f"{names} multiplies both codes and offsets; give the offsets a float of their own",
        )
    fine = [one.count if one.integer is None else 0 for one in (scale, offset)]
    require(
        groups == 1 or fine[0] == fine[1],
        "of scales and offsets one has integers or floats of its own in each sub-block, the other has not; "
        "store both alike",
    )


def _require_scale(scale: Scale, groups: int, require: Callable[[bool, str], None]) -> None:
    """Floats of the whole block, or (without integers) of every sub-block; the first of them is chosen."""
    for index, field in enumerate(scale.floats):
        require(
            field.count == 1 or (field.count == groups and scale.integer is None),
            f"{field.name} has {field.count} values for {groups} sub-blocks; give it one, or one for each "
            "sub-block and no integers beside them",
        )
        require(not index or not is_small(field.element), f"{field.name} is a second scale of one byte")
    count = scale.integer.count if scale.integer is not None else groups
    require(count == groups, f"{count} integers scale {groups} sub-blocks; store one for each")


def largest_weight(form: NormalForm) -> float:
    """The largest magnitude that the format can hold (before its codes saturate)."""

    def reach(scale: Scale) -> float:
        value = abs(scale.constant)
        for field in scale.floats[:1]:  # all others are 1
            value *= stored_floats.largest(field.element, field.factor)
        return (
            value if scale.integer is None else value * max(abs(scale.integer.low), abs(scale.integer.high))
        )

    assert form.scale is not None
    ends = alphabet(form).ends
    limit = reach(form.scale) * max(abs(ends.low), abs(ends.high))
    if form.offset is not None and not has_zero_point(form):
        limit = min(limit, reach(form.offset))
    return min(limit, float(np.finfo(np.float32).max))


def without_optional_offset(form: NormalForm) -> NormalForm:
    """Leave out an offset that only shifts a sub-block's table, where zeros in bits of its own do so."""
    return replace(form, offset=None) if _is_optional(form) else form


def _is_optional(form: NormalForm) -> bool:
    if form.offset is None or form.scale is None or form.code is None:
        return False
    match form.offset.integer:
        case Combined("*", left, right) if left == form.scale.integer and not isinstance(right, int):
            own = set(bit_sources(right))
            size = form.block_bytes + form.header_bytes
            zero = not right.decode(np.zeros(size, np.uint8)).any()
            return zero and own.isdisjoint(bit_sources(left)) and own.isdisjoint(bit_sources(form.code))
    return False
