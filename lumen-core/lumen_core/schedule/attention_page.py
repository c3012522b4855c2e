"""What attention does with a stretch of the cache, a page or a part of one: scores, weights, weighted sums.

attention.py says what the columns are and which pages they see, softmax.py makes weights of scores. Columns
are taken in chunks whose sums fit the registers: all of them meet the keys of a stretch, then all of them its
values, so that either stays in the nearest cache meanwhile. A chunk takes no token that none of its columns
sees.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial

from lumen_core.ir.core import Operation
from lumen_core.ir.kernel import I32, I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.cache_layout import PAGE, CacheLayout
from lumen_core.schedule.cache import emit_page, head_shape, score_tiles
from lumen_core.schedule.cache_read import Fetch, Operands
from lumen_core.schedule.gather import Gather, even
from lumen_core.schedule.key_codes import KeyCodes
from lumen_core.schedule.key_floats import KeyFloats
from lumen_core.schedule.math import LOG2_E
from lumen_core.schedule.softmax import STATE, Chunk, Softmax
from lumen_core.schedule.value_codes import ValueCodes
from lumen_core.target import Target

_Kept = Operands | KeyFloats | KeyCodes


class PageReader:
    """The values that the stretches of an item are taken into; the subclass sets what is about the item.

    queries       [column], as the keys take them
    state, sums   of the part at hand: what `Chunk` says
    before        sums of the parts before it that have the same references, or None
    low, high     the item's columns: those of its tokens, or the query heads of some key heads
    seen          the cached tokens that the item's queries see
    """

    queries: Value
    state: Value
    sums: Value
    before: Value | None = None
    position: Value
    start: Value
    first_head: Value
    last_head: Value
    low: Value
    high: Value
    seen: Value
    pages: Value
    values: Operands

    def __init__(self, operation: Operation, layout: CacheLayout, target: Target, block: int, name: str):
        self.operation = operation
        self.target = target
        self.block = block
        self.heads, self.groups, self.size = head_shape(operation)
        self.shared = self.heads // self.groups  # query heads per key head
        self.columns = self.shared * block
        self.scale = float(operation.attributes["scale"]) * LOG2_E  # type: ignore[arg-type]
        self.window = int(operation.attribute("window"))  # keys that a query sees, 0: all
        self.layout = layout
        self.vector = Type("f32", target.lanes)
        self.part = Type("f32", math.gcd(self.size, target.lanes))  # dimensions that are handled together
        parameters = [("queries", PTR), ("output", PTR), ("stride", I64), ("cache", PTR), ("staging", PTR)]
        parameters += [
            ("pages", PTR),
            ("partials", PTR),
            ("parts", I64),
            ("arrivals", PTR),
            ("segments", PTR),
        ]
        parameters += [(label, I64) for label in ("segment_count", "first", "last")]
        heads = f"{self.heads} query heads over {self.groups} key/value heads of {self.size}"
        doc = f"{heads}, {block} token{'s' * (block > 1)} at a time"
        self.kernel = Kernel(name, parameters, doc=doc)
        self.given = {value.name: value for value in self.kernel.parameters}
        self.b = Builder(self.kernel)
        self._choose_tiles()

    def _choose_tiles(self) -> None:
        """How many sums a tile of scores has, and of how many columns a chunk."""
        b, registers = self.b, self.target.registers
        self.tiles = score_tiles(self.shared, self.target)
        values = (b, self.layout, self.target)
        bytes = 4 * self.size // min(self.layout.key_group, self.layout.value_group)  # of a token's operands
        self.stretch = self._stretch(bytes)
        scratch = b.stack(self.stretch * bytes)  # for keys and values in turn
        if self.layout.values.kind == "float":
            often = self.block > 1 or self.shared > 1
            self.values = Operands(*values, "values", self.part.lanes, often, scratch)
        else:
            self.values = ValueCodes(*values, self.part.lanes, self.block > 1, scratch)
        self.softmax = Softmax(b, self.vector, self.part, self.size, self.stretch, self.values.group == 2)
        self.gather = Gather(b, self.values, self.softmax, self.target, self.size)
        limit, together = (registers - 2 - self.tiles) // self.tiles, self.gather.columns
        self.chunks = even(self.columns, limit // together * together or limit)
        largest = self.chunks[0][1]
        self.scores = b.stack((self.heads if self.block == 1 else self.columns) * self.softmax.row)
        self.keys: KeyFloats | KeyCodes
        if self.layout.keys.kind == "float":
            often = len(self.chunks) > 1 or largest > 1
            self.keys = KeyFloats(b, self.layout, self.target, often, scratch, self.tiles, self.scale)
        else:
            self.keys = KeyCodes(b, self.layout, self.target, self.tiles, largest, self.scale)

    def _stretch(self, bytes: int) -> int:
        """Cached tokens that are taken together: their keys, or values, of so many bytes each stay near."""
        least = max(self.layout.rows, self.tiles * self.target.lanes)
        stretch, room = PAGE, self.target.cache_bytes[0] * 2 // 3
        while self.block > 1 and stretch > least and stretch * bytes > room:
            stretch //= 2
        return stretch

    # ---------------------------------------------------------------- stretches

    def _take_stretch(self, first: Value) -> None:
        """Take the cached tokens of a stretch, from `first` on, into every column."""
        b = self.b
        most = b.minimum(b.sub(self.seen, first), self.stretch)
        later = b.add(first, self.stretch)
        later = b.select(b.compare("lt", later, self.seen), later, first)
        for operands in (self.keys, self.values):
            with b.loop(self.first_head, self.last_head) as head:
                place, fetch = self._place(operands, first, later, head.index, most)
                for chunk in self._chunks(head.index):
                    if self.block > 1 and operands is self.keys:
                        fetch = self._fetch(chunk, first, later)
                    count, partly = self._count(chunk, first, most)
                    with b.when(b.compare("gt", count, 0)):
                        if operands is self.values:
                            self.gather.take(place, chunk, count, fetch)
                            continue
                        lowest = b.constant(self.vector, 0.0)
                        with b.loop(0, count, self.tiles * self.vector.lanes, [lowest]) as tile:
                            scores = self.keys.scores(place, chunk, tile.index, fetch)
                            tile.next(self.softmax.keep(chunk, tile.index, scores, tile.values[0]))
                        seen = partial(self._seen, first)
                        self.softmax.settle(chunk, count, tile.results[0], partly, seen)

    def _count(self, chunk: Chunk, first: Value, most: Value) -> tuple[Value, Value]:
        """How many of the stretch's tokens a chunk takes, and whether some are not for all of its columns."""
        b = self.b
        end, _ = self._seen(first, chunk.column)
        last = self._seen(first, b.add(chunk.column, chunk.size - 1))[0] if self.block > 1 else end
        partly = b.compare("lt", end, self.stretch)
        if self.window:
            partly = b.bitor(partly, b.compare("gt", last, self.window))
        return b.minimum(last, most), partly

    def _place(self, operands: _Kept, first: Value, later: Value, head: Value,
               count: Value) -> tuple[Value, Fetch]:  # fmt: skip
        """Where a key head's operands lie from cached token `first` on, and what fetches others.

        Memory, not arithmetic, is what a single token waits for: what lies behind them is fetched, in the end
        the other kind's in the stretch of `later`.
        """
        b = self.b
        here = b.offset(self._all_heads(operands, first), b.mul(head, operands.head_bytes))
        spaced = self.target.broadcast_memory
        fetch = nothing = Fetch(b, spaced)
        if self.block == 1:
            other, page = (self.values, first) if operands is self.keys else (self.keys, later)
            behind = b.offset(self._all_heads(other, page), b.mul(self.first_head, other.head_bytes))
            last = b.compare("eq", b.add(head, 1), self.last_head)
            fetch = Fetch(b, spaced, [b.select(last, behind, b.offset(here, operands.head_bytes))])
        return operands.place(here, count, fetch), nothing if operands.near else fetch

    def _fetch(self, chunk: Chunk, first: Value, later: Value) -> Fetch:
        """What fetches the values of a stretch and the keys of the next between products with its keys."""
        b, turns = self.b, sum(number for number, _ in self.chunks)
        turn = b.div(b.mul(chunk.column, turns), self.columns)
        ahead = [
            b.offset(self._all_heads(operands, token), b.mul(self.first_head, operands.head_bytes))
            for operands, token in ((self.values, first), (self.keys, later))
        ]
        return Fetch(b, self.target.broadcast_memory, ahead, turn, turns)

    def _chunks(self, head: Value) -> Iterator[Chunk]:
        """The columns of a key head: the code that follows each chunk is in a loop over those of its size."""
        b = self.b
        start = b.mul(head, self.shared) if self.block == 1 else b.i64(0)
        stop = b.add(start, self.shared) if self.block == 1 else self.high
        for number, size in self.chunks:
            end = b.add(start, number * size)
            with b.loop(start, b.minimum(end, stop), size) as loop:
                yield self._chunk(loop.index, size)
            start = end

    def _chunk(self, column: Value, size: int) -> Chunk:
        b, softmax = self.b, self.softmax
        queries = b.offset(self.queries, b.mul(column, self.keys.query_bytes))
        state = b.offset(self.state, b.mul(column, STATE))
        sums = b.offset(self.sums, b.mul(column, softmax.sums))
        before = None if self.before is None else b.offset(self.before, b.mul(column, softmax.sums))
        scores = b.offset(self.scores, b.mul(column, softmax.row))
        return Chunk(size, column, queries, state, scores, sums, before)

    def _seen(self, first: Value, column: Value) -> tuple[Value, Value | None]:
        """Where the cached tokens that a column sees end and begin, counted from token `first`."""
        b = self.b
        token = self.start if self.block == 1 else b.add(self.start, b.div(column, self.shared))
        end = b.sub(b.add(b.add(self.position, token), 1), first)
        return end, b.sub(end, self.window) if self.window else None

    def _all_heads(self, operands: _Kept, first: Value) -> Value:
        """Pointer to where the keys or values of cached token `first` lie, those of the first head."""
        b, layout = self.b, self.layout
        number = b.load(I32, self.pages, b.mul(b.div(first, PAGE), 4), align=4)
        cache, staging = self.given["cache"], self.given["staging"]
        page = emit_page(b, layout, cache, staging, b.convert(number, "i64"))
        values = operands is self.values
        if self.stretch < PAGE:
            inside = b.rem(first, PAGE)
            bytes, tokens = (layout.value_token_bytes, 1) if values else (layout.key_tile_bytes, layout.rows)
            page = b.offset(page, b.mul(b.div(inside, tokens), bytes))
        return b.offset(page, layout.value_offset if values else 0)
