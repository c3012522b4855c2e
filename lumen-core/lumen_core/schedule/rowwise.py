"""A `rowwise` region as one kernel: every row is read, reduced and written while it is near.

Values are pulled: what a chunk of a result needs is computed for that chunk, once. Reductions split the
work on a row into passes: pass n computes what needs n - 1 reductions before it, the last one stores.
In token space a row is long and passes are loops; in head space a row is one head and passes are straight
code, so that rotary pairs find each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TypeAlias

from lumen_core.errors import LumenBug
from lumen_core.ir.core import Operation
from lumen_core.ir.core import Value as TensorValue
from lumen_core.ir.kernel import F32, I32, I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.cache_layout import CacheLayout
from lumen_core.quant.layout import ActivationLayout
from lumen_core.schedule.cache import Append, emit_page, emit_slot
from lumen_core.schedule.elementwise import emit_elementwise
from lumen_core.schedule.quantize import TOGETHER, PlainRow, QuantizedRows
from lumen_core.target import Target


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

    columns   token columns of the panels that results of `quantize` are written to
    caches    what each appended cache is, in the order of the results: "keys" or "values"
    layout    of the cache
    piece     elements of a piece, where rows without reductions are worked on in pieces: then the kernel does
              pieces head_first .. head_last of every row
    """
    return _Rowwise(operation, target, columns, caches, layout, name, piece).build()


@dataclass(frozen=True)
class _Place:
    """Where in its row a chunk starts: a run-time base (None: 0) plus a constant, in elements."""

    base: Value | None
    offset: int


_Store: TypeAlias = "tuple[TensorValue, Callable[[Value, _Place], None]]"  # of a result, by chunks


@dataclass
class _Row:
    """A row that code is made for: its token, where what it reads starts, and what is computed of it."""

    token: Value
    starts: dict[TensorValue, Value] = field(default_factory=dict)
    angles: dict[Operation, tuple[Value, Value]] = field(default_factory=dict)
    scalars: dict[TensorValue, Value] = field(default_factory=dict)
    chunks: dict[tuple[TensorValue, int], Value] = field(default_factory=dict)


