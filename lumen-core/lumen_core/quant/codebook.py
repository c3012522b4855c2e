"""Codes that decide several weights at once: the nearest vectors of a code book, signs, shifts, digits.

In: a normal form whose codes are a tree over several fields of bits. Out: an alphabet like any other, whose
`nearest` searches vectors. Which field decides which weights, and how, is found by evaluating the tree:
a large field by all its vectors, others by whether they turn the sign of a weight or shift it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant.integers import OPERATORS, BitField, Combined, Integers, Joined, Lookup
from lumen_core.quant.normal_form import NormalForm
from lumen_core.quant.store import store_bits

_WIDEST = 12  # bits of a field all of whose vectors are tried
_AT_ONCE = 1 << 18  # distances in memory
_TRIED = 16  # vectors by which the other field's doing is found
Contents = dict[BitField, np.ndarray]


def leaves(node: Integers | int) -> Iterator[BitField]:
    """The fields of bits that a tree reads."""
    match node:
        case BitField():
            yield node
        case Lookup():
            yield from leaves(node.index)
        case Joined():
            for part in node.parts:
                yield from leaves(part)
        case Combined():
            yield from leaves(node.left)
            yield from leaves(node.right)


def _repeated(array: np.ndarray, count: int) -> np.ndarray:
    return array if len(array) == count else array.repeat(count // len(array), 0)


def _value(node: Integers | int, contents: Mapping[BitField, np.ndarray]) -> np.ndarray:
    """The integers of a tree, [count, n], for contents of its fields, [count, n] each."""
    match node:
        case int():
            return np.array([[node]], np.int64)
        case BitField():
            raw, half = contents[node], 1 << (node.width - 1)
            return (np.where(raw >= half, raw - 2 * half, raw) if node.signed else raw) + node.add
        case Lookup():
            rows = node.table.array.astype(np.int64)[_value(node.index, contents)]
            return rows.transpose(0, 2, 1).reshape(-1, rows.shape[1])
        case Joined():
            return np.concatenate([_value(part, contents) for part in node.parts])
    assert isinstance(node, Combined)
    left = _repeated(_value(node.left, contents), node.count)
    right = _value(node.right, contents)
    right = right if isinstance(node.right, int) else _repeated(right, node.count)
    return np.asarray(OPERATORS[node.operator](left, right))


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
    return np.maximum(_repeated(left, node.count), _repeated(right, node.count) if len(right) > 1 else right)


class _Field:
    """One field: the weights that each of its elements decides, and their values for each content."""

    def __init__(self, form: NormalForm, field: BitField, others: Contents):
        assert form.code is not None
        self.field = field
        decided = _repeated(_decided(form.code, field), form.block)
        sizes = {int(np.sum(decided == element)) for element in range(field.count)}
        if len(sizes) != 1 or field.width > _WIDEST or 0 in sizes:
            raise UnsupportedFormatError(f"{form.name}: no quantizer is derived for its codes")
        # weights by element, [count, m]
        order = np.argsort(np.where(decided < 0, field.count, decided), kind="stable")
        self.weights = order[: field.count * sizes.pop()].reshape(field.count, -1)
        entries = 1 << field.width
        spread = {other: np.broadcast_to(raw, (other.count, entries)) for other, raw in others.items()}
        spread[field] = np.broadcast_to(np.arange(entries), (field.count, entries))
        values = values_of(form, spread)[self.weights]  # [count, m, entries]
        if not (values == values[:1]).all():
            raise UnsupportedFormatError(f"{form.name}: elements of a field mean different things")
        self.vectors = np.ascontiguousarray(values[0].T).astype(np.float32)  # [entries, m]


def values_of(form: NormalForm, contents: Contents) -> np.ndarray:
    """Weights before they are scaled, f32 [block, n]."""
    assert form.code is not None
    codes = _repeated(_value(form.code, contents), form.block)
    if form.table is not None:
        return np.array(form.table, np.float32)[codes]
    return (form.multiplier * codes - form.zero).astype(np.float32)


class Codebook:
    """An alphabet of vectors."""

    def __init__(self, form: NormalForm):
        assert form.code is not None
        self.form = form
        self.values = np.array(form.alphabet, np.float32)
        self.low, self.high = float(self.values[0]), float(self.values[-1])
        self.size = len(self.values)
        self.symmetric = bool(np.array_equal(self.values, -self.values[::-1]))
        fields = list(dict.fromkeys(leaves(form.code)))
        zeros: Contents = {field: np.zeros((field.count, 1), np.int64) for field in fields}
        self._fields = [_Field(form, field, zeros) for field in fields]
        self._fields.sort(key=lambda item: len(item.vectors))
        covered = [np.unique(item.weights) for item in self._fields]
        self._separate = sum(map(len, covered)) == form.block  # no weight has two fields
        if not self._separate and len(self._fields) != 2:
            raise UnsupportedFormatError(f"{form.name}: no quantizer is derived for its codes")

        self._turns = np.empty((0, 0), np.float32)
        self._moved: list[np.ndarray] = []
        if not self._separate:
            self._relate(*self._fields)

    def _relate(self, small: _Field, large: _Field) -> None:
        """Find what the smaller field does to the vectors of the larger: turn their signs, or shift them."""
        tries = np.unique(np.linspace(0, len(large.vectors) - 1, _TRIED).astype(int))
        entry = int(tries[np.abs(large.vectors[tries]).min(1).argmax()])  # a vector without zeros
        count = len(small.vectors)
        small_contents = np.tile(np.arange(count), len(tries))
        values = self._of(small_contents, np.repeat(tries, count)).reshape(self.form.block, len(tries), count)
        if (np.abs(values) == np.abs(values[:, :, :1])).all():
            turned = self._of(np.arange(count), np.full(count, entry))[small.weights[0]]
            self._turns = np.ascontiguousarray(np.sign(turned / turned[:, :1]).T)
        elif (np.diff(values - values[:, :, :1], axis=1) == 0).all():
            entries = np.arange(len(large.vectors))
            for content in range(count):
                found = self._of(np.full(len(entries), content), entries)[large.weights[0]]
                self._moved.append(np.ascontiguousarray(found.T))
        else:
            raise UnsupportedFormatError(f"{self.form.name}: no quantizer is derived for its codes")

    def _of(self, small: np.ndarray, large: np.ndarray) -> np.ndarray:
        """Weights of blocks whose two fields hold the same contents everywhere, [block, n]."""
        contents = zip(self._fields, (small, large), strict=True)
        return values_of(self.form, {
            item.field: np.broadcast_to(raw, (item.field.count, len(raw))) for item, raw in contents
        })  # fmt: skip

    # ------------------------------------------------------------------ search

    def nearest(self, numbers: np.ndarray) -> np.ndarray:
        """Replace numbers [groups, sub, n] by the nearest values, in place."""
        flat = numbers.reshape(self.form.block, -1)
        numbers[...] = values_of(self.form, self._search(flat)).reshape(numbers.shape)
        return numbers

    def store(self, values: np.ndarray, blocks: np.ndarray) -> None:
        """Write values [block, n] that `nearest` gave into blocks that hold zeros there."""
        for field, contents in self._search(values).items():
            store_bits(field, contents, blocks)

    def _search(self, numbers: np.ndarray) -> Contents:
        if self._separate:
            return {item.field: _best(numbers[item.weights], item.vectors)[0] for item in self._fields}
        small, large = self._fields
        return self._shifts(numbers, small, large) if self._moved else self._signs(numbers, small, large)

    def _signs(self, numbers: np.ndarray, small: _Field, large: _Field) -> Contents:
        """First the signs that agree best with the numbers, then the vectors, then both once more."""
        signs = self._turns  # [contents, m] of the smaller field
        wished = numbers[small.weights]
        turned = _best(wished, signs, correlate=True)[0]
        for again in (True, False):
            sign = np.empty_like(numbers)
            sign[small.weights] = signs[turned].transpose(0, 2, 1)
            chosen = _best((numbers * sign)[large.weights], large.vectors)[0]
            if not again:
                break
            size = np.empty_like(numbers)
            size[large.weights] = large.vectors[chosen].transpose(0, 2, 1)
            turned = _best((numbers * size)[small.weights], signs, correlate=True)[0]
        return {small.field: turned, large.field: chosen}

    def _shifts(self, numbers: np.ndarray, small: _Field, large: _Field) -> Contents:
        """Every content of the smaller field, with the vectors that are nearest then."""
        blocks = numbers.shape[1]
        best = np.full((small.field.count, blocks), np.inf, np.float32)
        kept = np.zeros((small.field.count, blocks), np.int64)
        chosen = np.zeros((large.field.count, blocks), np.int64)
        owner = np.empty(self.form.block, np.int64)
        owner[small.weights] = np.arange(small.field.count)[:, None]
        for content, vectors in enumerate(self._moved):
            found, lost = _best(numbers[large.weights], vectors)
            total = np.zeros_like(best)
            np.add.at(total, owner[large.weights[:, 0]], lost)
            better = total < best
            best, kept = np.where(better, total, best), np.where(better, content, kept)
            chosen = np.where(better[owner[large.weights[:, 0]]], found, chosen)
        return {small.field: kept, large.field: chosen}


def _best(numbers: np.ndarray, vectors: np.ndarray, correlate: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """The nearest of `vectors` [entries, m] to numbers [count, m, n]: which, and the distance, [count, n].

    `correlate`: the one with the largest product instead.
    """
    count, m, blocks = numbers.shape
    flat = np.ascontiguousarray(numbers.transpose(0, 2, 1)).reshape(-1, m)
    half = np.float32(0) if correlate else 0.5 * np.square(vectors).sum(1)
    found = np.empty(len(flat), np.int64)
    gain = np.empty(len(flat), np.float32)
    step = max(1, _AT_ONCE // len(vectors))
    across = np.ascontiguousarray(vectors.T)
    for first in range(0, len(flat), step):
        product = flat[first : first + step] @ across
        product -= half
        where = product.argmax(1)
        found[first : first + step] = where
        gain[first : first + step] = np.take_along_axis(product, where[:, None], 1)[:, 0]
    lost = np.square(flat).sum(1) - 2 * gain
    return found.reshape(count, blocks), lost.reshape(count, blocks)
