"""Integers whose every bit is known by its place in the block: what analysis does on fields."""

from __future__ import annotations

from collections.abc import Sequence

from lumen_core.quant.integers import ZERO, BitField


class NotBits(Exception):
    """An operation that does not give plain bits of the block; str() says why, `help` what to change."""

    def __init__(self, message: str, help: str | None = None):
        super().__init__(message)
        self.help = help


def plain(field: BitField) -> BitField:
    if field.add:
        raise NotBits("bit operations need the stored integer itself, before anything is added to it")
    return field


def _field(sources: Sequence[Sequence[int]], signed: bool = False) -> BitField:
    """Drop high bits that are always zero and make all integers equally wide."""
    width = 1
    for source in sources:
        for position, bit in enumerate(source):
            if bit != ZERO:
                width = max(width, position + 1)
    padded = tuple((tuple(source) + (ZERO,) * width)[:width] for source in sources)
    return BitField(padded, signed)


def of_bytes(offset: int, count: int, bytes: int, signed: bool) -> BitField:
    """The field of `count` little-endian integers of `bytes` bytes at a byte offset of the block."""
    return BitField(
        tuple(tuple(range(8 * (offset + i * bytes), 8 * (offset + (i + 1) * bytes))) for i in range(count)),
        signed,
    )


def narrow(offset: int, count: int, width: int) -> BitField:
    """The field of `count` integers of `width` bits side by side, lowest bits first, from a byte on."""
    first = 8 * offset
    return BitField(tuple(tuple(range(first + i * width, first + (i + 1) * width)) for i in range(count)))


def mask(field: BitField, constant: int) -> BitField:
    """`field & constant`."""
    if constant < 0:
        raise NotBits("the mask is negative")
    sources = [
        [bit if constant >> position & 1 else ZERO for position, bit in enumerate(source)]
        for source in plain(field).sources
    ]
    return _field(sources)


def merge(left: BitField, right: BitField) -> BitField:
    """`left | right`, where no bit may come from both."""
    count = max(left.count, right.count)
    if count % left.count or count % right.count:
        raise NotBits(f"{left.count} and {right.count} integers do not pair up")
    width = max(left.width, right.width)
    sources = []
    for index in range(count):
        a = plain(left).sources[index * left.count // count]
        b = plain(right).sources[index * right.count // count]
        joined = []
        for position in range(width):
            low = a[position] if position < len(a) else ZERO
            high = b[position] if position < len(b) else ZERO
            if low != ZERO and high != ZERO:
                raise NotBits(
                    f"bit {position} comes from both sides of `|`",
                    "shift or mask one side, so that every bit has one source",
                )
            joined.append(low if low != ZERO else high)
        sources.append(joined)
    return _field(sources)


def shift_left(field: BitField, count: int) -> BitField:
    if not 0 <= count <= 32:
        raise NotBits("a shift takes 0 to 32 bits")
    if field.signed:
        raise NotBits("a signed integer is not shifted; multiply it")
    return _field([(ZERO,) * count + source for source in plain(field).sources])


def shift_right(field: BitField, count: int) -> BitField:
    if not 0 <= count <= 64:
        raise NotBits("a shift takes 0 to 64 bits")
    if field.signed:
        raise NotBits("a signed integer is not shifted")
    return _field([source[count:] or (ZERO,) for source in plain(field).sources])


def take(field: BitField, start: int, stop: int, step: int = 1) -> BitField:
    if not 0 <= start < stop <= field.count:
        raise NotBits(f"elements {start} to {stop} of {field.count}")
    return BitField(field.sources[start:stop:step], field.signed, field.add)


def concatenate(fields: Sequence[BitField]) -> BitField:
    if len({(field.signed, field.add) for field in fields}) != 1:
        raise NotBits("the parts are not all signed or all unsigned")
    if fields[0].signed and len({field.width for field in fields}) != 1:
        raise NotBits("the signed parts have different widths")
    width = max(field.width for field in fields)
    sources = tuple(source + (ZERO,) * (width - len(source)) for field in fields for source in field.sources)
    return BitField(sources, fields[0].signed, fields[0].add)


def spread(field: BitField, width: int, run: int, parts: int | None) -> BitField:
    """`bits(field, width, run=run)`: cut the integers' storage in codes of `width` bits.

    Chunks of `run` integers give first the lowest bits of each in order, then the next; at most `parts`.
    """
    storage = plain(field).width if parts is None else width * parts
    if width < 1 or storage % width:
        raise NotBits(f"{storage} bits are not a whole number of {width}-bit codes")
    if storage > field.width:
        raise NotBits(f"{storage} bits of integers that have {field.width}")
    if run < 1 or field.count % run:
        raise NotBits(f"{field.count} integers are not a whole number of runs of {run}")
    sources = []
    for chunk in range(0, field.count, run):
        for low in range(0, storage, width):
            for index in range(chunk, chunk + run):
                sources.append(field.sources[index][low : low + width])
    return BitField(tuple(sources))
