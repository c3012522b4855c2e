"""Addresses and stores in the key/value cache (quant.layout.CacheLayout says what lies where)."""

from __future__ import annotations

from lumen_core.ir.kernel import I32, Builder, Value
from lumen_core.quant.layout import CacheLayout

ELEMENT = 2  # bytes of an f16


def emit_page(builder: Builder, part: Value, stride: Value, pages: Value, number: Value) -> Value:
    """Pointer to `part` (of page 0) in the sequence's page `number`."""
    page = builder.convert(builder.load(I32, pages, builder.mul(number, 4), align=4), "i64")
    return builder.offset(part, builder.mul(page, stride))


def emit_token(
    builder: Builder, layout: CacheLayout, kind: str, page: Value, head: Value, place: Value
) -> Value:
    """Pointer to the first element of a head of the token at `place` of a page's "keys" or "values"."""
    here = builder.offset(page, builder.mul(head, layout.head_bytes))
    if kind == "values":
        return builder.offset(here, builder.mul(place, layout.size * ELEMENT))
    tile = builder.mul(builder.div(place, layout.rows), layout.rows * layout.size * ELEMENT)
    return builder.offset(here, builder.add(tile, builder.mul(builder.rem(place, layout.rows), ELEMENT)))


def emit_store(
    builder: Builder, layout: CacheLayout, kind: str, values: Value, token: Value, element: int
) -> None:
    """Write f32 lanes as the elements `element`, `element + 1`, ... of a token."""
    halves = builder.convert(values, "f16")
    if kind == "values":
        builder.store(halves, token, element * ELEMENT, align=ELEMENT)
        return
    step = layout.rows * ELEMENT
    if halves.type.lanes == 1:
        builder.store(halves, token, element * step, align=ELEMENT)
        return
    for lane in range(halves.type.lanes):
        builder.store(builder.extract(halves, lane), token, (element + lane) * step, align=ELEMENT)
