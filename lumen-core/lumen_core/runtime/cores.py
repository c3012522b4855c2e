"""The cores that this process may use, and on which of them the threads of a team run.

Threads of a team wait for each other, so two of them on one core take several times as long, while another
core is idle. Not every scheduler sees to it: those of some virtual machines keep threads together to save
cores. Processors that the system counts one by one may share a core, whose arithmetic one thread fills.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path

PROCESSORS = Path("/sys/devices/system/cpu")
GROUP = Path("/sys/fs/cgroup")


def available_threads() -> int:
    """Cores this process may use: those of its affinity, cut by the control group's share of time."""
    allowed = _allowed()
    cores = len(cores_of(allowed)) if allowed else os.cpu_count() or 1
    quota = _quota(GROUP)
    return max(1, min(cores, int(quota)) if quota else cores)


@contextmanager
def kept_apart(number: int, threads: int) -> Iterator[None]:
    """Keep the calling thread, `number` of `threads`, on processors that are not the other threads'.

    Every thread has its part of those that it could use before, and gets all back; the processors of a core
    stay together where there are cores enough. Nothing is done where there are fewer processors than threads,
    or the system does not say which ones a thread uses.
    """
    allowed = _allowed()
    if not 1 < threads <= len(allowed):
        yield
        return
    try:
        with suppress(OSError):  # a processor may be taken away meanwhile
            os.sched_setaffinity(0, share(allowed, number, threads))
        yield
    finally:
        with suppress(OSError):
            os.sched_setaffinity(0, allowed)


def moved_apart(number: int, threads: int) -> frozenset[int]:
    """Move the calling thread to processors that are not the other threads', and let it go where it will.

    For the caller's thread, which is not ours to keep and mostly there already: `processor` tells that for
    less than the system calls cost that bind it. Returns the processors of thread `number`, all of them
    where `kept_apart` does nothing.
    """
    with kept_apart(number, threads):
        return _allowed()


def _processor() -> Callable[[], int]:
    """A function that gives the number of the caller's processor, or -1 where the system does not say."""
    try:
        given: Callable[[], int] = ctypes.PyDLL(None).sched_getcpu
    except (AttributeError, OSError, TypeError):
        return lambda: -1
    return given


processor = _processor()


@lru_cache(maxsize=256)
def share(allowed: frozenset[int], number: int, threads: int) -> frozenset[int]:
    """The processors, of those allowed, of thread `number` of so many; there are as many of them at least."""
    cores = cores_of(allowed)
    if threads > len(cores):
        return frozenset(sorted(allowed)[number::threads])
    return frozenset().union(*cores[number::threads])


@lru_cache(maxsize=8)
def cores_of(allowed: frozenset[int], processors: Path = PROCESSORS) -> tuple[frozenset[int], ...]:
    """Processors by the core that they share; each is a core where the system does not say."""
    cores: dict[frozenset[int], None] = {}
    for processor in sorted(allowed):
        together = _numbers(processors / f"cpu{processor}" / "topology" / "thread_siblings_list")
        cores[(together | {processor}) & allowed] = None
    return tuple(cores)


def _numbers(path: Path) -> frozenset[int]:
    """The numbers of a list such as `0,4-5`; none if it cannot be read."""
    try:
        spans = [part.split("-") for part in path.read_text("ascii").strip().split(",")]
        return frozenset(n for span in spans for n in range(int(span[0]), int(span[-1]) + 1))
    except (OSError, ValueError):
        return frozenset()


def _allowed() -> frozenset[int]:
    """The processors that the calling thread may use; none if the system does not say."""
    return frozenset(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else frozenset()


def _quota(group: Path) -> float | None:
    """CPUs' worth of time that the control group at this path (of version 2 or 1) grants, or None."""
    for name, files in (("", ("cpu.max",)), ("cpu", ("cpu.cfs_quota_us", "cpu.cfs_period_us"))):
        with suppress(OSError, ValueError):
            words = " ".join((group / name / file).read_text("ascii") for file in files).split()
            return max(1.0, int(words[0]) / int(words[1])) if int(words[0]) > 0 else None
    return None
