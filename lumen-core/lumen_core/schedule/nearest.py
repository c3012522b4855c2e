"""The nearest values of an alphabet or a code book, lane by lane, as kernel IR.

What `quant/alphabet.py` and `quant/codebook.py` do in numpy: a value for each number by rounding or by
comparisons; for code books an entry for several numbers, by rounding each and looking up, or by trying all.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from lumen_core.errors import UnsupportedFormatError
from lumen_core.ir.kernel import F32, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.alphabet import Alphabet
from lumen_core.quant.codebook import Book, Codebook, VectorField
from lumen_core.quant.integers import BitField

_CHAIN = 32  # comparisons in a row; longer alphabets are walked by a loop
_ROW = 4  # entries that a search compares in a row
_SHORT = 4  # entries that are chosen by selects, without a look-up


def content_type(field: BitField) -> Type:
    """The integer that holds what a field can hold."""
    return Type("i8") if field.width <= 8 else Type("i16")


# ------------------------------------------------------------ value by value


def near_value(b: Builder, values: Alphabet, number: Value) -> Value:
    """The nearest value, f32."""
    ends = values.ends
    if not values.step:
        return _stairs(b, number, values.middles, np.diff(values.values), ends.low)
    if values.step == 1:
        rounded = b.rint(number)
    else:
        low, step = b.constant(number.type, ends.low), b.constant(number.type, values.step)
        place = b.rint(b.mul(b.sub(number, low), 1 / values.step))
        rounded = b.fma(place, step, low)
    return b.maximum(b.minimum(rounded, ends.high), ends.low)


def near_contents(b: Builder, values: Alphabet, number: Value) -> Value:
    """What the field holds for the nearest value, i32."""
    if values.step and values.turn >= 0:
        place = b.sub(near_value(b, values, number), values.ends.low)
        if values.step != 1:
            place = b.rint(b.mul(place, 1 / values.step))
        counted = b.add(b.convert(place, "i32"), values.turn)
        return b.bitand(counted, (1 << values.field.width) - 1) if values.turn else counted
    bits = _stairs(b, number, values.middles, np.diff(values.bits), float(values.bits[0]))
    return b.convert(bits, "i32")


def _stairs(b: Builder, number: Value, middles: np.ndarray, steps: np.ndarray, first: float) -> Value:
    """`first` plus the steps whose middle lies below the number."""
    found, zero = b.constant(number.type, first), b.constant(number.type, 0.0)
    if len(middles) <= _CHAIN:
        for middle, step in zip(middles.tolist(), steps.tolist(), strict=True):
            above = b.compare("gt", number, middle)
            found = b.add(found, b.select(above, b.constant(number.type, step), zero))
        return found
    data = b.data(np.stack([middles, steps], 1).astype("<f4").tobytes())
    with b.loop(0, len(middles), carried=[found]) as loop:
        at = b.offset(data, b.mul(loop.index, 8))
        above = b.compare("gt", number, b.load_splat(number.type, at))
        loop.next(b.add(loop.values[0], b.select(above, b.load_splat(number.type, at, 4), zero)))
    return loop.results[0]


def count_below(b: Builder, number: Value, ascending: np.ndarray) -> Value:
    """How many of some numbers are less, i32."""
    return b.convert(_stairs(b, number, ascending, np.ones(len(ascending)), 0.0), "i32")


def looked_up(b: Builder, table: np.ndarray, places: Value) -> Value:
    """table[place] in every lane; of i8, i16 or f32."""
    type = Type(f"{'f' if table.dtype.kind == 'f' else 'i'}{8 * table.itemsize}", places.type.lanes)
    data, found = b.data(table.tobytes()), b.constant(type, 0)
    for lane in range(type.lanes):
        at = b.mul(b.convert(b.extract(places, lane), "i64"), table.itemsize)
        item = b.load(Type(type.element), b.offset(data, at), align=table.itemsize)
        found = b.insert(found, item, lane)
    return found


# ------------------------------------------------------------ several at once


class VectorSearch:
    """The search of one sub-block, whose numbers lie in memory as [sub, lanes].

    numbers, weight  addresses; weight None: all count the same
    exact            compare with all vectors, for the entries; else round every number first, for the values
    """

    def __init__(self, builder: Builder, book: Codebook, lanes: int, numbers: Value,
                 weight: Value | None, exact: bool):  # fmt: skip
        self.b = builder
        self.book = book
        self.type = Type("f32", lanes)
        self.exact = exact
        self._numbers, self._weight = numbers, weight
        self.values: dict[int, Value] = {}  # by place in the sub-block

    def run(self) -> tuple[list[Value], ...]:
        """Find the `values`, or (`exact`) return what each element of each field holds, i32."""
        if self.book.separate:
            return tuple(self._separate())
        small, large = (places(self.book, item) for item in self.book.fields)
        return self._turned(small, large) if len(self.book.turns) else self._shifted(small, large)

    def _load(self, pointer: Value, place: int) -> Value:
        return self.b.load(self.type, pointer, place * self.type.bytes, align=4)

    def _number(self, place: int) -> Value:
        return self._load(self._numbers, place)

    def _weights(self, element: Sequence[int]) -> list[Value] | None:
        return [self._load(self._weight, place) for place in element] if self._weight is not None else None

    def _separate(self) -> list[list[Value]]:
        found: list[list[Value]] = []
        for item, book in zip(self.book.fields, self.book.books, strict=True):
            found.append([])
            for element in places(self.book, item):
                numbers = [self._number(place) for place in element]
                if book.whole and not self.exact:  # values need no entries
                    values = [self._level(book, axis, number) for axis, number in enumerate(numbers)]
                else:
                    found[-1].append(self._find(book, numbers, self._weights(element)))
                    values = self._rows(book.vectors, found[-1][-1]) if not self.exact else []
                self.values |= dict(zip(element, values, strict=False))
        return found

    def _turned(self, small: np.ndarray, large: np.ndarray) -> tuple[list[Value], ...]:
        b, turns, turned = self.b, self.book.turns, []
        signs: dict[int, Value] = {}
        for element in small.tolist():
            pull = []
            for place in element:
                number = self._number(place)
                square = b.mul(number, b.abs(number))
                pull.append(b.mul(square, self._load(self._weight, place)) if self._weight else square)
            turned.append(self._nearest(turns, pull, None))
            signs |= dict(zip(element, self._rows(turns, turned[-1]), strict=True))
        book, chosen = self.book.books[0], []
        for element in large.tolist():
            numbers = [b.mul(self._number(place), signs[place]) for place in element]
            chosen.append(self._find(book, numbers, self._weights(element)))
            rows = self._rows(book.vectors, chosen[-1])
            for place, value in zip(element, rows, strict=True):
                self.values[place] = b.mul(value, signs[place])
        return turned, chosen

    def _shifted(self, small: np.ndarray, large: np.ndarray) -> tuple[list[Value], ...]:
        b = self.b
        kept, chosen = [], [b.constant(self.type.of("i32"), 0)] * len(large)
        for owner in small.tolist():
            mine = [index for index, element in enumerate(large.tolist()) if element[0] in owner]
            best, content = b.constant(self.type, np.inf), b.constant(self.type.of("i32"), 0)
            for number, book in enumerate(self.book.books):
                lost = b.constant(self.type, 0.0)
                found, values = {}, {}
                for index in mine:
                    element = large[index].tolist()
                    numbers, weights = [self._number(place) for place in element], self._weights(element)
                    found[index] = self._find(book, numbers, weights)
                    for axis, value in enumerate(self._rows(book.vectors, found[index])):
                        values[element[axis]] = value
                        error = b.sub(numbers[axis], value)
                        bent = b.mul(error, weights[axis]) if weights is not None else error
                        lost = b.fma(bent, error, lost)
                better = b.compare("lt", lost, best)
                best = b.select(better, lost, best)
                content = b.select(better, b.constant(content.type, number), content)
                for index, entry in found.items():
                    chosen[index] = b.select(better, entry, chosen[index])
                for place, value in values.items():
                    self.values[place] = b.select(better, value, self.values.get(place, value))
            kept.append(content)
        return kept, chosen

    # ----------------------------------------------------------------- entries

    def _find(self, book: Book, numbers: list[Value], weights: list[Value] | None) -> Value:
        if book.table is None or (self.exact and not book.whole):
            return self._nearest(book.vectors, numbers, weights)
        return self._rounded(book, numbers)

    def _level(self, book: Book, axis: int, number: Value) -> Value:
        levels = book.levels[axis]
        return _stairs(self.b, number, (levels[1:] + levels[:-1]) / 2, np.diff(levels), float(levels[0]))

    def _rounded(self, book: Book, numbers: list[Value]) -> Value:
        """The entry listed for the nearest values of the coordinates."""
        b, place = self.b, self.b.constant(self.type, 0.0)
        assert book.table is not None
        for number, levels, stride in zip(numbers, book.levels, book.strides, strict=True):
            middles = (levels[1:] + levels[:-1]) / 2
            place = b.add(place, _stairs(b, number, middles, np.full(len(middles), stride), 0.0))
        return b.convert(looked_up(b, book.table.astype("<i2"), b.convert(place, "i32")), "i32")

    def _nearest(self, vectors: np.ndarray, numbers: list[Value], weights: list[Value] | None) -> Value:
        """The first entry with the largest sum(weight * (x * v - v * v / 2))."""
        b, entries = self.b, len(vectors)
        half = 0.5 * np.square(vectors)
        rows = np.concatenate([vectors, half if weights else half.sum(1, keepdims=True)], 1).astype("<f4")
        pull = numbers if weights is None else [b.mul(*pair) for pair in zip(numbers, weights, strict=True)]
        minus = [b.neg(weight) for weight in weights] if weights is not None else None
        data, zero = b.data(rows.tobytes()), b.constant(self.type.of("i32"), 0)
        row = next(row for row in (_ROW, 2, 1) if entries % row == 0)
        with b.loop(0, entries, row, (b.constant(self.type, -np.inf), zero)) as loop:
            best, found = loop.values
            for number in range(row):
                index = b.add(loop.index, number)
                gain = self._gain(b.offset(data, b.mul(index, rows.itemsize * rows.shape[1])), pull, minus)
                better = b.compare("gt", gain, best)
                best = b.select(better, gain, best)
                entry = b.splat(b.convert(index, "i32"), self.type.lanes)
                found = b.select(better, entry, found)
            loop.next(best, found)
        return loop.results[1]

    def _gain(self, at: Value, pull: list[Value], minus: list[Value] | None) -> Value:
        b, count = self.b, len(pull)
        if minus is None:
            gain = b.neg(b.load_splat(self.type, at, 4 * count))
        else:
            gain = b.constant(self.type, 0.0)
            for axis, weight in enumerate(minus):
                gain = b.fma(weight, b.load_splat(self.type, at, 4 * (count + axis)), gain)
        for axis, number in enumerate(pull):
            gain = b.fma(number, b.load_splat(self.type, at, 4 * axis), gain)
        return gain

    def _rows(self, vectors: np.ndarray, entry: Value) -> list[Value]:
        """The coordinates of an entry's vector, each a vector of lanes."""
        b, (entries, count) = self.b, vectors.shape
        if entries <= _SHORT:
            found = [b.constant(self.type, value) for value in vectors[0].tolist()]
            for number in range(1, entries):
                here = b.compare("eq", entry, number)
                found = [
                    b.select(here, b.constant(self.type, value), other)
                    for value, other in zip(vectors[number].tolist(), found, strict=True)
                ]
            return found
        data = b.data(vectors.astype("<f4").tobytes())
        found = [b.constant(self.type, 0.0)] * count
        for lane in range(self.type.lanes):
            at = b.offset(data, b.mul(b.convert(b.extract(entry, lane), "i64"), 4 * count))
            found = [
                b.insert(other, b.load(F32, at, 4 * axis, align=4), lane) for axis, other in enumerate(found)
            ]
        return found


def places(book: Codebook, item: VectorField) -> np.ndarray:
    """Which weights of a sub-block each element of a field decides there: [elements, m], in every one."""
    form = book.form
    starts = np.arange(0, form.block, form.sub)[:, None, None]
    if item.field.count % len(starts) == 0:
        within = item.weights.reshape(len(starts), -1, item.weights.shape[1]) - starts
        if (within == within[:1]).all() and within.min() >= 0 and within.max() < form.sub:
            return within[0]
    raise UnsupportedFormatError(f"{form.name}: codes reach over the sub-blocks of its scales")
