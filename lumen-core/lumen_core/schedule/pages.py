"""Where cached keys and values lie: f16 pages of 64 tokens, one pool of pages per layer and kind.

A slot is a token's place in a pool: page * 64 + place in the page. A sequence's page table lists its pages
in order, so its token p has the slot table[p / 64] * 64 + p % 64.
keys    a page is [head][16-token block][element][16 tokens]: a load gives one element of 16 tokens
values  a page is [head][token][element]: a load gives elements of one token
"""

from __future__ import annotations

from dataclasses import dataclass

from lumen_core.ir.kernel import Builder, Value

PAGE = 64  # tokens of a page
BLOCK = 16  # tokens whose keys are interleaved
ELEMENT = 2  # bytes of an f16


@dataclass(frozen=True)
class PageLayout:
    """The bytes of one page: `kind` is "keys" or "values", `heads` heads of `size` elements."""

    kind: str
    heads: int
    size: int

    @property
    def head_bytes(self) -> int:
        return PAGE * self.size * ELEMENT

    @property
    def page_bytes(self) -> int:
        return self.heads * self.head_bytes

    @property
    def element_stride(self) -> int:
        """Bytes from one element of a token to the next."""
        return BLOCK * ELEMENT if self.kind == "keys" else ELEMENT

    def token_offset(self, builder: Builder, place: Value) -> Value:
        """Byte offset of a token's first element within its head; `place` is its place in the page."""
        if self.kind == "values":
            return builder.mul(place, self.size * ELEMENT)
        block = builder.mul(builder.div(place, BLOCK), BLOCK * self.size * ELEMENT)
        return builder.add(block, builder.mul(builder.rem(place, BLOCK), ELEMENT))

    def locate(self, builder: Builder, pool: Value, slot: Value, head: Value) -> Value:
        """Pointer to the first element of a head of the token in `slot` (i64)."""
        page = builder.mul(builder.div(slot, PAGE), self.page_bytes)
        inside = builder.add(
            builder.mul(head, self.head_bytes), self.token_offset(builder, builder.rem(slot, PAGE))
        )
        return builder.offset(builder.offset(pool, page), inside)

    def store(self, builder: Builder, values: Value, token: Value, element: int) -> None:
        """Write f32 lanes as elements `element`, `element + 1`, ... of the token at pointer `token`."""
        halves = builder.convert(values, "f16")
        where = element * self.element_stride
        if self.kind == "values" or halves.type.lanes == 1:
            builder.store(halves, token, where, align=ELEMENT)
            return
        for lane in range(halves.type.lanes):
            builder.store(
                builder.extract(halves, lane), token, where + lane * self.element_stride, align=ELEMENT
            )
