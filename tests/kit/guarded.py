"""Buffers between pages that nobody may touch: a kernel that leaves its buffer is caught in the act."""

from __future__ import annotations

import ctypes
import mmap

import numpy as np

CANARY = 0xA5


class Guarded:
    """`array` is `size` bytes whose end, rounded up to `align`, touches a forbidden page.

    Another such page lies in front. Bytes between the pages that are not the array's hold a canary,
    which `check` looks at.
    """

    def __init__(self, size: int, align: int = 1, fill: int = 0):
        page = mmap.PAGESIZE
        room = -(-size // align) * align
        pages = -(-max(room, 1) // page)
        self._map = mmap.mmap(-1, (pages + 2) * page)
        whole = np.frombuffer(self._map, np.uint8)
        start = (1 + pages) * page - room
        self._around = [whole[page:start], whole[start + size : (1 + pages) * page]]
        for around in self._around:
            around[:] = CANARY
        self.array = whole[start : start + size]
        self.array[:] = fill
        address = whole.ctypes.data
        protect = ctypes.CDLL(None, use_errno=True).mprotect
        for forbidden in (address, address + (1 + pages) * page):
            if protect(ctypes.c_void_p(forbidden), ctypes.c_size_t(page), 0) != 0:
                raise OSError(ctypes.get_errno(), "mprotect")

    def check(self) -> None:
        assert all((around == CANARY).all() for around in self._around), "written beside the buffer"


def guarded(array: np.ndarray, align: int = 1) -> Guarded:
    """Return a guarded copy of an array's bytes."""
    made = Guarded(array.nbytes, align)
    made.array[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return made
