"""Scores over keys of a float format: products of operands with queries as these take them."""

from __future__ import annotations

from math import gcd

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.cache_layout import CacheLayout
from lumen_core.schedule.cache_read import Fetch, Operands
from lumen_core.schedule.softmax import Chunk
from lumen_core.target import Target


class KeyFloats(Operands):
    """The keys of a page in a float format."""

    def __init__(
        self, builder: Builder, layout: CacheLayout, target: Target, often: bool, scratch: Value,
        tiles: int, scale: float,
    ):  # fmt: skip
        """tiles: vectors of tokens taken together; scale: of a score"""
        super().__init__(builder, layout, target, "keys", target.lanes, often, scratch)
        self.tiles = tiles
        self.scale = scale
        self.query_bytes = 4 * layout.size // self.group

    def prepare(self, query: Value, to: Value) -> None:
        """Write a query, f32, scaled, as the products take it."""
        b, size = self.b, self.layout.size
        vector, bytes = Type("f32", gcd(size, self.lanes)), 4 // self.group
        for at in range(0, size, vector.lanes):
            value = b.mul(b.load(vector, query, 4 * at, align=4), self.scale)
            b.store(b.convert(value, "bf16" if self.group == 2 else "f32"), to, bytes * at, align=bytes)

    def _lane(self, token: Value, steps: int) -> Value:
        """The first of a token's lanes; those of a tile's tokens lie side by side in each step."""
        b, rows = self.b, self.layout.rows
        if self.tiles * self.lanes % rows == 0:  # tokens begin with a tile
            return b.mul(token, steps)
        return b.add(b.mul(b.div(token, rows), rows * steps), b.rem(token, rows))

    def scores(self, page: Value, chunk: Chunk, first: Value, fetch: Fetch) -> list[Value]:
        """query . key for some tiles of tokens, [column][tile]."""
        b, rows, tiles, lanes = self.b, self.layout.rows, self.tiles, self.lanes
        steps = self.layout.size // self.group
        base = b.offset(page, b.mul(self._lane(first, steps), self.lane_bytes))
        places = [tile * lanes // rows * steps * rows + tile * lanes % rows for tile in range(tiles)]
        unroll = next(count for count in (4, 2, 1) if steps % count == 0)
        zero = b.constant(Type("f32", lanes), 0.0)
        with b.loop(0, steps, unroll, [zero] * (chunk.size * tiles)) as loop:
            sums = list(loop.values)
            inside = b.mul(loop.index, rows * self.lane_bytes)
            here = b.offset(base, inside)
            query = b.offset(chunk.queries, b.mul(loop.index, 4))
            starts = [
                b.mul(b.add(first, tile), steps * self.lane_bytes) for tile in range(0, tiles * lanes, rows)
            ]
            products = unroll * chunk.size * tiles
            fetch.begin([b.add(start, inside) for start in starts], unroll * rows * self.lane_bytes, products)
            for step in range(unroll):
                operands = [self.load(here, step * rows + place) for place in places]
                for column in range(chunk.size):
                    factor = self.spread(query, 4 * (column * steps + step))
                    for tile, operand in enumerate(operands):
                        place = column * tiles + tile
                        sums[place] = self.product(operand, factor, sums[place])
                        fetch.made()
            loop.next(*sums)
        return list(loop.results)
