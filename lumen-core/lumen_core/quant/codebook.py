"""Codes that decide several weights at once: the nearest vectors of a code book, signs, shifts, digits.

In: a normal form whose codes are a tree over several fields of bits. Out: an alphabet like any other, whose
`nearest` finds vectors. Which field decides which weights, and how, is found by evaluating the tree:
a large field by all its vectors, others by whether they turn the sign of a weight or shift it.
A trial rounds every number to the nearest value of its coordinate and looks up the vector nearest to that;
the last step compares with all vectors, except where every combination of values is one of them.
"""

from __future__ import annotations

import numpy as np

from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant.fit import Ends
from lumen_core.quant.integers import (
    BitField,
    Combined,
    Integers,
    Joined,
    Lookup,
    evaluated,
    leaves,
    repeated,
)
from lumen_core.quant.normal_form import NormalForm

_WIDEST = 12  # bits of a field all of whose vectors are tried
_AT_ONCE = 1 << 18  # distances in memory
_PATTERNS = 1 << 14  # combinations of values whose nearest vectors are listed
_TRIED = 16  # vectors by which the other field's doing is found
Contents = dict[BitField, np.ndarray]


def _decided(node: Integers | int, field: BitField) -> np.ndarray:
    """For every integer of a tree, which element of a field it depends on; -1: on none."""
    match node:
        case int():
            return np.array([-1])
        case BitField():
            return np.arange(node.count) if node == field else np.full(node.count, -1)
        case Lookup():
            return _decided(node.index, field).repeat(node.table.dimension)
        case Joined():
            return np.concatenate([_decided(part, field) for part in node.parts])
    assert isinstance(node, Combined)
    left, right = (_decided(side, field) for side in (node.left, node.right))
    return np.maximum(repeated(left, node.count), repeated(right, node.count) if len(right) > 1 else right)


class Book:
    """Vectors, f32 [entries, m], and which is nearest to every combination of their coordinates' values.

    levels   the values of each coordinate, ascending
    table    int64: the entry for places p of the coordinates, at sum(p[j] * strides[j]); None: too many
    whole    every combination is an entry: rounding finds the nearest
    """

    def __init__(self, vectors: np.ndarray):
        self.vectors = vectors
        self.levels = [np.unique(column) for column in vectors.T]
        sizes = [len(values) for values in self.levels]
        self.strides = [int(np.prod(sizes[:place])) for place in range(len(sizes))]
        self.table: np.ndarray | None = None
        self.whole = False
        if np.prod([float(size) for size in sizes]) <= _PATTERNS:
            grid = np.meshgrid(*self.levels[::-1], indexing="ij")[::-1]
            patterns = np.stack([axis.reshape(-1) for axis in grid])  # [m, patterns], first axis fastest
            self.table = _nearest(patterns[None].astype(np.float32), vectors)[0]
            self.whole = bool((vectors[self.table] == patterns.T).all())

    def find(self, numbers: np.ndarray, weight: np.ndarray | None, exact: bool) -> np.ndarray:
        """The entries near to numbers [count, m, n], or (`exact`) nearest, [count, n]."""
        if self.table is None or (exact and not self.whole):
            return _nearest(numbers, self.vectors, weight)
        places = np.zeros(numbers[:, 0].shape, np.int64)
        for axis, (values, stride) in enumerate(zip(self.levels, self.strides, strict=True)):
            for middle in (values[1:] + values[:-1]) / 2:
                places += (numbers[:, axis] > middle) * stride
        return self.table[places]


