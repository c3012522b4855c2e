"""What the fields of blocks hold -> the bytes of the blocks, for as many blocks as a vector has lanes.

The inverse of reading a block, as `quant/store.py` does it in numpy: bits are put together byte by byte, the
same byte of all blocks in one vector; then words of four bytes are dealt out to the blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lumen_core.ir.kernel import I32, I64, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.integers import BitField
from lumen_core.quant.store import Rows, pieces


@dataclass(frozen=True)
class Contents:
    """What a field holds: `count` vectors of integers of `element`, one after the other in memory."""

    field: BitField
    element: str
    at: Value


def write_blocks(
    b: Builder, contents: Sequence[Contents], lanes: int, size: int, planes: Value, blocks: Value
) -> None:
    """Write `lanes` blocks of `size` bytes, one after the other; planes: scratch of as many bytes."""
    written = _put_together(b, contents, lanes, planes, set())
    for place in set(range(size)) - written:
        b.store(b.constant(Type("i8", lanes), 0), planes, place * lanes)
    _deal_out(b, lanes, size, planes, blocks)


def add_to_block(b: Builder, contents: Sequence[Contents], size: int, block: Value) -> None:
    """Write fields of one block of `size` bytes that holds zeros there."""
    _put_together(b, contents, 1, block, set(range(size)))


def _put_together(
    b: Builder, contents: Sequence[Contents], lanes: int, planes: Value, written: set[int]
) -> set[int]:
    """Write bits to bytes [size, lanes], added to what is `written`; return which bytes are written then."""
    found: dict[bytes, tuple[Rows, list[tuple[Contents, int, int, int, Rows]]]] = {}
    for item in contents:
        for low, width, shift, integers, places in pieces(item.field):
            key = _places(places).tobytes()
            found.setdefault(key, (places, []))[1].append((item, low, width, shift, integers))
    bytes = Type("i8", lanes)
    for places, parts in found.values():
        own = set(_places(places).tolist())
        with b.loop(0, len(own)) as loop:
            at = b.offset(planes, b.mul(_place(b, places, loop.index), lanes))
            value = None if written.isdisjoint(own) else b.load(bytes, at)
            for item, low, width, shift, integers in parts:
                type = Type(item.element, lanes)
                raw = b.load(type, item.at, b.mul(_place(b, integers, loop.index), type.bytes))
                part = b.convert(b.shr(raw, low), "i8")
                if width < 8 and low + width < item.field.width:
                    part = b.bitand(part, (1 << width) - 1)
                part = b.shl(part, shift)
                value = part if value is None else b.bitor(value, part)
            assert value is not None
            b.store(value, at)
        written |= own
    return written


def _deal_out(b: Builder, lanes: int, size: int, planes: Value, blocks: Value) -> None:
    """Bytes [size, lanes] -> [lanes, size]."""
    bytes, words = Type("i8", lanes), Type("i32", lanes)
    word = b.stack(words.bytes)
    with b.loop(0, size // 4) as loop:
        first = b.offset(planes, b.mul(loop.index, 4 * lanes))
        value = b.convert(b.load(bytes, first), "i32", signed=False)
        for number in range(1, 4):
            byte = b.convert(b.load(bytes, first, number * lanes), "i32", signed=False)
            value = b.bitor(value, b.shl(byte, 8 * number))
        b.store(value, word, align=words.bytes)
        to = b.offset(blocks, b.mul(loop.index, 4))
        for lane in range(lanes):
            b.store(b.load(I32, word, 4 * lane, align=4), to, lane * size)
    for place in range(size // 4 * 4, size):
        for lane in range(lanes):
            b.store(b.load(Type("i8"), planes, place * lanes + lane), blocks, lane * size + place)


def _places(rows: Rows) -> np.ndarray:
    return np.arange(rows.start, rows.stop, rows.step) if isinstance(rows, slice) else rows


def _place(b: Builder, rows: Rows, index: Value) -> Value:
    """The index-th of some rows."""
    if isinstance(rows, slice):
        return b.add(b.mul(index, rows.step), rows.start)
    return b.load(I64, b.data(rows.astype("<i8").tobytes()), b.mul(index, 8), align=8)