class _Rowwise:
    def __init__(self, operation: Operation, target: Target, columns: int, caches: Sequence[str],
                 layout: CacheLayout | None, name: str, piece: int):  # fmt: skip
        assert operation.region is not None
        self.region = operation.region
        self.target = target
        self.columns = columns
        self.layout = layout
        self.piece = piece
        self.by_head = operation.attributes["space"] == "head"
        self.heads, self.length = self._row_shape()
        self.ropes = [op for op in self.region.operations if op.name == "rope"]
        self.panels = [self._panels(v) for v in self.region.results if self._maker(v) == "quantize"]
        self.vector = Type("f32", self._lanes())
        appended = [value for value in self.region.results if self._maker(value) == "append"]
        self.kinds = dict(zip(appended, caches, strict=True))
        steps = " ".join(step.name for step in self.region.operations)
        self.kernel = Kernel(name, self._parameters(), doc=f"{operation.attributes['space']}: {steps}")
        self.b = Builder(self.kernel)
        given = list(self.kernel.parameters)
        self.operands = {value: (given.pop(0), given.pop(0)) for value in self.region.arguments}
        self.results = {value: (given.pop(0), given.pop(0)) for value in self.region.results}
        self.rest = {value.name: value for value in given}
        # Of a panel's tokens TOGETHER are quantized side by side: half of the work is the same for all.
        many = any(not panel.plain for panel in self.panels) and columns % TOGETHER == 0
        self.together = TOGETHER if many else 1
        self.levels: dict[TensorValue, int] = {}
        for op in self.region.operations:
            before = max((self.levels.get(value, 0) for value in op.operands), default=0)
            self.levels.update(dict.fromkeys(op.results, before + (op.family == "reduction")))

    # ------------------------------------------------------------------ shapes

    @staticmethod
    def _maker(value: TensorValue) -> str:
        return value.owner.name if value.owner is not None else ""

    def _row_shape(self) -> tuple[int, int]:
        """Heads and elements of a row: what the last axes of this space's rows have."""
        rank = 3 if self.by_head else 2
        found: set[tuple[int, ...]] = set()
        for op in self.region.operations:
            for value in (*op.operands[op.name == "append" :], *op.results[op.name == "append" :]):
                sizes = [size.value for size in value.type.shape]
                if len(sizes) == rank and sizes[0] is None and sizes[-1] != 1:
                    found.add(tuple(size or 0 for size in sizes[1:]))
        if not found and not self.by_head:
            return 1, 1  # such as the one share of a token that takes one expert
        if len(found) != 1:
            raise LumenBug(f"the rows of a rowwise region have the shapes {sorted(found)}")
        (shape,) = found
        return (shape[0], shape[1]) if self.by_head else (1, shape[0])

    def _lanes(self) -> int:
        """Lanes of a chunk: of long rows two registers', whose chains of operations take turns."""
        lanes = self.target.lanes if self.by_head else 2 * self.target.lanes
        sizes = [self.length, *([self.piece] if self.piece else [])]
        sizes += [panel.group for panel in self.panels if not panel.plain]
        for rope in self.ropes:  # a vector holds one half of pairs, or whole pairs
            sizes.append(self._half(rope) * (1 if rope.attributes["pairs"] == "half" else 2))
        while any(size % lanes for size in sizes):
            lanes //= 2
        return lanes

    @staticmethod
    def _half(rope: Operation) -> int:
        half = rope.operands[2].type.shape[0].value
        assert half is not None
        return half

    def _parameters(self) -> list[tuple[str, Type]]:
        labels = [f"operand{number}" for number in range(len(self.region.arguments))]
        labels += [f"result{number}" for number in range(len(self.region.results))]
        pairs = [pair for label in labels for pair in ((label, PTR), (f"{label}_stride", I64))]
        numbers = ("first", "last", "head_first", "head_last")
        tables = ("cos", "sin", "slots", "staging")
        return [*pairs, *((label, PTR) for label in tables), *((label, I64) for label in numbers)]

    def _is_scalar(self, value: TensorValue) -> bool:
        """Tell whether the value is one number for the whole row."""
        reduced = value.owner is not None and value.owner.family == "reduction"
        return reduced or not value.type.shape or (value.type.shape[-1].value == 1 and self.length != 1)

    # --------------------------------------------------------------------- row

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
        rows = [_Row(token) for token in tokens]
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

    def _start(self, value: TensorValue, pointer: Value, stride: Value) -> Value:
        """Pointer to what this row has of an operand or result."""
        b, shape = self.b, value.type.shape
        by_token = bool(shape) and shape[0].value is None
        if value.type.element != "f32":
            return pointer
        if by_token:
            pointer = b.offset(pointer, b.mul(self.row.token, stride))
        count = 1
        for size in shape[1:] if by_token else shape:
            assert size.value is not None
            count *= size.value
        if self.heads > 1 and count in (self.heads, self.heads * self.length):
            pointer = b.offset(pointer, b.mul(self.head, 4 * count // self.heads))
        return pointer

    def _rope_rows(self) -> None:
        """The rows of the cosine and sine tables that belong to this token."""
        b = self.b
        for rope in self.ropes:
            positions = self.row.starts[rope.operands[1]]
            position = b.load(I32, positions, b.mul(self.row.token, 4), align=4)
            where = b.mul(b.convert(position, "i64"), 4 * self._half(rope))
            self.row.angles[rope] = (b.offset(self.rest["cos"], where), b.offset(self.rest["sin"], where))

    def _prepare(self, level: int) -> None:
        """Compute the numbers of the row that need no further reduction, outside of any loop."""
        for value in self.region.arguments:
            if self._is_scalar(value) and value.type.element == "f32" and value not in self.row.scalars:
                self.row.scalars[value] = self.b.load(F32, self.row.starts[value], align=4)
        for op in self.region.operations:
            if op.family == "reduction" or self.levels[op.results[0]] > level:
                continue
            value = op.results[0]
            if value in self.row.scalars or not self._is_scalar(value):
                continue
            self.row.scalars[value] = self._scalar(op)

    def _scalar(self, op: Operation) -> Value:
        if op.name == "constant":
            return self.b.f32(float(op.attributes["value"]))  # type: ignore[arg-type]
        operands = [self.row.scalars[operand] for operand in op.operands]
        return operands[0] if op.name == "reshape" else emit_elementwise(self.b, op, operands)

    # ------------------------------------------------------------------ chunks

    def _pull(self, value: TensorValue, place: _Place) -> Value:
        """Return a chunk of a value."""
        key = (value, place.offset)
        if self._is_scalar(value):
            return self.b.splat(self.row.scalars[value], self.vector.lanes)
        if key not in self.row.chunks:
            self.row.chunks[key] = self._compute(value, place)
        return self.row.chunks[key]

    def _compute(self, value: TensorValue, place: _Place) -> Value:
        b, op = self.b, value.owner
        if value in self.row.starts:
            return self._load(self.row.starts[value], place)
        assert op is not None
        if op.name == "rope":
            return self._rope(op, place)
        if op.name in ("reshape", "quantize"):
            return self._pull(op.operands[0], place)
        if op.name == "constant":
            raise LumenBug("a list of numbers cannot stand in a rowwise region")
        return emit_elementwise(b, op, [self._pull(operand, place) for operand in op.operands])

    def _load(self, pointer: Value, place: _Place) -> Value:
        if place.base is not None:
            pointer = self.b.offset(pointer, self.b.mul(place.base, 4))
        return self.b.load(self.vector, pointer, 4 * place.offset, align=4)

    def _rope(self, op: Operation, place: _Place) -> Value:
        b, x, half, at = self.b, op.operands[0], self._half(op), place.offset
        cosine, sine = self.row.angles[op]
        if at >= 2 * half:
            return self._pull(x, place)
        if op.attributes["pairs"] == "half":
            pair = at % half
            first, second = self._pull(x, _Place(None, pair)), self._pull(x, _Place(None, pair + half))
            cos = b.load(self.vector, cosine, 4 * pair, align=4)
            sin = b.load(self.vector, sine, 4 * pair, align=4)
            if at < half:
                return b.fma(first, cos, b.neg(b.mul(second, sin)))
            return b.fma(first, sin, b.mul(second, cos))
        lanes = self.vector.lanes
        if lanes == 1:  # heads of odd length
            cos, sin = (b.load(self.vector, table, 4 * (at // 2), align=4) for table in (cosine, sine))
            turned = b.mul(self._pull(x, _Place(None, at ^ 1)), sin)
            return b.fma(self._pull(x, place), cos, turned if at % 2 else b.neg(turned))
        doubled = [lane // 2 for lane in range(lanes)]
        part = Type("f32", lanes // 2)
        cos = b.load(part, cosine, 2 * at, align=4)
        sin = b.load(part, sine, 2 * at, align=4)
        if lanes == 2:
            cos, sin = b.splat(cos, 2), b.splat(sin, 2)
        else:
            cos, sin = b.shuffle(cos, None, doubled), b.shuffle(sin, None, doubled)
        own = self._pull(x, place)
        other = b.shuffle(own, None, [lane ^ 1 for lane in range(lanes)])
        signs = b.vector_constant(self.vector, [-1.0, 1.0] * (lanes // 2))
        return b.fma(own, cos, b.mul(other, b.mul(sin, signs)))

    def _places(
        self, body: Callable[[list[_Place], list[Value]], list[Value]], carried: list[Value]
    ) -> list[Value]:
        """Run `body` over the chunks of the row, several at a time; it maps carried values to the next."""
        lanes = self.vector.lanes
        if self.by_head:
            return body([_Place(None, at) for at in range(0, self.length, lanes)], carried)
        count = next(count for count in (4, 2, 1) if (self.piece or self.length) % (count * lanes) == 0)
        with self.b.loop(*self._elements(), count * lanes, carried) as loop:
            self.row.chunks = {}
            loop.next(*body([_Place(loop.index, lanes * i) for i in range(count)], list(loop.values)))
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

        def body(places: list[_Place], sums: list[Value]) -> list[Value]:
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

    def _store(self, rows: list[_Row]) -> None:
        b, lanes = self.b, self.vector.lanes
        layouts = {value: self._panels(value) for value in self.results if self._maker(value) == "quantize"}
        quantized: dict[TensorValue, QuantizedRows] = {}
        for value, layout in layouts.items():
            if not layout.plain:
                quantized[value] = QuantizedRows(b, layout, *self.results[value], rows[0].token)
        stores = [self._plain_stores(row, layouts) for row in rows]
        if not quantized:
            (own,) = stores
            self._places(lambda places, _: self._store_chunks(places, own), [])
            return
        span = max(row.layout.group for row in quantized.values())
        room = (
            self.target.lanes * self.target.registers // (4 * len(rows))
        )  # of a row, that wait in registers
        near = span <= room
        scratch = {value: b.stack(4 * span * len(rows)) for value in quantized if not near}
        count = max(1, min(room, span) // lanes)
        with b.loop(*self._elements(), span) as group:

            def compute(first: Value, scratch: Mapping[TensorValue, Value]) -> None:
                """Chunks of all rows from element `first` on, before any is stored: a row may stand twice."""
                places = [_Place(first, lanes * index) for index in range(count)]
                for self.row in rows:
                    self.row.chunks = {}
                    for value in self.results:
                        for place in places:
                            self._pull(value, place)
                for number, (self.row, own) in enumerate(zip(rows, stores, strict=True)):
                    self._store_chunks(places, own)
                    for value, pointer in scratch.items():
                        for place in places:
                            chunk = self._pull(value, place)
                            b.store(chunk, pointer, 4 * (span * number + place.offset), align=4)

            if near:
                compute(group.index, {})
            else:
                with b.loop(0, span, count * lanes) as part:
                    moved = {v: b.offset(pointer, b.mul(part.index, 4)) for v, pointer in scratch.items()}
                    compute(b.add(group.index, part.index), moved)
            for value, panel in quantized.items():
                size = panel.layout.group
                for inside in range(0, span, size):

                    def read(row: int, at: int, value: TensorValue = value) -> Value:
                        if near:
                            return rows[row].chunks[(value, at)]
                        return b.load(self.vector, scratch[value], 4 * (span * row + at), align=4)

                    values = [
                        [partial(read, row, inside + at) for at in range(0, size, lanes)]
                        for row in range(len(rows))
                    ]
                    panel.store_group(values, b.div(b.add(group.index, inside), size))

    def _panels(self, value: TensorValue) -> ActivationLayout:
        """The layout of the panels that a result of `quantize` is written to."""
        return ActivationLayout(value.type.element, self.columns, self.target.depth)

    def _plain_stores(self, row: _Row, layouts: Mapping[TensorValue, ActivationLayout]) -> list[_Store]:
        """What writes a row's results that are appended (at once) or written as numbers (by chunks)."""
        self.row = row
        stores: list[_Store] = []
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

    def _store_chunk(self, start: Value, chunk: Value, place: _Place) -> None:
        if place.base is not None:
            start = self.b.offset(start, self.b.mul(place.base, 4))
        self.b.store(chunk, start, 4 * place.offset, align=4)

    def _store_number(self, row: PlainRow, chunk: Value, place: _Place) -> None:
        element = self.b.i64(place.offset) if place.base is None else self.b.add(place.base, place.offset)
        row.store(chunk, element)

    def _store_chunks(self, places: list[_Place], stores: list[_Store]) -> list[Value]:
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
        chunks = [self._pull(row, _Place(None, at)) for at in range(0, self.length, self.vector.lanes)]
        Append(b, layout, self.kinds[value]).store(chunks, page, self.head, place)
