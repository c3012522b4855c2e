"""On which cores the threads of a team run.

They wait for each other, so two of them on one core take several times as long, while another core is idle.
Not every scheduler sees to it: those of some virtual machines keep threads together to save cores.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def kept_apart(number: int, threads: int) -> Iterator[None]:
    """Keep the calling thread, `number` of `threads`, on cores that are not the other threads'.

    Every thread has its part of the cores that it could use before, and gets those back. Nothing is done
    where there are fewer cores than threads, or the system does not say which cores a thread uses.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if not 1 < threads <= len(cores):
        yield
        return
    try:
        with suppress(OSError):  # a core may be taken away meanwhile
            os.sched_setaffinity(0, cores[number::threads])
        yield
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, cores)
