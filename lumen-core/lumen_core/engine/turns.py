"""One generation of a model at a time: other threads wait for their turn.

The thread whose own generation is still open (a stream that it has not read to the end) would wait for
ever: it is told so.
"""

from __future__ import annotations

import threading
from types import TracebackType

from lumen_core.errors import LumenError


class Turns:
    """A lock that knows its thread; a stream may be finished by another thread than began it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner: int | None = None

    @property
    def mine(self) -> bool:
        """True while a generation that this thread began is open."""
        return self._owner == threading.get_ident()

    def __enter__(self) -> None:
        if self.mine:
            raise LumenError(
                "a stream of this model is still open in this thread: read it to its end or close it first"
            )
        self._lock.acquire()
        self._owner = threading.get_ident()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owner = None
        self._lock.release()
