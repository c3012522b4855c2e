"""The cache of compiled objects: content-addressed files that only their user can read or write.

An entry is a digest of its key and content followed by the object; a damaged, foreign, misplaced or
truncated entry is ignored and made anew. Entries are written to a temporary name and renamed, so readers
never see half.
"""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

_DIGEST = 32


def default_directory() -> Path:
    """`LUMEN_CACHE_DIR`, or `lumen/objects` in the user's cache directory."""
    named = os.environ.get("LUMEN_CACHE_DIR")
    if named:
        return Path(named) / "objects"
    base = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(base) / "lumen" / "objects"


class ObjectCache:
    """Maps a key (any bytes that decide the object) to the object; `directory=None` keeps nothing."""

    def __init__(self, directory: Path | None):
        self.directory = self._private(directory) if directory is not None else None
        self.hits = 0
        self.misses = 0

    @staticmethod
    def _private(directory: Path) -> Path | None:
        """Create the directory for this user alone; give the cache up if that cannot be had."""
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            status = directory.lstat()
            if not stat.S_ISDIR(status.st_mode):
                return None
            if hasattr(os, "getuid"):
                if status.st_uid != os.getuid():
                    return None
                if stat.S_IMODE(status.st_mode) & 0o077:
                    directory.chmod(0o700)
        except OSError:
            return None
        return directory

    def get(self, key: bytes, make: Callable[[], bytes]) -> bytes:
        """Return the object of `key`, from disk when it is there and whole, else from `make()`."""
        if self.directory is None:
            self.misses += 1
            return make()
        name = hashlib.sha256(key).digest()
        path = self.directory / f"{name.hex()}.o"
        found = self._read(path, name)
        if found is not None:
            self.hits += 1
            return found
        self.misses += 1
        made = make()
        self._write(path, name, made)
        return made

    @staticmethod
    def _read(path: Path, name: bytes) -> bytes | None:
        # A link is not followed, and a pipe in the place of a file is not waited for.
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
        try:
            descriptor = os.open(path, flags)
        except OSError:
            return None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return None
            if hasattr(os, "getuid") and (status.st_uid != os.getuid() or status.st_mode & 0o022):
                return None
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read()
        except OSError:
            return None
        finally:
            os.close(descriptor)
        digest, body = content[:_DIGEST], content[_DIGEST:]
        return body if hashlib.sha256(name + body).digest() == digest else None

    def _write(self, path: Path, name: bytes, body: bytes) -> None:
        try:
            descriptor, temporary = tempfile.mkstemp(dir=self.directory, suffix=".tmp")
        except OSError:
            return
        try:
            with open(descriptor, "wb") as file:
                file.write(hashlib.sha256(name + body).digest() + body)
            os.replace(temporary, path)
        except OSError:
            Path(temporary).unlink(missing_ok=True)
