"""Consecutive 32-bit items of memory, each spread over the lanes of a vector: one operand of a dot or fma.

Where the machine takes a lane of a register as operand, four items come with one load; else each is loaded
into all lanes when it is asked for. `again`: not together with what lies beside it,
which would wait in a register. `in_fours`: by one load of four and shuffles also where a scalar in memory may
be an operand, which spares loads: many of them wait for lines that come from the second cache meanwhile.
"""

from __future__ import annotations

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.target import Target

_ITEMS = 4  # of one load


class Spread:
    """`spread[i]`: item i of `count`, the first at `pointer` + `offset` bytes, in every lane of `type`."""

    def __init__(
        self,
        builder: Builder,
        target: Target,
        type: Type,
        pointer: Value,
        offset: int,
        count: int,
        again: bool = False,
        in_fours: bool = False,
    ):
        self.builder = builder
        self.again = again
        self.type = type
        self.pointer = pointer
        self.offset = offset
        fours = (target.lane_operands and type.lanes == _ITEMS) or (target.broadcast_memory and in_fours)
        self.together = count // _ITEMS * _ITEMS if fours else 0
        self._loaded: dict[int, Value] = {}

    def __getitem__(self, item: int) -> Value:
        b = self.builder
        if item >= self.together:
            return b.load_splat(self.type, self.pointer, self.offset + 4 * item)
        first = item // _ITEMS * _ITEMS
        if first not in self._loaded:
            four, where = Type(self.type.element, _ITEMS), self.offset + 4 * first
            loaded = b.load(four, self.pointer, where, align=4, again=self.again)
            if self.type.lanes > _ITEMS:
                loaded = b.shuffle(loaded, None, [lane % _ITEMS for lane in range(self.type.lanes)])
            self._loaded[first] = loaded
        return b.shuffle(self._loaded[first], None, self.lanes(item - first))

    def lanes(self, item: int) -> list[int]:
        """The lanes of four items, as often as they fit the vector, that make the vector of one of them."""
        return [lane // _ITEMS * _ITEMS + item for lane in range(self.type.lanes)]


class PairsTwice:
    """Items of pairs of columns that lie as they are multiplied: those of a pair, twice."""

    def __init__(self, builder: Builder, type: Type, pointer: Value, offset: int):
        self.builder = builder
        self.type = type
        self.pointer = pointer
        self.offset = offset
        self._loaded: dict[int, Value] = {}

    def __getitem__(self, item: int) -> Value:
        where = self.offset + item // 2 * self.type.bytes
        if where not in self._loaded:
            self._loaded[where] = self.builder.load(self.type, self.pointer, where, align=4)
        return self._loaded[where]


class PairSpread(Spread):
    """The same for pairs of items: item 2i and item 2i + 1 in turn, for either of them."""

    def __getitem__(self, item: int) -> Value:
        b, first = self.builder, item // 2 * 2
        if item < self.together:
            return super().__getitem__(item)
        pair = b.load(Type(self.type.element, 2), self.pointer, self.offset + 4 * first, align=4)
        return b.shuffle(pair, None, self.lanes(0))

    def lanes(self, item: int) -> list[int]:
        first = item // 2 * 2
        return [first, first + 1] * (self.type.lanes // 2)
