"""A `rowwise` region as one kernel: every row is read, reduced and written while it is near.

Values are pulled chunk by chunk (row_chunks.py). Reductions split the work on a row into passes: pass n
computes what needs n - 1 reductions before it, the last one stores.
In token space a row is long and passes are loops; in head space a row is one head and passes are straight
code, so that rotary pairs find each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeAlias

from lumen_core.ir.core import Operation
from lumen_core.ir.core import Value as TensorValue
from lumen_core.ir.kernel import I32, Kernel, Value
from lumen_core.quant.cache_layout import CacheLayout
from lumen_core.quant.layout import ActivationLayout
from lumen_core.schedule.cache import Append, emit_page, emit_slot
from lumen_core.schedule.quantize import PIECE, PlainRow, QuantizedRows
from lumen_core.schedule.row_chunks import Place, Row, RowChunks
from lumen_core.target import Target

STRIP = 256  # elements of a row that are made before they are quantized
Store: TypeAlias = "tuple[TensorValue, Callable[[Value, Place], None]]"  # of a result, by chunks


def build_rowwise(
    operation: Operation,
    target: Target,
    columns: int = 1,
    caches: Sequence[str] = (),
    layout: CacheLayout | None = None,
    name: str = "rowwise",
    piece: int = 0,
) -> Kernel:
    """Build the kernel of a region; `schedule/__init__.py` says how it is called.

    Where rows are quantized for panels, the first token is a multiple of `quantize.TOGETHER`, or of fewer
    columns.

    columns   token columns of the panels that results of `quantize` are written to
    caches    what each appended cache is, in the order of the results: "keys" or "values"
    layout    of the cache
    piece     elements of a piece, where rows without reductions are worked on in pieces: then the kernel does
              pieces head_first .. head_last of every row
    """
    return _Rowwise(operation, target, columns, caches, layout, name, piece).build()


class _Rowwise(RowChunks):
    def build(self) -> Kernel:
        b, last = self.b, self.rest["last"]
        with b.loop(self.rest["first"], last, self.together) as token:
            if self.by_head:
                with b.loop(self.rest["head_first"], self.rest["head_last"]) as head:
                    self._work([token.index], head.index)
            else:
                # Behind the last token it stands for others: nobody reads what they leave in the panel.
                others = (
                    b.minimum(b.add(token.index, number), b.sub(last, 1))
                    for number in range(1, self.together)
                )
                self._work([token.index, *others], b.i64(0))
        return self.kernel

    def _work(self, tokens: list[Value], head: Value) -> None:
        """Make the rows of tokens."""
        self.head = head
        rows = [Row(token) for token in tokens]
        last = max(self.levels.values(), default=0)
        for row in rows:
            self.row = row
            row.starts = {value: self._start(value, *given) for value, given in self.operands.items()}
            self._rope_rows()
            for level in range(1, last + 1):
                self._prepare(level - 1)
                self._reduce([op for op in self.region.operations if self._reduces_at(op, level)])
            self._prepare(last)
        self._store(rows)

    def _reduces_at(self, op: Operation, level: int) -> bool:
        return op.family == "reduction" and self.levels[op.result] == level

    def _places(
        self, body: Callable[[list[Place], list[Value]], list[Value]], carried: list[Value]
    ) -> list[Value]:
        """Run `body` over the chunks of the row, several at a time; it maps carried values to the next."""
        lanes = self.vector.lanes
        if self.by_head:
            return body([Place(None, at) for at in range(0, self.length, lanes)], carried)
        count = next(count for count in (4, 2, 1) if (self.piece or self.length) % (count * lanes) == 0)
        with self.b.loop(*self._elements(), count * lanes, carried) as loop:
            self.row.chunks = {}
            loop.next(*body([Place(loop.index, lanes * i) for i in range(count)], list(loop.values)))
        self.row.chunks = {}
        return list(loop.results)

    def _elements(self) -> tuple[Value, Value]:
        """The first element of the row that is worked on, and the end."""
        b = self.b
        if self.piece == 0:
            return b.i64(0), b.i64(self.length)
        first, last = self.rest["head_first"], self.rest["head_last"]
        return b.mul(first, self.piece), b.mul(last, self.piece)

    # -------------------------------------------------------------- reductions

    def _reduce(self, operations: list[Operation]) -> None:
        b = self.b
        chains = 4  # independent accumulators hide the latency of additions
        start = []
        for op in operations:
            neutral = float("-inf") if op.name == "max" else 0.0
            start += [b.constant(self.vector, neutral)] * chains

        def body(places: list[Place], sums: list[Value]) -> list[Value]:
            for number, op in enumerate(operations):
                for index, place in enumerate(places):
                    slot = number * chains + index % chains
                    value = self._pull(op.operands[0], place)
                    combine = b.maximum if op.name == "max" else b.add
                    sums[slot] = combine(sums[slot], value)
            return sums

        sums = self._places(body, start)
        for number, op in enumerate(operations):
            first, second, third, fourth = sums[number * chains : (number + 1) * chains]
            if op.name == "max":
                total = b.reduce("max", b.maximum(b.maximum(first, second), b.maximum(third, fourth)))
            else:
                total = b.reduce("add", b.add(b.add(first, second), b.add(third, fourth)))
            self.row.scalars[op.result] = b.mul(total, 1.0 / self.length) if op.name == "mean" else total

    # ----------------------------------------------------------------- results

    def _store(self, rows: list[Row]) -> None:
        layouts = {value: self._panels(value) for value in self.results if self._maker(value) == "quantize"}
        quantized = {
            value: QuantizedRows(
                self.b, layout, *self.results[value], rows[0].token, len(rows), self.target.lanes
            )
            for value, layout in layouts.items()
            if not layout.plain
        }
        stores = [self._plain_stores(row, layouts) for row in rows]
        if quantized:
            self._quantize(rows, stores, quantized)
        else:
            (own,) = stores
            self._places(lambda places, _: self._store_chunks(places, own), [])

    def _quantize(
        self, rows: list[Row], stores: list[list[Store]], quantized: Mapping[TensorValue, QuantizedRows]
    ) -> None:
        """Make a strip of all rows, then the scales of its groups, then their codes.

        Each is a loop of its own over memory that stays near. In one loop values would not leave registers,
        but each turn is a long chain of operations, and a core holds too few of them to begin the next turns.
        """
        b, lanes = self.b, self.vector.lanes
        span = max(panel.layout.group for panel in quantized.values())
        strip = max(span, STRIP // span * span)
        scratch = {value: b.stack(4 * strip * len(rows)) for value in quantized}
        inverses = b.stack(4 * strip // PIECE * len(rows))
        count = max(1, min(span // lanes, 4 // len(rows)))
        first, last = self._elements()
        with b.loop(first, last, strip) as part:
            end = b.minimum(b.add(part.index, strip), last)
            with b.loop(part.index, end, count * lanes) as loop:
                at = b.mul(b.sub(loop.index, part.index), 4)
                moved = {value: b.offset(pointer, at) for value, pointer in scratch.items()}
                self._make(
                    [Place(loop.index, lanes * index) for index in range(count)], rows, stores, moved, strip
                )
            for value, panel in quantized.items():
                size = panel.layout.group
                for write in (panel.store_scales, panel.store_codes):
                    with b.loop(part.index, end, size) as loop:
                        at = b.sub(loop.index, part.index)
                        where = b.offset(scratch[value], b.mul(at, 4))
                        own = b.offset(inverses, b.mul(b.div(at, size), 4 * len(rows)))
                        read = partial(self._read, where, strip)
                        write(read, b.div(loop.index, size), own)

    def _make(
        self,
        places: list[Place],
        rows: list[Row],
        stores: list[list[Store]],
        scratch: Mapping[TensorValue, Value],
        strip: int,
    ) -> None:
        """Chunks of all rows, before any is stored: a row may stand twice."""
        for row in rows:
            self.row, row.chunks = row, {}
            for value in self.results:
                for place in places:
                    self._pull(value, place)
        for number, (row, own) in enumerate(zip(rows, stores, strict=True)):
            self.row = row
            self._store_chunks(places, own)
            for value, pointer in scratch.items():
                for place in places:
                    where = 4 * (strip * number + place.offset)
                    self.b.store(self._pull(value, place), pointer, where, align=4)

    def _read(self, strips: Value, strip: int, row: int, element: int) -> Value:
        """What `_make` left of a row from an element on."""
        return self.b.load(self.vector, strips, 4 * (strip * row + element), align=4)

    def _plain_stores(self, row: Row, layouts: Mapping[TensorValue, ActivationLayout]) -> list[Store]:
        """What writes a row's results that are appended (at once) or written as numbers (by chunks)."""
        self.row = row
        stores: list[Store] = []
        for value, (pointer, stride) in self.results.items():
            if self._maker(value) == "append":
                self._append(value, pointer)
            elif value not in layouts:
                stores.append((value, partial(self._store_chunk, self._start(value, pointer, stride))))
            elif layouts[value].plain:
                plain = PlainRow(self.b, layouts[value], pointer, stride, row.token)
                plain.finish(self.length)
                stores.append((value, partial(self._store_number, plain)))
        return stores

    def _store_chunk(self, start: Value, chunk: Value, place: Place) -> None:
        if place.base is not None:
            start = self.b.offset(start, self.b.mul(place.base, 4))
        self.b.store(chunk, start, 4 * place.offset, align=4)

    def _store_number(self, row: PlainRow, chunk: Value, place: Place) -> None:
        element = self.b.i64(place.offset) if place.base is None else self.b.add(place.base, place.offset)
        row.store(chunk, element)

    def _store_chunks(self, places: list[Place], stores: list[Store]) -> list[Value]:
        for place in places:
            for value, store in stores:
                store(self._pull(value, place), place)
        return []

    def _append(self, value: TensorValue, part: Value) -> None:
        """Write this row to its slot of a cache."""
        b = self.b
        assert value.owner is not None
        assert self.layout is not None
        row, layout = value.owner.operands[1], self.layout
        slot = b.convert(b.load(I32, self.rest["slots"], b.mul(self.row.token, 4), align=4), "i64")
        number, place = emit_slot(b, slot)
        staging = b.offset(self.rest["staging"], layout.value_offset if self.kinds[value] == "values" else 0)
        page = emit_page(b, layout, part, staging, number)
        chunks = [self._pull(row, Place(None, at)) for at in range(0, self.length, self.vector.lanes)]
        Append(b, layout, self.kinds[value]).store(chunks, page, self.head, place)
