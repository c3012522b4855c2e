"""Threads of a team have cores of their own while they run, and all of them again afterwards."""

from __future__ import annotations

import os
import threading

import pytest

from lumen_core.runtime.cores import kept_apart

pytestmark = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity here")


@pytest.mark.parametrize("threads", [1, 2, 3, 64])
def test_threads_share_no_core(threads: int) -> None:
    before = os.sched_getaffinity(0)
    together = threading.Barrier(threads)
    found: dict[int, set[int]] = {}
    after: dict[int, set[int]] = {}

    def work(number: int) -> None:
        with kept_apart(number, threads):
            found[number] = os.sched_getaffinity(0)
            together.wait(10)
        after[number] = os.sched_getaffinity(0)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert all(cores == before for cores in after.values())
    if threads <= len(before):
        assert set().union(*found.values()) == before
        assert sum(map(len, found.values())) == len(before)
    else:
        assert all(cores == before for cores in found.values())


def test_an_error_gives_the_cores_back() -> None:
    before = os.sched_getaffinity(0)
    with pytest.raises(KeyError), kept_apart(0, len(before)):
        raise KeyError
    assert os.sched_getaffinity(0) == before
