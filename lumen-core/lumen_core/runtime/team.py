"""A model's worker threads: Python threads that live in native code and run step programs together.

The calling thread is thread 0. Workers poll for a program for a moment and then sleep on an event, so an
idle model costs nothing. The GIL is released in native code.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable

from lumen_core.errors import LumenError
from lumen_core.runtime.cores import kept_apart, moved_apart, processor
from lumen_core.runtime.link import Library
from lumen_core.runtime.memory import address, allocate
from lumen_core.schedule import team as layout

_POINTER, _NUMBER = ctypes.c_void_p, ctypes.c_int64


def _yield_function() -> int:
    """Address of a C function that lets other threads run."""
    try:
        return ctypes.cast(ctypes.CDLL(None).sched_yield, _POINTER).value or 0
    except (AttributeError, OSError, TypeError):
        return ctypes.cast(ctypes.windll.kernel32.SwitchToThread, _POINTER).value or 0  # type: ignore[attr-defined]


class Team:
    """`threads` threads that run native programs `program(frame, thread, threads)`."""

    def __init__(self, threads: int, library: Library):
        self.threads = threads
        self._library = library
        self._memory = allocate(layout.PARKED + layout.LINE * threads + 64, "thread control")
        self._words = self._memory[: self._memory.nbytes // 8 * 8].view("<i8").data
        self._words[layout.THREADS // 8] = threads
        self.yield_function = _yield_function()
        self._words[layout.YIELD // 8] = self.yield_function
        self._control = address(self._memory)
        self._publish = library.function("publish", _NUMBER, _POINTER)
        self._serve = library.function("serve", _NUMBER, _POINTER, _NUMBER, _NUMBER)
        self._events = [threading.Event() for _ in range(threads)]
        self._step = threading.Lock()  # held while a program runs: nobody may send workers home that it needs
        self._own: frozenset[int] = frozenset()  # processors of thread 0
        self._stopping = False
        self._workers: list[threading.Thread] = []

    def run(self, program: Callable[..., None], entry: int, frame: int) -> None:
        """Run a program on all threads; returns when every thread is through its last barrier.

        Raises LumenError if the team was closed.
        """
        with self._step:
            if self._stopping:
                raise LumenError("the model was closed while it was in use")
            if self.threads == 1:
                program(frame, 0, 1)
                return
            self._start()
            self._words[layout.PROGRAM // 8] = entry
            self._words[layout.FRAME // 8] = frame
            if processor() not in self._own:
                self._own = moved_apart(0, self.threads)
            try:
                self._wake(self._publish(self._control))
            except BaseException:  # Ctrl-C: workers may be in the step already, and wait for this thread
                self._wake(self.threads)
                raise
            finally:
                program(frame, 0, self.threads)

    def _start(self) -> None:
        while len(self._workers) < self.threads - 1:
            number = len(self._workers) + 1
            worker = threading.Thread(target=self._work, args=(number,), name=f"lumen-{number}", daemon=True)
            self._workers.append(worker)
            worker.start()

    def _work(self, number: int) -> None:
        generation = 0
        with kept_apart(number, self.threads):
            while not self._stopping:
                generation = self._serve(self._control, number, generation)
                if self._stopping:
                    return
                self._events[number].wait()
                self._events[number].clear()

    def _wake(self, asleep: int) -> None:
        if not asleep:
            return
        for number in range(1, self.threads):
            if self._words[(layout.PARKED + layout.LINE * number) // 8 + 1]:
                self._events[number].set()

    def close(self) -> None:
        """Send the workers home and wait for them, after the step that they may be in."""
        mine = threading.current_thread() in self._workers  # a dropped model may be collected in any thread
        if not self._step.acquire(blocking=not mine):
            threading.Thread(target=self.close, daemon=True).start()  # the step needs this very worker
            return
        try:
            if self._stopping:
                return
            self._stopping = True
            self._words[layout.STOP // 8] = 1
            self._publish(self._control)
            for event in self._events:
                event.set()
        finally:
            self._step.release()
        for worker in self._workers:
            if worker is not threading.current_thread():
                worker.join()
