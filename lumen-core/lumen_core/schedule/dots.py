"""Dot products of weight codes with activation codes, as a target has them.

In: operand vectors of the weights (`WeightReader.operands`) and where a panel's codes lie. Out: integer
totals, a vector of rows for every column; at depth 8, of pairs of columns, each has half of both's rows, and
one column alone has two totals.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.layout import ActivationLayout, WeightLayout
from lumen_core.schedule.fetch import FetchAhead
from lumen_core.schedule.spread import Spread
from lumen_core.schedule.weights import DotPlan
from lumen_core.target import Target

PIECE = 32  # elements of which a panel keeps the codes of a column side by side
T = TypeVar("T")


class PanelCodes:
    """Where codes of a panel lie; those of one column are loaded once, for all row groups that they meet."""

    def __init__(self, activation: ActivationLayout, where: Value):
        self.where = where
        self._alone = activation.columns == 1
        self._loaded: dict[int, Any] = {}

    def once(self, first: int, load: Callable[[], T]) -> T:
        """What `load` gives for the elements from `first` on."""
        if not self._alone:
            return load()
        if first not in self._loaded:
            self._loaded[first] = load()
        return self._loaded[first]


class Dots:
    """The products of row groups of a layout with panels of another."""

    def __init__(
        self,
        builder: Builder,
        layout: WeightLayout,
        activation: ActivationLayout,
        target: Target,
        ahead: FetchAhead,
    ):
        """`ahead` asks for lines between the products."""
        self.builder = builder
        self.ahead = ahead
        self.layout = layout
        self.activation = activation
        self.target = target
        self.lanes = Type("i32", layout.rows)
        self.apart = layout.parts if activation.side == 1 else 1  # totals of a column

    def numbers(self, columns: range) -> range:
        """The numbers of the totals of columns."""
        return range(self.apart * columns.start, self.apart * columns.stop)

    def total(self, totals: dict[int, Value], column: int) -> Value:
        """The total of a column."""
        if self.apart == 1:
            return totals[column]
        low, high = (totals[number] for number in self.numbers(range(column, column + 1)))
        return self.builder.shuffle(low, high, self.every_second(0))

    def add(
        self,
        totals: dict[int, Value],
        columns: range,
        operands: list[Value],
        codes: PanelCodes,
        first: int,
        plan: DotPlan,
    ) -> None:
        """Add the dot products of the operands with the activations from element `first` on to the totals."""
        if self.activation.side > 1:
            self.of_pairs(totals, columns, operands, codes.where, first)
            return
        if self.apart > 1:
            self.alone(totals, operands, codes, first)
            return
        b, type, count = self.builder, operands[0].type, len(operands)
        again = first < self.activation.group and count < PIECE // 4 and self.activation.columns > 1
        skip = first % 16 // 4  # whole loads: they may start before `first` and end behind
        start, whole = first - 4 * skip, -(-(skip + count) // 4) * 4

        def spread(column: int) -> Spread:
            where = self.activation.code(column, start)
            return Spread(b, self.target, type, codes.where, where, whole, again)

        items = {column: codes.once(start, partial(spread, column)) for column in columns}
        if len(columns) == 1 and count == PIECE // 4 and not plan.chain and self.target.broadcast_memory:
            # Two totals take turns, so that a product of the only column need not wait for the one before it.
            turns = [totals[columns[0]], b.constant(self.lanes, 0)]
            for step, operand in enumerate(operands):
                pair = (operand, items[columns[0]][skip + step])
                turns[step % 2] = self.one(turns[step % 2], pair, plan)
            totals[columns[0]] = b.add(*turns)
            return
        link = plan.chain or 1
        for start in range(0, count, link):
            steps = range(start, min(start + link, count))
            for column in columns:
                pairs = [(operands[step], items[column][skip + step]) for step in steps]
                if plan.chain:
                    self.ahead.made(4 * len(pairs))
                    totals[column] = chained(b, self.target, totals[column], pairs)
                else:
                    totals[column] = self.one(totals[column], pairs[0], plan)

    def of_pairs(
        self, totals: dict[int, Value], columns: range, operands: list[Value], quants: Value, first: int
    ) -> None:
        """The same for pairs of rows times pairs of columns."""
        b, type, again = self.builder, operands[0].type, len(operands) < PIECE // 4
        for pair in columns[:: self.activation.side]:
            for group in range(0, len(operands), self.activation.side):
                where = self.activation.code(pair, first + 4 * group)
                codes = b.load(type, quants, where, align=4, again=again)
                for part in range(self.activation.side):
                    values = (totals[pair + part], operands[group + part], codes)
                    totals[pair + part] = b.instruction("dot8_s8s8", values, self.lanes)
                    self.ahead.made(8)

    def alone(self, totals: dict[int, Value], operands: list[Value], codes: PanelCodes, first: int) -> None:
        """The same for pairs of rows times one column: beside it stands one of zeros."""
        b, eight = self.builder, Type("i8", 8)

        def load(element: int) -> Value:
            column = b.load(eight, codes.where, self.activation.code(0, element), align=4)
            return b.bitcast(b.shuffle(column, b.constant(eight, 0), range(16)), operands[0].type)

        for group in range(0, len(operands), self.apart):
            element = first + 4 * group
            column = codes.once(element, partial(load, element))
            for part in range(self.apart):
                values = (totals[part], operands[group + part], column)
                totals[part] = b.instruction("dot8_s8s8", values, self.lanes)
                self.ahead.made(4)

    def one(self, total: Value, pair: tuple[Value, Value], plan: DotPlan) -> Value:
        """total + the dot product of one pair."""
        self.ahead.made(4)
        b, (operand, activation) = self.builder, pair
        if plan.left != "magnitude":
            return b.dot4(total, operand, activation, plan.left)
        bytes = Type("i8", 4 * self.layout.rows)
        signed = b.bitxor(b.bitcast(operand, bytes), -128)
        magnitude = b.bitcast(b.abs(signed), operand.type)
        turned = b.instruction("sign8", (b.bitcast(activation, bytes), signed), bytes)
        return b.dot4(total, magnitude, b.bitcast(turned, operand.type), "unsigned")

    def halves(self, rows: Value) -> list[Value]:
        """Both halves of the rows, each row twice."""
        half = self.layout.rows // 2
        masks = ([n // 2 for n in range(first, first + self.layout.rows)] for first in (0, 2 * half))
        return [self.builder.shuffle(rows, None, mask) for mask in masks]

    def every_second(self, first: int) -> range:
        return range(first, 2 * self.layout.rows, 2)


def chained(b: Builder, target: Target, total: Value, pairs: list[tuple[Value, Value]]) -> Value:
    """total + the dot products of pairs of bytes in i32 lanes, whose products add up in 16 bits.

    The left ones are unsigned where pairs have an instruction, else signed.
    """
    lanes = total.type.lanes
    bytes, words = Type("i8", 4 * lanes), Type("i16", 2 * lanes)
    in_pairs = target.find("maddubs") is not None
    products: Value | None = None
    for left, right in pairs:
        both = (b.bitcast(left, bytes), b.bitcast(right, bytes))
        if in_pairs:
            product = b.instruction("maddubs", both, words)
        else:
            product = b.mul(*(b.convert(value, "i16") for value in both))
        products = product if products is None else b.add(products, product)
    assert products is not None
    if in_pairs:
        return b.dot2(total, b.bitcast(products, total.type), b.constant(total.type, 0x00010001))
    even, odd = (b.shuffle(products, None, range(first, 4 * lanes, 2)) for first in (0, 1))
    return b.add(total, b.instruction("widen_pairs", (b.add(even, odd),), total.type))
