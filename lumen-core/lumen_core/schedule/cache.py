"""Addresses and stores in the key/value cache (quant.layout.CacheLayout says what lies where)."""

from __future__ import annotations

from collections.abc import Sequence

from lumen_core.ir.kernel import I16, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.layout import CacheLayout

ELEMENT = 2  # bytes of an f16


def emit_page(builder: Builder, part: Value, stride: Value, number: Value) -> Value:
    """Pointer to `part` (of page 0) in the pool's page `number`."""
    return builder.offset(part, builder.mul(number, stride))


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
    builder: Builder, layout: CacheLayout, kind: str, chunks: Sequence[Value], token: Value, scratch: Value
) -> None:
    """Write the f32 chunks of a head, in order, as a token's elements; `scratch` holds a head in f16."""
    to = token if kind == "values" else scratch
    place = 0
    for chunk in chunks:
        builder.store(builder.convert(chunk, "f16"), to, place, align=ELEMENT)
        place += chunk.type.lanes * ELEMENT
    if kind == "keys":
        step, unroll = layout.rows * ELEMENT, 8 if layout.size % 8 == 0 else 1
        with builder.loop(0, layout.size, unroll) as element:
            here = builder.offset(scratch, builder.mul(element.index, ELEMENT))
            there = builder.offset(token, builder.mul(element.index, step))
            for index in range(unroll):
                half = builder.load(I16, here, index * ELEMENT, align=ELEMENT)
                builder.store(half, there, index * step, align=ELEMENT)