class VectorField:
    """One field: the weights that each of its elements decides, and their values for each content."""

    def __init__(self, form: NormalForm, field: BitField, others: Contents):
        assert form.code is not None
        self.field = field
        decided = repeated(_decided(form.code, field), form.block)
        sizes = {int(np.sum(decided == element)) for element in range(field.count)}
        if field.width > _WIDEST:
            raise _no_quantizer(form, f"{field.width} bits decide several weights, at most {_WIDEST} can")
        if len(sizes) != 1 or 0 in sizes:
            raise _no_quantizer(form, "one integer decides more weights than another of its field")
        # weights by element, [count, m]
        order = np.argsort(np.where(decided < 0, field.count, decided), kind="stable")
        self.weights = order[: field.count * sizes.pop()].reshape(field.count, -1)
        entries = 1 << field.width
        spread = {other: np.broadcast_to(raw, (other.count, entries)) for other, raw in others.items()}
        spread[field] = np.broadcast_to(np.arange(entries), (field.count, entries))
        values = values_of(form, spread)[self.weights]  # [count, m, entries]
        if not (values == values[:1]).all():
            raise _no_quantizer(form, "the same bits mean different weights in one place and another")
        self.vectors = np.ascontiguousarray(values[0].T).astype(np.float32)  # [entries, m]


def _no_quantizer(form: NormalForm, reason: str) -> UnsupportedFormatError:
    return UnsupportedFormatError(f"{form.name}: no quantizer is derived for its codes: {reason}")


def values_of(form: NormalForm, contents: Contents) -> np.ndarray:
    """Weights before they are scaled, f32 [block, n]."""
    assert form.code is not None
    codes = repeated(evaluated(form.code, contents), form.block)
    if form.table is not None:
        return np.array(form.table, np.float32)[codes]
    return (form.multiplier * codes - form.zero).astype(np.float32)


