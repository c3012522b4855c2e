"""Builds kernel IR: each method of `Builder` appends one operation and returns its value; blocks are `with`.

In: values and Python numbers (a number becomes a constant of the other operand's type). Out: the `Kernel`
grows. Scalar integer arithmetic on constants is done at once, so that addresses stay short.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import zip_longest

from lumen_core.ir.kernel import F32, I32, I64, PTR, Kernel, Operation, Region, Type, Value


class Loop:
    """The handle of an open loop: `index`, carried `values`, then `results` after the block."""

    def __init__(self, index: Value | None, values: tuple[Value, ...], results: tuple[Value, ...]):
        self.index: Value = index  # type: ignore[assignment]  # a `repeat` has none
        self.values = values
        self.results = results
        self._next: tuple[Value, ...] | None = None if values else ()
        self.condition: Value | None = None

    def next(self, *values: Value) -> None:
        """Give the carried values of the next iteration."""
        self._next = values


class Builder:
    """Appends operations to a kernel; the methods are the vocabulary of the kernel IR."""

    def __init__(self, kernel: Kernel):
        self.kernel = kernel
        self._region = kernel.body
        self._count = 0
        self._data: dict[bytes, Value] = {}
        self._constants: dict[tuple[Type, object], Value] = {}

    # ------------------------------------------------------------------ values

    def _fresh(self, type: Type) -> Value:
        self._count += 1
        return Value(type, str(self._count))

    def emit(self, name: str, operands: tuple, type: Type | None, **attributes: object) -> Value:
        result = self._fresh(type) if type is not None else None
        self._region.operations.append(
            Operation(name, operands, (result,) if result is not None else (), attributes)
        )
        return result  # type: ignore[return-value]

    def constant(self, type: Type, value: int | float) -> Value:
        """A constant; for a vector type, the same in every lane."""
        key = (type, struct.pack("d", value) if type.is_float else value)
        found = self._constants.get(key)
        if found is None:
            found = self._constants[key] = Value(type, "c", value)
        return found

    def i32(self, value: int) -> Value:
        return self.constant(I32, value)

    def i64(self, value: int) -> Value:
        return self.constant(I64, value)

    def f32(self, value: float) -> Value:
        return self.constant(F32, value)

    def vector_constant(self, type: Type, values: Sequence[int | float]) -> Value:
        """A constant with its own value in every lane."""
        return self.emit("vector_constant", (), type, values=tuple(values))

    def _same(self, a: Value, b: Value | int | float) -> Value:
        return b if isinstance(b, Value) else self.constant(a.type, b)

    # -------------------------------------------------------------- arithmetic

    def add(self, a: Value, b: Value | int | float) -> Value:
        if not a.type.is_float and a.literal == 0 and isinstance(b, Value):
            return b
        b = self._same(a, b)
        if not a.type.is_float and a.type.lanes == 1:
            if b.literal == 0:
                return a
            if a.literal is not None and b.literal is not None:
                return self.constant(a.type, a.literal + b.literal)
        return self.emit("add", (a, b), a.type)

    def sub(self, a: Value, b: Value | int | float) -> Value:
        return self.emit("sub", (a, self._same(a, b)), a.type)

    def mul(self, a: Value, b: Value | int | float) -> Value:
        b = self._same(a, b)
        if not a.type.is_float and a.type.lanes == 1:
            if b.literal == 1:
                return a
            if a.literal == 1:
                return b
            if a.literal is not None and b.literal is not None:
                return self.constant(a.type, a.literal * b.literal)
        return self.emit("mul", (a, b), a.type)

    def div(self, a: Value, b: Value | int | float) -> Value:
        """Float quotient, or the unsigned integer one."""
        return self.emit("div", (a, self._same(a, b)), a.type)

    def rem(self, a: Value, b: Value | int) -> Value:
        """Unsigned remainder."""
        return self.emit("rem", (a, self._same(a, b)), a.type)

    def bitand(self, a: Value, b: Value | int) -> Value:
        return self.emit("and", (a, self._same(a, b)), a.type)

    def bitor(self, a: Value, b: Value | int) -> Value:
        return self.emit("or", (a, self._same(a, b)), a.type)

    def bitxor(self, a: Value, b: Value | int) -> Value:
        return self.emit("xor", (a, self._same(a, b)), a.type)

    def shl(self, a: Value, b: Value | int) -> Value:
        return a if b == 0 else self.emit("shl", (a, self._same(a, b)), a.type)

    def shr(self, a: Value, b: Value | int) -> Value:
        """Shift right, filling with zeros."""
        return a if b == 0 else self.emit("lshr", (a, self._same(a, b)), a.type)

    def sar(self, a: Value, b: Value | int) -> Value:
        """Shift right, filling with the sign."""
        return a if b == 0 else self.emit("ashr", (a, self._same(a, b)), a.type)

    def fma(self, a: Value, b: Value, c: Value) -> Value:
        """a * b + c, rounded once."""
        return self.emit("fma", (a, b, c), a.type)

    def neg(self, a: Value) -> Value:
        return self.emit("fneg", (a,), a.type) if a.type.is_float else self.sub(self.constant(a.type, 0), a)

    def abs(self, a: Value) -> Value:
        return self.emit("abs", (a,), a.type)

    def sqrt(self, a: Value) -> Value:
        return self.emit("sqrt", (a,), a.type)

    def rint(self, a: Value) -> Value:
        """Round to the nearest integer, halves to even."""
        return self.emit("rint", (a,), a.type)

    def minimum(self, a: Value, b: Value | int | float) -> Value:
        """The lesser (integers signed; floats: the second operand when unordered)."""
        b = self._same(a, b)
        return self.select(self.compare("lt", a, b), a, b)

    def maximum(self, a: Value, b: Value | int | float) -> Value:
        b = self._same(a, b)
        return self.select(self.compare("gt", a, b), a, b)

    def compare(self, predicate: str, a: Value, b: Value | int | float, signed: bool = True) -> Value:
        """`predicate` is one of eq ne lt le gt ge; floats compare ordered."""
        return self.emit(
            "compare", (a, self._same(a, b)), a.type.of("i1"), predicate=predicate, signed=signed
        )

    def select(self, condition: Value, a: Value, b: Value) -> Value:
        return self.emit("select", (condition, a, b), a.type)

    def convert(self, a: Value, element: str, signed: bool = True) -> Value:
        """Change the element type: widen, narrow, integer <-> float (towards zero), f16/bf16 <-> f32."""
        if a.type.element == element:
            return a
        return self.emit("convert", (a,), a.type.of(element), signed=signed)

    def bitcast(self, a: Value, type: Type) -> Value:
        return a if a.type == type else self.emit("bitcast", (a,), type)

    # ------------------------------------------------------------------- lanes

    def splat(self, a: Value, lanes: int) -> Value:
        if lanes == 1:
            return a
        if a.literal is not None:
            return self.constant(Type(a.type.element, lanes), a.literal)
        return self.emit("splat", (a,), Type(a.type.element, lanes))

    def extract(self, a: Value, lane: int) -> Value:
        if a.type.lanes == 1:
            return a
        return self.emit("extract", (a,), Type(a.type.element), lane=lane)

    def insert(self, a: Value, scalar: Value, lane: int) -> Value:
        if a.type.lanes == 1:
            return scalar
        return self.emit("insert", (a, scalar), a.type, lane=lane)

    def shuffle(self, a: Value, b: Value | None, mask: Sequence[int]) -> Value:
        """Pick lanes of a (0..n-1) and b (n..2n-1); -1 leaves a lane undefined."""
        if b is None and a.type.lanes == 1:
            return self.splat(a, len(mask))
        if b is None and len(mask) == 1:
            return self.extract(a, max(mask[0], 0))
        return self.emit("shuffle", (a, b or a), Type(a.type.element, len(mask)), mask=tuple(mask))

    def reduce(self, kind: str, a: Value) -> Value:
        """Sum (`add`, `or`) or largest (`max`, `umax`) over the lanes, by halving: a fixed order."""
        while a.type.lanes > 1:
            half = a.type.lanes // 2
            low, high = self.shuffle(a, None, range(half)), self.shuffle(a, None, range(half, 2 * half))
            a = {"add": self.add, "or": self.bitor, "max": self.maximum}[kind](low, high)
        return a

    def dot4(self, accumulator: Value, left: Value, right: Value, kind: str = "small") -> Value:
        """accumulator[i] + sum over j < 4 of left[4i+j] * right[4i+j]; bytes are given as i32 lanes.

        `right` is signed and never -128; `kind` says what `left` is: "unsigned", "signed", or "small": 0 to
        127, which is the same in both.
        """
        return self.emit("dot4", (accumulator, left, right), accumulator.type, kind=kind)

    def dot2(self, accumulator: Value, left: Value, right: Value) -> Value:
        """accumulator[i] + sum over j < 2 of left[2i+j] * right[2i+j]; pairs are given as i32 lanes.

        They are signed words where the accumulator is i32, bf16 where it is f32.
        """
        return self.emit("dot2", (accumulator, left, right), accumulator.type)

    def look_up(self, table: Sequence[int], index: Value, most: int = 16) -> Value:
        """table[index[i]], bytes; an index is below the table's length, or below 16.

        most: entries that an instruction of the target looks up (16, or also 64) where 16 are not enough; of
            more, so many are looked up at a time, and the higher bits of an index choose among them.
        """
        size = most if len(table) > 16 else 16
        padded = [value - 256 if value > 127 else value for value in (*table, *[0] * (-len(table) % size))]
        low = self.bitand(index, size - 1) if len(padded) > size else index
        found = []
        for first in range(0, len(padded), size):
            entries = [padded[first + lane % size] for lane in range(index.type.lanes)]
            tables = self.vector_constant(index.type, entries)
            found.append(self.instruction(f"lookup{size}", (tables, low), index.type))
        bit = size
        while len(found) > 1:
            upper = self.compare("ne", self.bitand(index, bit), 0)
            pairs = zip_longest(found[::2], found[1::2])
            found = [self.select(upper, b, a) if b is not None else a for a, b in pairs]
            bit *= 2
        return found[0]

    def instruction(self, op: str, operands: tuple[Value, ...], type: Type | None) -> Value:
        """An operation that only a backend's row can do."""
        return self.emit("instruction", operands, type, op=op)

    # ------------------------------------------------------------------ memory

    def offset(self, pointer: Value, bytes: Value | int) -> Value:
        if bytes == 0:
            return pointer
        return self.emit("offset", (pointer, self._same(self.i64(0), bytes)), PTR)

    def load(
        self, type: Type, pointer: Value, bytes: Value | int = 0, align: int = 1, again: bool = False
    ) -> Value:
        """Read memory; `again`: even if a register might hold what is there."""
        extra = {"again": True} if again else {}
        return self.emit("load", (self.offset(pointer, bytes),), type, align=align, **extra)

    def load_splat(self, type: Type, pointer: Value, bytes: Value | int = 0, align: int = 4) -> Value:
        """One scalar from memory in every lane of `type`."""
        scalar = self.load(Type(type.element), pointer, bytes, align)
        return self.splat(scalar, type.lanes)

    def store(self, value: Value, pointer: Value, bytes: Value | int = 0, align: int = 1) -> None:
        self.emit("store", (value, self.offset(pointer, bytes)), None, align=align)

    def cycles(self) -> Value:
        """The processor's time stamp, for profiles."""
        return self.emit("cycles", (), I64)

    def prefetch(self, pointer: Value, bytes: Value | int = 0, once: bool = False) -> None:
        """Ask for a line; one that is used `once` shall not push out what lies in the caches."""
        extra = {"once": True} if once else {}
        self.emit("prefetch", (self.offset(pointer, bytes),), None, **extra)

    def stack(self, bytes: int, align: int = 64) -> Value:
        """Scratch memory that lives as long as the call."""
        return self.emit("stack", (), PTR, bytes=bytes, align=align)

    def data(self, bytes: bytes) -> Value:
        """The address of constant bytes, aligned to a cache line."""
        if bytes not in self._data:
            self._data[bytes] = self.emit("data", (), PTR, bytes=bytes)
        return self._data[bytes]

    def atomic(self, kind: str, pointer: Value, value: Value) -> Value:
        """`add` or `xchg`, sequentially consistent; gives the old value."""
        return self.emit("atomic", (pointer, value), value.type, kind=kind)

    def atomic_load(self, type: Type, pointer: Value) -> Value:
        return self.emit("atomic_load", (pointer,), type)

    def atomic_store(self, value: Value, pointer: Value) -> None:
        self.emit("atomic_store", (value, pointer), None)

    # ----------------------------------------------------------------- control

    def call(self, function: str | Value, arguments: Sequence[Value], result: Type | None = None) -> Value:
        """Call a symbol, or a pointer to a function."""
        if isinstance(function, Value):
            return self.emit("call_pointer", (function, *arguments), result)
        return self.emit("call", tuple(arguments), result, symbol=function)

    def ret(self, value: Value | None = None) -> None:
        self.emit("return", (value,) if value is not None else (), None)

    @contextmanager
    def _inside(self, region: Region) -> Iterator[None]:
        outer, self._region = self._region, region
        yield
        self._region = outer

    @contextmanager
    def loop(
        self, start: Value | int, stop: Value | int, step: Value | int = 1, carried: Sequence[Value] = ()
    ) -> Iterator[Loop]:
        """for index in start, start+step, ... while index < stop, carrying values (`Loop.next`)."""
        zero = self.i64(0)
        bounds = tuple(self._same(zero, bound) for bound in (start, stop, step))
        index = self._fresh(I64)
        values = tuple(self._fresh(value.type) for value in carried)
        results = tuple(self._fresh(value.type) for value in carried)
        region = Region((index, *values))
        handle = Loop(index, values, results)
        with self._inside(region):
            yield handle
            assert handle._next is not None and len(handle._next) == len(values), "loop.next is missing"
            self.emit("yield", tuple(handle._next), None)
        self._region.operations.append(Operation("for", (*bounds, *carried), results, {}, (region,)))

    @contextmanager
    def repeat(self, carried: Sequence[Value] = ()) -> Iterator[Loop]:
        """do ... while `handle.condition`, carrying values; at least one iteration."""
        values = tuple(self._fresh(value.type) for value in carried)
        results = tuple(self._fresh(value.type) for value in carried)
        region = Region(values)
        handle = Loop(None, values, results)
        with self._inside(region):
            yield handle
            assert handle.condition is not None and handle._next is not None
            self.emit("yield", (handle.condition, *handle._next), None)
        self._region.operations.append(Operation("repeat", tuple(carried), results, {}, (region,)))

    @contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """Do the block if the condition holds."""
        region = Region()
        with self._inside(region):
            yield
        self._region.operations.append(Operation("if", (condition,), (), {}, (region,)))
