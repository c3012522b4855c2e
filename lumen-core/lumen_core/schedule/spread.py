"""Consecutive 32-bit items of memory, each spread over the lanes of a vector: one operand of a dot or fma.

Where the machine takes a lane of a register as operand, four items come with one load; else each is loaded
into all lanes when it is asked for. `again`: not together with what lies beside it, which would wait in a register.
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
    ):
        self.builder = builder
        self.again = again
        self.type = type
        self.pointer = pointer
        self.offset = offset
        self.together = count // _ITEMS * _ITEMS if target.lane_operands and type.lanes == _ITEMS else 0
        self._loaded: dict[int, Value] = {}

    def __getitem__(self, item: int) -> Value:
        b = self.builder
        if item >= self.together:
            return b.load_splat(self.type, self.pointer, self.offset + 4 * item)
        first = item // _ITEMS * _ITEMS
        if first not in self._loaded:
            self._loaded[first] = b.load(self.type, self.pointer, self.offset + 4 * first, align=4, again=self.again)
        return b.shuffle(self._loaded[first], None, [item - first] * _ITEMS)
