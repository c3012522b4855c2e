"""The cache of compiled objects: private, whole or not at all, the same under many writers."""

from __future__ import annotations

import os
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lumen_core.runtime.cache import ObjectCache

BODY = bytes(range(256)) * 20


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "a" / "objects"


@pytest.fixture
def entry(folder: Path) -> Path:
    """The file of one entry whose key is b"key"."""
    ObjectCache(folder).get(b"key", lambda: BODY)
    (path,) = folder.iterdir()
    return path


def fail() -> bytes:
    raise AssertionError("made anew")


def test_an_object_is_made_once(folder: Path) -> None:
    cache = ObjectCache(folder)
    assert cache.get(b"key", lambda: BODY) == BODY
    assert cache.get(b"key", fail) == BODY
    assert ObjectCache(folder).get(b"key", fail) == BODY
    assert cache.get(b"other", lambda: b"2") == b"2"
    assert (cache.hits, cache.misses) == (1, 2)
    assert len(list(folder.iterdir())) == 2


def test_without_a_directory() -> None:
    cache = ObjectCache(None)
    assert [cache.get(b"key", lambda: BODY) for _ in range(2)] == [BODY, BODY]
    assert cache.misses == 2


def test_only_the_user_can_look(folder: Path, entry: Path) -> None:
    assert mode(folder) == 0o700
    assert mode(entry) == 0o600
    folder.chmod(0o777)
    ObjectCache(folder)
    assert mode(folder) == 0o700


@pytest.mark.parametrize("where", [0, 31, 32, 100, len(BODY) + 31])
def test_a_damaged_entry_is_made_anew(folder: Path, entry: Path, where: int) -> None:
    content = bytearray(entry.read_bytes())
    content[where] ^= 0x40
    entry.write_bytes(content)
    assert ObjectCache(folder).get(b"key", lambda: BODY) == BODY
    assert ObjectCache(folder).get(b"key", fail) == BODY  # and is whole again


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, len(BODY) + 31])
def test_a_truncated_entry_is_made_anew(folder: Path, entry: Path, size: int) -> None:
    with entry.open("r+b") as file:
        file.truncate(size)
    assert ObjectCache(folder).get(b"key", lambda: BODY) == BODY
    assert ObjectCache(folder).get(b"key", fail) == BODY


def test_an_entry_with_something_behind_it(folder: Path, entry: Path) -> None:
    with entry.open("ab") as file:
        file.write(b"more")
    assert ObjectCache(folder).get(b"key", lambda: BODY) == BODY


def test_an_entry_of_another_key(folder: Path, entry: Path) -> None:
    """A sound entry under a wrong name is code for something else."""
    ObjectCache(folder).get(b"other", lambda: b"other code")
    (other,) = (path for path in folder.iterdir() if path != entry)
    entry.write_bytes(other.read_bytes())
    assert ObjectCache(folder).get(b"key", lambda: BODY) == BODY
    assert ObjectCache(folder).get(b"key", fail) == BODY


def test_an_entry_that_others_can_write(folder: Path, entry: Path) -> None:
    entry.chmod(0o622)
    assert ObjectCache(folder).get(b"key", lambda: b"mine") == b"mine"
    assert mode(entry) == 0o600


def test_an_entry_that_is_a_link(folder: Path, entry: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    entry.rename(elsewhere)
    entry.symlink_to(elsewhere)
    assert ObjectCache(folder).get(b"key", lambda: b"mine") == b"mine"
    assert not entry.is_symlink()
    assert elsewhere.read_bytes().endswith(BODY)


def test_an_entry_that_is_no_file(folder: Path, entry: Path) -> None:
    entry.unlink()
    entry.mkdir()
    assert ObjectCache(folder).get(b"key", lambda: BODY) == BODY
    entry.rmdir()
    os.mkfifo(entry)  # whoever opened it to read would wait for ever
    assert ObjectCache(folder).get(b"key", lambda: BODY) == BODY


@pytest.mark.skipif(not hasattr(os, "getuid") or os.getuid() != 0, reason="only root can give files away")
def test_what_belongs_to_another_user(folder: Path, entry: Path) -> None:
    os.chown(entry, 12345, 12345)
    assert ObjectCache(folder).get(b"key", lambda: b"mine") == b"mine"
    os.chown(folder, 12345, 12345)
    cache = ObjectCache(folder)
    assert cache.directory is None
    assert cache.get(b"key", lambda: b"again") == b"again"


def test_a_directory_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no directory")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for folder in (tmp_path / "file", tmp_path / "file" / "below", tmp_path / "link"):
        cache = ObjectCache(folder)
        assert cache.get(b"key", lambda: BODY) == BODY
        assert cache.directory is None
    assert list((tmp_path / "real").iterdir()) == []


def test_many_writers(folder: Path) -> None:
    """Threads that make and read the same entries never see a part of one."""
    barrier = threading.Barrier(8)

    def work(number: int) -> None:
        cache = ObjectCache(folder)
        barrier.wait()
        for turn in range(60):
            key = turn % 3
            assert cache.get(b"%d" % key, lambda key=key: bytes([key]) * 100_000) == bytes([key]) * 100_000
            if turn % 10 == number:
                for path in folder.glob("*.o"):
                    path.unlink(missing_ok=True)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert not list(folder.glob("*.tmp"))
