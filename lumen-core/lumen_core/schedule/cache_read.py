"""Reading pages of the cache as operands of products: those of float formats.

An operand has 32 bits a lane: one f32 number, or two bf16 numbers that a dot product takes at once; lanes are
tokens of a tile (keys) or dimensions (values). Numbers that cost something to read are turned into operands
once, into scratch that stays near, for all query heads and tokens that meet them. Integer formats are read in
key_codes.py and value_codes.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.cache_layout import CacheLayout
from lumen_core.quant.normal_form import NormalForm
from lumen_core.schedule.fetch import LINE, FetchAhead
from lumen_core.schedule.weights import load_float
from lumen_core.target import Target

WIDTH = 4  # vectors of dimensions of values that are taken together, if a head has so many
_BYTES = 4  # of a lane


class Operands:
    """The keys or the values of a page: `place` in memory, then `load`s of operands by their first lane."""

    def __init__(
        self, builder: Builder, layout: CacheLayout, target: Target, kind: str, lanes: int, often: bool,
        scratch: Value,
    ):  # fmt: skip
        """often: every operand is read several times; scratch: for the operands of a stretch"""
        self.b = builder
        self.layout = layout
        self.target = target
        self.kind = kind
        self.lanes = lanes
        keys = kind == "keys"
        self.form: NormalForm = layout.keys if keys else layout.values
        self.group = layout.key_group if keys else layout.value_group
        self.head_bytes = layout.key_head_bytes if keys else layout.value_head_bytes
        plain = self.form.kind == "float" and self.form.element == ("bf16" if self.group == 2 else "f32")
        self.near = often and not plain
        self.subs, self.shifted = 1, False  # sub-blocks that have weights of their own, and offsets
        self.scratch = scratch

    def widths(self, vectors: int, most: int) -> tuple[int, int]:
        """Vectors of values that a pass takes, at most so many of a head's, and how many are one block."""
        width = min(WIDTH, vectors)
        return width, width

    def sub_block(self, lane: Value) -> Value:
        """The number of the sub-block of values that has lane number `lane`."""
        return self.b.i64(0)

    def factors(self, vector: Type, token: Value) -> tuple[Sequence[Value | None], Sequence[Value]]:
        """What multiplies the weights of tokens from `token` on in every sub-block; their offsets, if any."""
        return [None], []

    @property
    def type(self) -> Type:
        return Type("f32", self.lanes) if self.group == 1 else Type("bf16", 2 * self.lanes)

    @property
    def lane_bytes(self) -> int:
        """Bytes that hold a lane in what `place` returns."""
        return _BYTES if self.near else self.group * self.form.block_bytes

    def place(self, page: Value, count: Value, fetch: Fetch) -> Value:
        """Return where the operands of a head of a page lie; only `count` tokens of it are read."""
        if not self.near:
            return page
        self._copy(page, count, fetch)
        return self.scratch

    @property
    def row_bytes(self) -> int:
        """Bytes of a group of tokens of values in what `place` returns."""
        return self.lane_bytes * self.layout.size

    def at(self, place: Value, lane: Value) -> Value:
        """Where the operands of a group of tokens have lane number `lane`."""
        return self.b.offset(place, self.b.mul(lane, self.lane_bytes))

    def some(self, base: Value, lane: int, count: int) -> list[Value]:
        """`count` operands side by side, whose first lane is number `lane` behind `base`."""
        return [self.load(base, lane + each * self.lanes) for each in range(count)]

    def load(self, base: Value, lane: int) -> Value:
        """The operand whose first lane is number `lane` behind `base`."""
        if self.near:
            return self.b.load(self.type, base, _BYTES * lane, align=_BYTES)
        return self._convert(base, lane)

    def _convert(self, base: Value, lane: int) -> Value:
        b, element = self.b, self.form.element
        where = self.group * self.form.block_bytes * lane
        if self.group == 1:
            return load_float(b, element, self.lanes, base, where)
        numbers = b.load(Type(element, 2 * self.lanes), base, where, align=2)
        return b.convert(b.convert(numbers, "f32"), "bf16") if element != "bf16" else numbers

    def product(self, operand: Value, other: Value, sum: Value) -> Value:
        """sum + operand * other in every lane; `other` as `spread` gives it."""
        if self.group == 1:
            return self.b.fma(operand, other, sum)
        return self.b.instruction("dot2_bf16", (sum, operand, other), sum.type)

    def spread(self, pointer: Value, bytes: int) -> Value:
        """A lane's numbers from memory, in every lane."""
        if self.group == 1:
            return self.b.load_splat(Type("f32", self.lanes), pointer, bytes)
        return self.b.bitcast(self.b.load_splat(Type("i32", self.lanes), pointer, bytes), self.type)

    # --------------------------------------------------------------- into scratch

    def _copy(self, page: Value, count: Value, fetch: Fetch) -> None:
        b, layout = self.b, self.layout
        whole = layout.rows if self.kind == "keys" else self.group  # tokens that are read together
        lanes = b.mul(b.div(b.add(count, whole - 1), whole), whole * layout.size // self.group)
        step = 4 if layout.page * layout.size // self.group % (4 * self.lanes) == 0 else 1
        with b.loop(0, lanes, step * self.lanes) as loop:
            offset = b.mul(loop.index, self.group * self.form.block_bytes)
            here = b.offset(page, offset)
            there = b.offset(self.scratch, b.mul(loop.index, _BYTES))
            for index in range(step):
                b.store(
                    self._convert(here, index * self.lanes), there, index * _BYTES * self.lanes, align=_BYTES
                )
            fetch.begin([offset], step * self.lanes * self.group * self.form.block_bytes, 1)
            fetch.made()


class Fetch:
    """Told which bytes of a page are being read, asks between the products for those that lie so `ahead`.

    spaced  as FetchAhead takes it
    ahead   where the page's bytes would begin; nowhere: other work hides how long memory takes
    turn    the number of this reading, out of `turns`, each of which asks for a share
    """

    def __init__(self, builder: Builder, spaced: bool, ahead: Sequence[Value] = (),
                 turn: Value | None = None, turns: int = 1):  # fmt: skip
        self.builder = builder
        self.ahead = ahead
        self.turn = turn
        self.turns = turns
        self.lines = FetchAhead(builder, spaced)

    def begin(self, offsets: Sequence[Value], bytes: int, products: int) -> None:
        """So many products read `bytes` bytes from each of the offsets on."""
        b, share = self.builder, -(-bytes // (self.turns * LINE)) * LINE
        if self.turn is not None:
            offsets = [b.add(offset, b.mul(self.turn, share)) for offset in offsets]
        places = [b.offset(ahead, offset) for ahead in self.ahead for offset in offsets]
        self.lines.begin(places, share, products, 0)

    def made(self, products: int = 1) -> None:
        """So many more products are made."""
        self.lines.made(products)
