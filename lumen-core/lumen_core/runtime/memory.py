"""Memory for weights, buffers and caches: anonymous pages, aligned, zero, that cost nothing until touched."""

from __future__ import annotations

import mmap
from contextlib import suppress

import numpy as np

from lumen_core.errors import OutOfMemoryError

_HUGE = 2 << 20
# Python's default is memory to share with other processes, which gets no large pages.
_PRIVATE = {"flags": mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS} if hasattr(mmap, "MAP_ANONYMOUS") else {}


def allocate(bytes: int, what: str, piece: int = 0) -> np.ndarray:
    """Return `bytes` zero bytes as uint8, aligned to a page; freed with the last view.

    piece  bytes of parts that fill up slowly, each from its beginning: large pages cost little of them, or
           are not used (0: all is used at once)

    Raises OutOfMemoryError saying what they were for.
    """
    try:
        pages = mmap.mmap(-1, max(bytes, mmap.PAGESIZE), **_PRIVATE)
    except (OSError, ValueError, OverflowError) as error:
        raise OutOfMemoryError(f"no memory for {what}: {bytes / 2**20:.0f} MiB wanted ({error})") from None
    if bytes >= _HUGE and not 0 < piece < 4 * _HUGE and hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # advice only
            pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, np.uint8)[:bytes]


def address(array: np.ndarray) -> int:
    """Where an array's first byte is."""
    return array.ctypes.data