class Codebook:
    """An alphabet of vectors. One of:

    separate  every field decides weights of its own, each by its book
    turned    `small` chooses signs, a row of `turns` for each element; `large` magnitudes
    shifted   `small` chooses one of several books for `large`
    """

    def __init__(self, form: NormalForm):
        assert form.code is not None
        self.form = form
        values = np.array(form.alphabet, np.float32)
        symmetric = bool(np.array_equal(values, -values[::-1]))
        self.ends = Ends(float(values[0]), float(values[-1]), len(values), symmetric)
        listed = list(dict.fromkeys(leaves(form.code)))
        zeros: Contents = {field: np.zeros((field.count, 1), np.int64) for field in listed}
        self.fields = [VectorField(form, field, zeros) for field in listed]
        self.fields.sort(key=lambda item: len(item.vectors))
        covered = sum(len(np.unique(item.weights)) for item in self.fields)
        self.separate = covered == form.block  # no weight has two fields
        self.turns = np.empty((0, 0), np.float32)
        if self.separate:
            self.books = [Book(item.vectors) for item in self.fields]
        elif len(self.fields) == 2:
            self.books = self._related(*self.fields)
        else:
            raise _no_quantizer(form, f"{len(self.fields)} fields decide the same weights, at most two can")

    def _related(self, small: VectorField, large: VectorField) -> list[Book]:
        """Find what the smaller field does to the vectors of the larger: turn their signs, or shift them."""
        tries = np.unique(np.linspace(0, len(large.vectors) - 1, _TRIED).astype(int))
        entry = int(tries[np.abs(large.vectors[tries]).min(1).argmax()])  # a vector without zeros
        count = len(small.vectors)
        small_contents = np.tile(np.arange(count), len(tries))
        values = self._of(small_contents, np.repeat(tries, count)).reshape(self.form.block, len(tries), count)
        if (np.abs(values) == np.abs(values[:, :, :1])).all():
            turned = self._of(np.arange(count), np.full(count, entry))[small.weights[0]]
            self.turns = np.ascontiguousarray(np.sign(turned / turned[:, :1]).T)
            return [Book(large.vectors)]
        if not (np.diff(values - values[:, :, :1], axis=1) == 0).all():
            raise _no_quantizer(self.form, "of two fields one must turn the other's signs, or add to it")
        entries = np.arange(len(large.vectors))
        moved = (self._of(np.full(len(entries), content), entries) for content in range(count))
        return [Book(np.ascontiguousarray(found[large.weights[0]].T)) for found in moved]

    def _of(self, small: np.ndarray, large: np.ndarray) -> np.ndarray:
        """Weights of blocks whose two fields hold the same contents everywhere, [block, n]."""
        contents = zip(self.fields, (small, large), strict=True)
        return values_of(self.form, {
            item.field: np.broadcast_to(raw, (item.field.count, len(raw))) for item, raw in contents
        })  # fmt: skip

    # ------------------------------------------------------------------ search

    def nearest(self, numbers: np.ndarray) -> np.ndarray:
        """Replace numbers [groups, sub, n] by values near to them, in place."""
        flat = numbers.reshape(self.form.block, -1)
        numbers[...] = values_of(self.form, self._search(flat, None, False)).reshape(numbers.shape)
        return numbers

    def contents(self, numbers: np.ndarray, weight: np.ndarray | None = None) -> Contents:
        """What the fields hold for the values nearest to numbers [block, n], by the weight of each."""
        return self._search(numbers, weight, True)

    def _search(self, numbers: np.ndarray, weight: np.ndarray | None, exact: bool) -> Contents:
        def of(item: VectorField) -> np.ndarray | None:
            return weight[item.weights] if weight is not None else None

        if self.separate:
            pairs = zip(self.fields, self.books, strict=True)
            return {item.field: book.find(numbers[item.weights], of(item), exact) for item, book in pairs}
        small, large = self.fields
        if len(self.turns):
            pull = numbers if weight is None else numbers * weight
            pull = pull * np.abs(numbers)  # what a wrong sign costs
            turned = _nearest(pull[small.weights], self.turns)
            sign = np.empty_like(numbers)
            sign[small.weights] = self.turns[turned].transpose(0, 2, 1)
            chosen = self.books[0].find((numbers * sign)[large.weights], of(large), exact)
            return {small.field: turned, large.field: chosen}
        return self._shifts(numbers, weight, exact)

    def _shifts(self, numbers: np.ndarray, weight: np.ndarray | None, exact: bool) -> Contents:
        """Every content of the smaller field, with the vectors that are nearest then."""
        small, large = self.fields
        best = np.full((small.field.count, numbers.shape[1]), np.inf, np.float32)
        kept = np.zeros(best.shape, np.int64)
        chosen = np.zeros((large.field.count, numbers.shape[1]), np.int64)
        owner = np.empty(self.form.block, np.int64)
        owner[small.weights] = np.arange(small.field.count)[:, None]
        owner = owner[large.weights[:, 0]]
        mine = numbers[large.weights]
        matters = weight[large.weights] if weight is not None else None
        for content, book in enumerate(self.books):
            found = book.find(mine, matters, exact)
            lost = np.square(mine - book.vectors[found].transpose(0, 2, 1))
            total = np.zeros_like(best)
            np.add.at(total, owner, (lost if matters is None else lost * matters).sum(1))
            better = total < best
            best, kept = np.where(better, total, best), np.where(better, content, kept)
            chosen = np.where(better[owner], found, chosen)
        return {small.field: kept, large.field: chosen}


def _nearest(numbers: np.ndarray, vectors: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """The nearest of `vectors` [entries, m] to numbers [count, m, n], by the weight of each, [count, n]."""
    count, m, blocks = numbers.shape
    pull = numbers if weight is None else numbers * weight
    flat = np.ascontiguousarray(pull.transpose(0, 2, 1)).reshape(-1, m)
    matters = None if weight is None else np.ascontiguousarray(weight.transpose(0, 2, 1)).reshape(-1, m)
    found = np.empty(len(flat), np.int64)
    step = max(1, _AT_ONCE // len(vectors))
    across, half = np.ascontiguousarray(vectors.T), 0.5 * np.square(vectors).T
    for first in range(0, len(flat), step):
        product = flat[first : first + step] @ across
        product -= half.sum(0) if matters is None else matters[first : first + step] @ half
        found[first : first + step] = product.argmax(1)
    return found.reshape(count, blocks)
