"""Which experts a token takes, and the tokens of a step put together by expert: kernels on small tables.

Numbers of experts are i32 [token][choice]. `Grouping` is the memory that says which rows an expert has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lumen_core.ir.core import Operation
from lumen_core.ir.kernel import F32, I32, I64, PTR, Kernel, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.ir.operations.experts import choices_of


def build_top_k(operation: Operation, name: str = "top_k") -> Kernel:
    """Build `name(scores, stride, chosen, chosen_stride, first, last)` for tokens first <= t < last.

    A score that is no number is never greater than another: whatever the scores are, the numbers are valid.
    """
    size = operation.operands[0].type.shape[-1].value or 0
    count, groups, kept = choices_of(operation)
    parameters = [("scores", PTR), ("stride", I64), ("chosen", PTR), ("chosen_stride", I64)]
    kernel = Kernel(
        name, [*parameters, ("first", I64), ("last", I64)], doc=f"the greatest of {size}, by number"
    )
    b = Builder(kernel)
    scores, stride, chosen, chosen_stride, first, last = kernel.parameters
    left, best, near = b.stack(4 * size), b.stack(4 * groups), b.stack(4 * groups)
    with b.loop(first, last) as token:
        row = b.offset(scores, b.mul(token.index, stride))
        with b.loop(0, size) as place:
            b.store(_f32(b, row, place.index), left, b.mul(place.index, 4), align=4)
        if kept < groups:
            _keep(b, left, best, near, size // groups, groups, kept)
        to = b.offset(chosen, b.mul(token.index, chosen_stride))
        _take(b, left, size, count, to)
    return kernel


def _f32(b: Builder, pointer: Value, index: Value) -> Value:
    return b.load(F32, pointer, b.mul(index, 4), align=4)


def _i32(b: Builder, pointer: Value, index: Value) -> Value:
    return b.convert(b.load(I32, pointer, b.mul(index, 4), align=4), "i64")


def _take(b: Builder, left: Value, size: int, count: int, to: Value) -> None:
    """Write the numbers of the `count` greatest to `to`; they are minus infinity in `left` then."""
    low = b.f32(-math.inf)
    with b.loop(0, count) as choice:
        with b.loop(0, size, 1, [low, b.i64(0)]) as place:
            greatest, where = place.values
            value = _f32(b, left, place.index)
            better = b.compare("gt", value, greatest)
            place.next(b.select(better, value, greatest), b.select(better, place.index, where))
        where = place.results[1]
        b.store(b.convert(where, "i32"), to, b.mul(choice.index, 4), align=4)
        b.store(low, left, b.mul(where, 4), align=4)


def _keep(b: Builder, left: Value, best: Value, near: Value, size: int, groups: int, kept: int) -> None:
    """Set the scores of all but the `kept` best groups to minus infinity."""
    low = b.f32(-math.inf)
    with b.loop(0, groups) as group:
        start = b.offset(left, b.mul(group.index, 4 * size))
        with b.loop(0, size, 1, [low, low]) as place:
            greatest, second = place.values
            value = _f32(b, start, place.index)
            better = b.compare("gt", value, greatest)
            follows = b.maximum(value, second)
            place.next(b.select(better, value, greatest), b.select(better, greatest, follows))
        total = b.add(*place.results) if size > 1 else place.results[0]
        b.store(total, best, b.mul(group.index, 4), align=4)
        b.store(b.i32(0), near, b.mul(group.index, 4), align=4)
    order = b.stack(4 * kept)
    _take(b, best, groups, kept, order)
    with b.loop(0, kept) as choice:
        b.store(b.i32(1), near, b.mul(_i32(b, order, choice.index), 4), align=4)
    with b.loop(0, groups) as group, b.when(b.compare("eq", _i32(b, near, group.index), 0)):
        start = b.offset(left, b.mul(group.index, 4 * size))
        with b.loop(0, size) as place:
            b.store(low, start, b.mul(place.index, 4), align=4)


def build_pick(count: int, name: str = "pick") -> Kernel:
    """Build `name(x, stride, chosen, chosen_stride, output, output_stride, first, last)`."""
    pairs = [(label, type) for what in ("x", "chosen", "output") for label, type in
             ((what, PTR), (f"{what}_stride", I64))]  # fmt: skip
    kernel = Kernel(name, [*pairs, ("first", I64), ("last", I64)], doc=f"{count} elements of a row by number")
    b = Builder(kernel)
    x, stride, chosen, chosen_stride, output, output_stride, first, last = kernel.parameters
    with b.loop(first, last) as token:
        row = b.offset(x, b.mul(token.index, stride))
        numbers = b.offset(chosen, b.mul(token.index, chosen_stride))
        to = b.offset(output, b.mul(token.index, output_stride))
        with b.loop(0, count) as choice:
            value = _f32(b, row, _i32(b, numbers, choice.index))
            b.store(value, to, b.mul(choice.index, 4), align=4)
    return kernel


@dataclass(frozen=True)
class Grouping:
    """Memory, in i32, that says which rows (token * choices + choice) each expert has, in batches.

    It holds the number of batches; a record (expert, first entry, entries) for every batch; the row of every
    entry, expert by expert in the order of tokens; and the entry of every row.
    """

    experts: int
    choices: int
    tokens: int
    batch: int  # entries of a batch, at most

    RECORD = 16  # bytes
    batches = 64  # where the records are
    EXPERT, START, COUNT = 0, 4, 8  # within a record

    @property
    def entries(self) -> int:
        return self.tokens * self.choices

    @property
    def rows(self) -> int:
        """Where the rows of the entries are."""
        most = min(self.experts, self.entries) + self.entries // self.batch
        return self.batches + self.RECORD * most

    @property
    def places(self) -> int:
        """Where the entries of the rows are."""
        return self.rows + 4 * self.entries

    @property
    def bytes(self) -> int:
        return self.places + 4 * self.entries


def build_group(grouping: Grouping, name: str = "group") -> Kernel:
    """Build `name(chosen, stride, tokens, memory)`: fill a `Grouping`."""
    parameters = [("chosen", PTR), ("stride", I64), ("tokens", I64), ("memory", PTR)]
    kernel = Kernel(name, parameters, doc=f"tokens by {grouping.experts} experts")
    b = Builder(kernel)
    chosen, stride, tokens, memory = kernel.parameters
    next_of = b.stack(4 * grouping.experts)
    rows, places = b.offset(memory, grouping.rows), b.offset(memory, grouping.places)

    def put(value: Value, pointer: Value, index: Value) -> None:
        b.store(b.convert(value, "i32"), pointer, b.mul(index, 4), align=4)

    with b.loop(0, grouping.experts) as expert:
        put(b.i64(0), next_of, expert.index)
    with b.loop(0, tokens) as token:
        numbers = b.offset(chosen, b.mul(token.index, stride))
        with b.loop(0, grouping.choices) as choice:
            number = _i32(b, numbers, choice.index)
            put(b.add(_i32(b, next_of, number), 1), next_of, number)
    with b.loop(0, grouping.experts, 1, [b.i64(0), b.i64(0)]) as expert:
        start, made = expert.values
        count = _i32(b, next_of, expert.index)
        put(start, next_of, expert.index)
        end = b.add(start, count)
        with b.loop(start, end, grouping.batch, [made]) as part:
            record = b.offset(memory, b.add(b.mul(part.values[0], grouping.RECORD), grouping.batches))
            size = b.minimum(b.sub(end, part.index), grouping.batch)
            parts = {Grouping.EXPERT: expert.index, Grouping.START: part.index, Grouping.COUNT: size}
            for where, value in parts.items():
                b.store(b.convert(value, "i32"), record, where, align=4)
            part.next(b.add(part.values[0], 1))
        expert.next(end, part.results[0])
    put(expert.results[1], memory, b.i64(0))
    with b.loop(0, tokens) as token:
        numbers = b.offset(chosen, b.mul(token.index, stride))
        with b.loop(0, grouping.choices) as choice:
            number = _i32(b, numbers, choice.index)
            entry = _i32(b, next_of, number)
            put(b.add(entry, 1), next_of, number)
            row = b.add(b.mul(token.index, grouping.choices), choice.index)
            put(row, rows, entry)
            put(entry, places, row)
    return kernel
