"""Values of an integer format as operands of products: their codes; scales multiply the weights instead.

A code is exact as f32 and as bf16, so that of a value nothing is rounded. A sub-block's scale of some tokens
is a vector beside their weights: one product for all its dimensions. An offset is no operand: weight * offset
adds up over the tokens and is added to every dimension of the sub-block once.
"""

from __future__ import annotations

from collections.abc import Sequence

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.cache_layout import CacheLayout
from lumen_core.quant.normal_form import Scale
from lumen_core.schedule.cache_read import Fetch, Operands
from lumen_core.schedule.rows import CHUNK, block_factors, decoded_codes, looks_up_bytes
from lumen_core.schedule.trees import load_row_factor
from lumen_core.target import Target


class ValueCodes(Operands):
    """The values of a page in an integer format, as `Operands` has those of a float format.

    scales, offsets  [sub-block][token of the page], f32; of tokens that are not there 0
    """

    def __init__(
        self, builder: Builder, layout: CacheLayout, target: Target, lanes: int, often: bool, scratch: Value
    ):
        super().__init__(builder, layout, target, "values", lanes, often, scratch)
        form = self.form
        self.looks_up = looks_up_bytes(target)
        self.row = 4 * layout.page  # bytes of a sub-block's scales
        self.subs, self.shifted = layout.size // form.sub, form.offset is not None
        self.scales = builder.stack(self.subs * self.row)
        self.offsets = builder.stack(self.subs * self.row) if self.shifted else None
        self.one = builder.stack(4 * max(16, form.block))  # the factors of a block

    def place(self, page: Value, count: Value, fetch: Fetch) -> Value:
        self._spread_factors(page, count)
        if self.near:
            self._copy(page, count, fetch)
        return self.scratch if self.near else page

    def _spread_factors(self, page: Value, count: Value) -> None:
        """Write every token's scales and offsets side by side with those of the others."""
        b, layout, form = self.b, self.layout, self.form
        kinds = [(form.scale, self.scales), (form.offset, self.offsets)]
        given = [(scale, to) for scale, to in kinds if scale is not None and to is not None]
        with b.loop(0, count) as token:
            here = b.offset(page, b.mul(token.index, layout.value_token_bytes))
            row = load_row_factor(b, form, here) if form.row is not None else None
            for block in range(layout.size // form.block):
                source = b.offset(here, block * form.block_bytes + form.header_bytes)
                for scale, to in given:
                    mine = b.offset(to, b.mul(token.index, 4))
                    mine = b.offset(mine, block * (form.block // form.sub) * self.row)
                    self._spread(scale, source, row, mine)
        with b.loop(count, b.mul(b.div(b.add(count, CHUNK - 1), CHUNK), CHUNK)) as token:
            for _, to in given:
                for sub in range(self.subs):
                    b.store(b.f32(0.0), b.offset(to, b.mul(token.index, 4)), sub * self.row, align=4)

    def _copy(self, page: Value, count: Value, fetch: Fetch) -> None:
        b, layout, form, row = self.b, self.layout, self.form, self.layout.value_token_bytes
        with b.loop(0, count, self.group) as token:
            here = b.mul(token.index, row)
            to = b.offset(self.scratch, b.mul(token.index, 4 * layout.size // self.group))
            fetch.begin([here], self.group * row, 1)
            fetch.made()
            with b.loop(0, layout.size // form.block) as block:
                source = b.offset(b.offset(page, here), b.mul(block.index, form.block_bytes))
                there = b.offset(to, b.mul(block.index, 4 * form.block))
                for start in range(0, form.block, CHUNK):
                    for part, value in enumerate(self._codes(source, start)):
                        b.store(value, there, 4 * (start + part * self.lanes), align=4)

    def widths(self, vectors: int, most: int) -> tuple[int, int]:
        width = self.form.sub // self.lanes
        while width > most:
            width //= 2
        return width, self.form.block // self.lanes

    def sub_block(self, lane: Value) -> Value:
        return self.b.div(lane, self.form.sub)

    def factors(self, vector: Type, token: Value) -> tuple[Sequence[Value | None], Sequence[Value]]:
        def of_all(base: Value) -> list[Value]:
            here = self.b.offset(base, self.b.mul(token, 4))
            return [self.b.load(vector, here, sub * self.row, align=4) for sub in range(self.subs)]

        return of_all(self.scales), of_all(self.offsets) if self.offsets is not None else []

    @property
    def row_bytes(self) -> int:
        return super().row_bytes if self.near else self.group * self.layout.value_token_bytes

    def at(self, place: Value, lane: Value) -> Value:
        """`lane` begins a block."""
        if self.near:
            return super().at(place, lane)
        return self.b.offset(place, self.b.mul(self.b.div(lane, self.form.block), self.form.block_bytes))

    def some(self, base: Value, lane: int, count: int) -> list[Value]:
        if self.near:
            return super().some(base, lane, count)
        starts = range(lane, lane + count * self.lanes, CHUNK)
        return [value for start in starts for value in self._codes(base, start)]

    def _spread(self, scale: Scale, block: Value, row: Value | None, to: Value) -> None:
        """Write the factors of a block's sub-blocks, each to a row of its own."""
        b, form = self.b, self.form
        subs = form.block // form.sub
        if subs == 1:
            block_factors(b, form, scale, block, to, row)
            return
        count = block_factors(b, form, scale, block, self.one, row)
        for sub in range(subs):
            value = b.load(Type("f32"), self.one, 4 * (sub * count // subs), align=4)
            b.store(value, to, sub * self.row, align=4)

    def _codes(self, block: Value, start: int) -> list[Value]:
        """The codes of `CHUNK` dimensions of a token, or of two, as operands; `block`: of the first."""
        b = self.b
        rows = [b.offset(block, token * self.layout.value_token_bytes + self.form.header_bytes)
                for token in range(self.group)]  # fmt: skip
        codes = [b.convert(decoded_codes(b, self.form, self.looks_up, row, start), "f32") for row in rows]
        value = codes[0]
        if self.group == 2:  # exact, so that the lower half of each is 0
            low, high = (b.bitcast(code, Type("i32", CHUNK)) for code in codes)
            value = b.bitcast(b.bitor(b.shr(low, 16), high), Type("bf16", 2 * CHUNK))
        lanes = self.group * self.lanes
        starts = range(0, self.group * CHUNK, lanes)
        return [b.shuffle(value, None, range(start, start + lanes)) for start in starts]
