"""One weight out of several tensors: what a declaration says of where its fields lie, carried out.

In: a format whose fields come `from` tensors, and those tensors. Out: a tensor of complete rows, as if one
file held them: first what a row stores once, then its blocks. Everything after this point sees one tensor.
The bytes are put together when they are asked for, some rows at a time.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from lumen_core.dsl import ast
from lumen_core.dsl.origins import GROUP, Axis, axes, in_order, narrow_bits, scope
from lumen_core.errors import ModelFormatError
from lumen_core.quant.direct import field_bytes
from lumen_core.weights.model_file import FileTensor, MadeTensor

BLOCKS = "weight"  # the tensor with the fields that come from no other
_ROWS = 1024  # at a time; a multiple of the values of any word
_WORDS = {"i64": "<u8", "i32": "<u4", "u32": "<u4", "i16": "<u2", "u16": "<u2", "i8": "u1", "u8": "u1"}
# Element of a field -> how tensors may store it; numpy's type for the bits.
_STORED = {
    "f32": (("f32",), "<u4"), "f16": (("f16",), "<u2"), "bf16": (("bf16",), "<u2"),
    "i8": (("i8",), "u1"), "u8": (("u8",), "u1"), "e8m0": (("u8", "f8_e8m0"), "u1"),
    "e4m3": (("f8_e4m3",), "u1"), "ue4m3": (("f8_e4m3",), "u1"), "e5m2": (("f8_e5m2",), "u1"),
}  # fmt: skip


@dataclass(frozen=True)
class _Part:
    """A field, the tensor that holds it, and the axes of that tensor."""

    field: ast.Field
    tensor: FileTensor
    axes: tuple[Axis, ...]

    def fail(self, problem: str) -> NoReturn:
        raise ModelFormatError(f"tensor {self.tensor.name}: {problem}")

    @property
    def bits(self) -> int | None:
        return narrow_bits(self.field.dtype)

    def of(self, dimension: str) -> Axis | None:
        return next((axis for axis in self.axes if axis.dimension == dimension), None)

    def shape(self) -> list[int]:
        """The tensor's shape without axes of length 1 that the declaration does not name."""
        shape = list(self.tensor.shape)
        while len(shape) > len(self.axes) and 1 in shape:
            shape.remove(1)
        while len(shape) < len(self.axes) and any(not axis.dimension for axis in self.axes):
            shape.insert([axis.dimension for axis in self.axes].index(""), 1)
        return shape

    def size(self, dimension: str) -> int:
        """Rows or columns of the weight, as an undivided axis tells them."""
        shape, place = self.shape(), [axis.dimension for axis in self.axes].index(dimension)
        if len(shape) != len(self.axes):
            self.fail(f"has the shape {list(self.tensor.shape)}, not {len(self.axes)} axes")
        if not self.axes[place].packed:
            return shape[place]
        assert self.bits is not None
        return shape[place] * self.word_bits // self.bits

    @property
    def word_bits(self) -> int:
        return 8 * np.dtype(_WORDS[self.tensor.format]).itemsize

    def check_type(self) -> None:
        packed = any(axis.packed for axis in self.axes)
        if self.bits is not None:
            stored: tuple[str, ...] = tuple(_WORDS) if packed else ("u8", "i8")
        else:
            stored = _STORED[self.field.dtype][0]
        if self.tensor.format not in stored:
            self.fail(f"is {self.tensor.format}; expected {' or '.join(stored[:4])}")

    def check_shape(self, rows: int, columns: int) -> None:
        """Compare the shape with what a weight of that size needs."""
        wanted = []
        for axis in self.axes:
            whole = {"N": rows, "K": columns, "": 1}[axis.dimension]
            length = -(-whole // axis.divisor)
            if axis.packed:
                assert self.bits is not None
                length = -(-length * self.bits // self.word_bits)
                if axis.order and len(axis.order) * self.bits != self.word_bits:
                    self.fail(
                        f"words of {self.word_bits} bits are not {len(axis.order)} values of {self.bits}"
                    )
            wanted.append(length)
        if self.shape() != wanted:
            self.fail(
                f"has the shape {list(self.tensor.shape)}; a weight of {rows} rows and {columns} columns "
                f"needs {wanted}"
            )

    def values(self, rows: slice, count: int, order: np.ndarray | None) -> np.ndarray:
        """The field's bits as unsigned integers, [rows of the slice, values of a row]."""
        dtype = _WORDS[self.tensor.format] if self.bits is not None else _STORED[self.field.dtype][1]
        array = self.tensor.data.view(dtype).reshape(self.shape())
        n, k = self.of("N"), self.of("K")
        if n is None or k is None:
            array = array.reshape(1, -1) if n is None else array.reshape(-1, 1)
        elif self.axes.index(k) < self.axes.index(n):
            array = array.T
        if n is not None and n.packed:
            assert self.bits is not None
            first, last = (row * self.bits / self.word_bits for row in (rows.start, rows.stop))
            array = self._unpacked(array[int(first) : math.ceil(last)].T, n)[:, : rows.stop - rows.start].T
        elif n is not None:
            array = array[rows.start // n.divisor : -(-rows.stop // n.divisor)]
            if n.divisor > 1:
                array = np.repeat(array, n.divisor, 0)[rows.start % n.divisor :][: rows.stop - rows.start]
        else:
            array = np.broadcast_to(array, (rows.stop - rows.start, array.shape[1]))
        if k is not None and k.packed:
            array = self._unpacked(array, k)[:, :count]
        return array[:, order] if order is not None and k is not None and k.divisor == 1 else array

    def stream(self, rows: slice, order: np.ndarray | None) -> np.ndarray | None:
        """Integers that lie along a row as a block wants them: uint8 [rows, bytes]; None if they do not."""
        n, k = self.of("N"), self.of("K")
        if order is not None or n is None or k is None or not k.packed or k.order:
            return None
        words = self.tensor.data.view(_WORDS[self.tensor.format]).reshape(self.shape())
        words = words.T if self.axes.index(k) < self.axes.index(n) else words
        return np.ascontiguousarray(words[rows]).view(np.uint8)

    def _unpacked(self, words: np.ndarray, axis: Axis) -> np.ndarray:
        """Values of words along the last axis."""
        bits = self.bits
        assert bits is not None
        words = np.ascontiguousarray(words)
        if self.word_bits % bits == 0:
            shifts = np.arange(0, self.word_bits, bits, dtype=words.dtype)
            found = (words[..., None] >> shifts & words.dtype.type((1 << bits) - 1)).astype(np.uint8)
            if axis.order:
                found = found[..., np.argsort(axis.order)]
            return found.reshape(len(words), -1)
        stream = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")
        stream = stream[:, : stream.shape[1] // bits * bits].reshape(len(words), -1, bits)
        return np.packbits(stream, axis=-1, bitorder="little")[..., 0]


def gather(format: ast.Format, name: str, parts: Mapping[str, FileTensor], origin: str) -> FileTensor:
    """Return the weight that the tensors make, under a name.

    Args:
        format: the declaration, whose every field has its tensor.
        parts: by the last part of their names; `weight` holds the fields that come from no other.

    Raises:
        ModelFormatError: a tensor is missing, or does not fit the others.
    """
    found: list[_Part] = []
    own: FileTensor | None = None
    for field in format.fields:
        if field.origin is None:
            own = parts[BLOCKS]
            continue
        tensor = parts.get(field.origin.tensor)
        if tensor is None:
            raise ModelFormatError(f"{origin}: the tensor {field.origin.tensor} ({format.name}) is missing")
        found.append(_Part(field, tensor, axes(field.origin)))
        if field.dtype != GROUP:
            found[-1].check_type()
    stacked: tuple[int, ...] = ()
    if own is not None:
        *stack, rows, columns = own.shape if len(own.shape) > 1 else (1, *own.shape)
        stacked = tuple(stack)
    else:
        codes = next(part for part in found if {a.divisor for a in part.axes} == {1} and len(part.axes) == 2)
        rows, columns = codes.size("N"), codes.size("K")
    if not rows or not columns or columns % format.length:
        raise ModelFormatError(
            f"{origin}: rows of {columns} weights are not whole groups of {format.block} ({format.name})"
        )
    order: np.ndarray | None = None
    for part in found:
        if part.field.dtype == GROUP:
            order = _order(part, columns, format.length)
        elif not stacked:
            part.check_shape(rows, columns)
        elif part.axes or math.prod(part.tensor.shape) != math.prod(stacked):
            part.fail(
                f"has the shape {list(part.tensor.shape)}; expected a value for each of {list(stacked)}"
            )
    fields = tuple(part for part in found if part.field.dtype != GROUP)
    gathering = _Gathering(format, rows, columns, own, fields, order, stacked)
    shape = (*stacked, rows, columns)
    return MadeTensor(
        name, format.name, shape, origin, gathering.bytes, list(parts.values()), gathering.size, order
    )


def columns_in_order(groups: FileTensor, group: int | None) -> np.ndarray | None:
    """The columns sorted by their group, or None where they are so already; raises ModelFormatError.

    group  columns of a group; None where a row is one
    """
    columns = groups.shape[0] if groups.shape else 0
    return _order(_Part(ast.Field("g", GROUP), groups, (Axis("K"),)), columns, group or max(columns, 1))


def is_everywhere(tensor: FileTensor, number: int, bits: int | None) -> bool:
    """Tell whether every value of a tensor is a number; `bits` of each, where words hold several."""
    if tensor.format not in _WORDS:  # floats: only one that is everywhere 1 could be left out
        return False
    words = tensor.data.view(_WORDS[tensor.format])
    width = 8 * words.dtype.itemsize
    if bits is None or bits == width:
        return bool((words == words.dtype.type(number & (1 << width) - 1)).all())
    if width % bits:  # a value of 3 bits crosses words: whole numbers of words hold whole numbers of values
        stream = np.unpackbits(words.view(np.uint8), bitorder="little")
        usual = np.resize(np.array([number >> place & 1 for place in range(bits)], np.uint8), len(stream))
        return bool((stream == usual).all())
    return bool((words == words.dtype.type(sum(number << place for place in range(0, width, bits)))).all())


def _order(part: _Part, columns: int, group: int) -> np.ndarray | None:
    tensor = part.tensor
    if tensor.format not in ("i32", "i64") or tensor.shape != (columns,):
        part.fail(f"is {tensor.format} {list(tensor.shape)}; expected i32 [{columns}]")
    if columns % group:
        part.fail(f"{columns} columns are not whole groups of {group}")
    numbers = tensor.data.view("<i4" if tensor.format == "i32" else "<i8")
    count = columns // group
    if (numbers == -1).all():
        return None
    wrong = np.flatnonzero((numbers < 0) | (numbers >= count))
    if len(wrong):
        part.fail(f"column {wrong[0]} is in group {numbers[wrong[0]]}; there are groups 0 to {count - 1}")
    sizes = np.bincount(numbers, minlength=count)
    if (sizes != group).any():
        odd = int(np.flatnonzero(sizes != group)[0])
        part.fail(f"group {odd} has {sizes[odd]} columns, not {group}")
    order = np.argsort(numbers, kind="stable").astype(np.int32)
    return None if (order == np.arange(columns)).all() else order


@dataclass(frozen=True)
class _Gathering:
    format: ast.Format
    rows: int
    columns: int
    own: FileTensor | None
    parts: tuple[_Part, ...]
    order: np.ndarray | None
    stacked: tuple[int, ...]

    @property
    def matrices(self) -> int:
        return math.prod(self.stacked)

    @property
    def sizes(self) -> tuple[int, int]:
        """Bytes of what a row stores once, and of a block."""
        block = [field_bytes(field) for field in in_order(self.format) if scope(field) == "block"]
        every = [field_bytes(field) for field in in_order(self.format)]
        return sum(every) - sum(block), sum(block)

    @property
    def size(self) -> int:
        header, block = self.sizes
        return self.matrices * self.rows * (header + self.columns // self.format.length * block)

    def bytes(self) -> np.ndarray:
        """The rows, uint8 [rows, row bytes]."""
        header, block = self.sizes
        blocks = self.columns // self.format.length
        total = self.matrices * self.rows
        made = np.empty((total, header + blocks * block), np.uint8)
        own = None if self.own is None else self.own.data.reshape(total, blocks * block)
        for start in range(0, total, _ROWS):
            rows = slice(start, min(start + _ROWS, total))
            to = made[rows, header:].reshape(-1, blocks, block)
            if own is not None:
                made[rows, header:] = own[rows]
            self._fill(made[rows, :header], to, rows)
            if own is None:
                made[rows, header:] = to.reshape(len(to), -1)
        return made

    def _fill(self, head: np.ndarray, blocks: np.ndarray, rows: slice) -> None:
        """Write the fields of other tensors."""
        held = {part.field.name: part for part in self.parts}
        place = {"block": 0, "row": 0}
        for field in in_order(self.format):
            where = "block" if scope(field) == "block" else "row"
            size, start = field_bytes(field), place[where]
            place[where] += size
            part = held.get(field.name)
            if part is None:
                continue
            stream = None if self.stacked else part.stream(rows, self.order)
            if stream is not None:
                whole = stream[:, : blocks.shape[1] * size]
                blocks[..., start : start + size] = whole.reshape(len(stream), -1, size)
                continue
            if self.stacked:
                per_row = np.repeat(part.tensor.data.view(_STORED[field.dtype][1]).reshape(-1), self.rows)
                values = per_row[rows, None]
            else:
                values = part.values(rows, self.columns, self.order)
            _require_numbers(part, values)
            if where == "row":
                head[:, start : start + size] = _bytes(values, part.bits)
            else:
                parts = values.reshape(len(values), blocks.shape[1], -1)
                blocks[..., start : start + size] = _bytes(parts, part.bits)


def _bytes(values: np.ndarray, bits: int | None) -> np.ndarray:
    """The last axis as bytes; narrow integers side by side, lowest bits first."""
    if bits is None or bits == 8:
        dtype = values.dtype if bits is None else np.dtype(np.uint8)
        return np.ascontiguousarray(values, dtype).view(np.uint8)
    if 8 % bits == 0 and values.shape[-1] * bits % 8 == 0:
        grouped = values.astype(np.uint8).reshape(*values.shape[:-1], -1, 8 // bits)
        result = grouped[..., 0].copy()
        for place in range(1, 8 // bits):
            result |= grouped[..., place] << np.uint8(place * bits)
        return result
    stream = np.unpackbits(values.astype(np.uint8)[..., None], axis=-1, bitorder="little")[..., :bits]
    return np.packbits(stream.reshape(*values.shape[:-1], -1), axis=-1, bitorder="little")


def _require_numbers(part: _Part, values: np.ndarray) -> None:
    """Weights of one byte must be numbers: no kernel keeps an infinity or NaN of theirs."""
    limit = {"e4m3": 0x7E, "e5m2": 0x7B}.get(part.field.dtype)
    if limit is not None and values.size and int((values & 0x7F).max()) > limit:
        part.fail("holds a weight that is no number")
