"""Threads of a team have cores of their own while they run, and all of them again afterwards.

What a system says of its processors is read from files, here from ones made up.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from lumen_core.runtime import cores
from lumen_core.runtime.cores import available_threads, cores_of, kept_apart, moved_apart, processor, share

affinity = pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="no affinity here")


@affinity
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


@affinity
def test_an_error_gives_the_cores_back() -> None:
    before = os.sched_getaffinity(0)
    with pytest.raises(KeyError), kept_apart(0, len(before)):
        raise KeyError
    assert os.sched_getaffinity(0) == before


@affinity
@pytest.mark.parametrize("threads", [1, 2, 64])
def test_a_thread_is_moved_and_free_again(threads: int) -> None:
    before = os.sched_getaffinity(0)
    for number in (0, threads - 1):
        own = moved_apart(number, threads)
        assert os.sched_getaffinity(0) == before
        assert own == (share(frozenset(before), number, threads) if 1 < threads <= len(before) else before)
        assert processor() in before


def processors(folder: Path, siblings: dict[int, str]) -> Path:
    """Write down which processors share a core, as Linux does."""
    for number, text in siblings.items():
        place = folder / f"cpu{number}" / "topology"
        place.mkdir(parents=True)
        (place / "thread_siblings_list").write_text(text + "\n")
    return folder


@pytest.mark.parametrize(
    ("siblings", "allowed", "expected"),
    [
        ({0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}, {0, 1, 2, 3}, [{0, 1}, {2, 3}]),
        ({0: "0,2", 1: "1,3", 2: "0,2", 3: "1,3"}, {0, 1, 2, 3}, [{0, 2}, {1, 3}]),
        ({0: "0-1", 1: "0-1", 2: "2", 3: "3"}, {0, 1, 2, 3}, [{0, 1}, {2}, {3}]),  # two kinds of cores
        ({0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3"}, {1, 2, 3}, [{1}, {2, 3}]),  # others are not ours
        ({}, {0, 1}, [{0}, {1}]),
        ({0: "", 1: "what?"}, {0, 1}, [{0}, {1}]),
    ],
)
def test_processors_of_a_core_are_found(
    tmp_path: Path, siblings: dict[int, str], allowed: set[int], expected: list[set[int]]
) -> None:
    assert cores_of(frozenset(allowed), processors(tmp_path, siblings)) == tuple(map(frozenset, expected))


def test_threads_share_a_core_only_when_there_are_too_few(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of_two = processors(tmp_path, {0: "0-1", 1: "0-1", 2: "2-3", 3: "2-3", 4: "4-5", 5: "4-5"})
    monkeypatch.setattr(cores, "cores_of", lambda allowed: cores_of(allowed, of_two))
    share.cache_clear()
    allowed = frozenset(range(6))
    assert [share(allowed, n, 3) for n in range(3)] == [{0, 1}, {2, 3}, {4, 5}]
    assert [share(allowed, n, 2) for n in range(2)] == [{0, 1, 4, 5}, {2, 3}]
    assert [share(allowed, n, 4) for n in range(4)] == [{0, 4}, {1, 5}, {2}, {3}]
    share.cache_clear()


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "250000 100000"}, 2.5),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, None),
        ({"cpu.max": "?"}, None),
        ({}, None),
    ],
)
def test_a_control_group_grants_a_share_of_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], expected: float | None
) -> None:
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    monkeypatch.setattr(cores, "GROUP", tmp_path)
    monkeypatch.setattr(cores, "cores_of", lambda allowed: [allowed] * 8)
    monkeypatch.setattr(cores, "_allowed", lambda: frozenset({0}))
    assert available_threads() == (8 if expected is None else int(expected))
