"""Arrays of strings as they stand in a file: positions are checked at once, text is decoded when asked for.

In: the mapped bytes, where an array starts and how many strings it claims.  Out: a `StringArray`.
A vocabulary has 150 000 strings and more. Hardly any is longer than 65535 bytes or holds a zero, so lengths
show as runs of zeros: those that follow from each other are taken at once. Where that chain breaks, a tight
loop goes on; it takes the low two bytes of each length and verifies a whole chunk afterwards.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import overload

import numpy as np

from lumen_core.errors import ModelFormatError

_CHUNK = 1 << 16
_WINDOW = 1 << 23  # bytes that are looked at together


class StringArray(Sequence[str]):
    """A read-only list of strings that live in a mapped file."""

    def __init__(self, name: str, data: np.ndarray, starts: np.ndarray, end: int):
        self._name = name
        self._data = data
        self._starts = starts  # position of each length field
        self._end = end

    def __len__(self) -> int:
        return len(self._starts)

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self._text(i) for i in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(f"{self._name} has {len(self)} strings, no index {index}")
        return self._text(index % len(self))

    def __iter__(self) -> Iterator[str]:
        return iter(self.tolist())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and self.tolist() == list(other)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"StringArray({self._name}, {len(self)} strings)"

    def tolist(self) -> list[str]:
        """Decode all strings in one go: the length fields become separators."""
        if not len(self):
            return []
        first = int(self._starts[0])
        text = self._data[first : self._end].copy()
        local = self._starts - first
        for byte in range(8):
            text[local + byte] = 0
        if np.count_nonzero(text) + 8 * len(self) == len(text):  # no string holds a zero itself
            with contextlib.suppress(UnicodeDecodeError):  # the loop below names the string that is wrong
                return text.tobytes().decode("utf-8").split("\0" * 8)[1:]
        return [self._text(i) for i in range(len(self))]

    def _text(self, index: int) -> str:
        start = int(self._starts[index]) + 8
        stop = int(self._starts[index + 1]) if index + 1 < len(self) else self._end
        try:
            return self._data[start:stop].tobytes().decode("utf-8")
        except UnicodeDecodeError as error:
            raise ModelFormatError(
                f"{self._name}[{index}] at byte {start} is not UTF-8 ({error.reason}); "
                "convert the model again"
            ) from None


def scan(name: str, data: np.ndarray, start: int, count: int) -> tuple[StringArray, int]:
    """Find `count` strings from byte `start`; return them and the position after the last one."""
    view = data.data
    size = len(view)
    chunks: list[np.ndarray] = []
    position, done = start, 0
    while done < count:
        leap, end = _leap(data, position, count - done)
        chunks.append(leap)
        done, position = done + len(leap), end
        if len(leap) > _CHUNK // 16 or done == count:
            continue
        wanted = min(_CHUNK, count - done)
        found: list[int] = []
        keep = found.append
        at = position
        try:
            for _ in range(wanted):
                keep(at)
                at += view[at] + (view[at + 1] << 8) + 8
        except IndexError:
            found.pop()
        starts = np.array(found, np.int64)
        starts = starts[starts <= size - 8]
        high = np.zeros(len(starts), np.uint8)
        for byte in range(2, 8):
            high |= data[starts + byte]
        long = np.flatnonzero(high)
        good = int(long[0]) if len(long) else len(starts)
        chunks.append(starts[:good])
        done += good
        if good == wanted:
            position = at
        elif good < len(starts):  # a string of 65536 bytes or more: step over it by its full length
            position = int(starts[good])
            length = int.from_bytes(view[position : position + 8], "little")
            if length > size - position - 8:
                _overrun(name, done, position, length, size)
            chunks.append(starts[good : good + 1])
            done += 1
            position += 8 + length
        else:  # the claimed strings run past the end of the file
            position = int(starts[good - 1]) if good else position
            if good:
                position += 8 + int.from_bytes(view[position : position + 2], "little")
            _overrun(name, done, position, None, size)
    if position > size:
        last = int(chunks[-1][-1])
        _overrun(name, count - 1, last, int.from_bytes(view[last : last + 8], "little"), size)
    starts = np.concatenate(chunks) if chunks else np.empty(0, np.int64)
    return StringArray(name, data, starts, position), position


def _leap(data: np.ndarray, start: int, count: int) -> tuple[np.ndarray, int]:
    """Return positions of strings from `start` on, as many as follow from each other, and where they end."""
    window = data[start : start + min(32 * count + 64, _WINDOW)]
    zero = np.concatenate(([False], window == 0, [False]))
    edges = np.flatnonzero(zero[1:] != zero[:-1])
    begins, lengths = edges[::2], edges[1::2] - edges[::2]
    # Bytes 2 to 7 of a length are zeros, and so is byte 1 below 256, and byte 0 of an empty string.
    fits = (lengths >= 6) & (lengths <= 8)
    found = (begins[fits] - (8 - lengths[fits])).astype(np.int64)
    found = found[found >= 0]
    ends = found + 8 + window[found] + (window[found + 1].astype(np.int64) << 8)
    follows = np.flatnonzero(ends[:-1] != found[1:])
    good = min(int(follows[0]) + 1 if len(follows) else len(found), count)
    if not good or found[0] != 0 or start + int(ends[good - 1]) > len(data):
        return found[:0], start
    return start + found[:good], start + int(ends[good - 1])


def _overrun(name: str, index: int, position: int, length: int | None, size: int) -> None:
    what = f"claims {length} bytes" if length is not None else "is missing"
    raise ModelFormatError(
        f"{name}[{index}] at byte {position} {what}, but the file ends at byte {size}; "
        "it is truncated or corrupt: download or convert it again"
    )
