"""Rows of a `rowwise` region while code is made for them: chunks of values, and numbers of a whole row.

Values are pulled: what a chunk of a result needs is computed for that chunk, once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import gcd

from lumen_core.errors import LumenBug
from lumen_core.ir.core import Operation
from lumen_core.ir.core import Value as TensorValue
from lumen_core.ir.kernel import F32, I32, I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.cache_layout import CacheLayout
from lumen_core.quant.layout import ActivationLayout
from lumen_core.schedule.elementwise import emit_elementwise
from lumen_core.schedule.quantize import PIECE, STRAIGHT, TOGETHER
from lumen_core.target import Target


@dataclass(frozen=True)
class Place:
    """Where in its row a chunk starts: a run-time base (None: 0) plus a constant, in elements."""

    base: Value | None
    offset: int


@dataclass
class Row:
    """A row that code is made for: its token, where what it reads starts, and what is computed of it."""

    token: Value
    starts: dict[TensorValue, Value] = field(default_factory=dict)
    angles: dict[Operation, tuple[Value, Value]] = field(default_factory=dict)
    scalars: dict[TensorValue, Value] = field(default_factory=dict)
    chunks: dict[tuple[TensorValue, int], Value] = field(default_factory=dict)


class RowChunks:
    """A region, and what its values are in the row that code is being made for, chunk by chunk."""

    row: Row
    head: Value

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
        # Of a panel's tokens some are quantized side by side: half of the work is the same for all.
        group = max((panel.group for panel in self.panels if not panel.plain), default=0)
        self.together = gcd(columns, min(TOGETHER, STRAIGHT // group)) if group else 1
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
        sizes += [PIECE for panel in self.panels if not panel.plain]
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

    def _panels(self, value: TensorValue) -> ActivationLayout:
        """The layout of the panels that a result of `quantize` is written to."""
        return ActivationLayout(value.type.element, self.columns, self.target.depth)

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

    def _pull(self, value: TensorValue, place: Place) -> Value:
        """Return a chunk of a value."""
        key = (value, place.offset)
        if self._is_scalar(value):
            return self.b.splat(self.row.scalars[value], self.vector.lanes)
        if key not in self.row.chunks:
            self.row.chunks[key] = self._compute(value, place)
        return self.row.chunks[key]

    def _compute(self, value: TensorValue, place: Place) -> Value:
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

    def _load(self, pointer: Value, place: Place) -> Value:
        if place.base is not None:
            pointer = self.b.offset(pointer, self.b.mul(place.base, 4))
        return self.b.load(self.vector, pointer, 4 * place.offset, align=4)

    def _rope(self, op: Operation, place: Place) -> Value:
        b, x, half, at = self.b, op.operands[0], self._half(op), place.offset
        cosine, sine = self.row.angles[op]
        if at >= 2 * half:
            return self._pull(x, place)
        if op.attributes["pairs"] == "half":
            pair = at % half
            first, second = self._pull(x, Place(None, pair)), self._pull(x, Place(None, pair + half))
            cos = b.load(self.vector, cosine, 4 * pair, align=4)
            sin = b.load(self.vector, sine, 4 * pair, align=4)
            if at < half:
                return b.fma(first, cos, b.neg(b.mul(second, sin)))
            return b.fma(first, sin, b.mul(second, cos))
        lanes = self.vector.lanes
        if lanes == 1:  # heads of odd length
            cos, sin = (b.load(self.vector, table, 4 * (at // 2), align=4) for table in (cosine, sine))
            turned = b.mul(self._pull(x, Place(None, at ^ 1)), sin)
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
