"""Worker threads: whoever closes a team, it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from lumen_core.engine.loading import load
from lumen_core.engine.synth import synthesize


def test_a_worker_may_be_the_one_that_closes(tmp_path: Path) -> None:
    """Garbage is collected in any thread that runs Python, also in a worker of the very model."""
    sizes = {"layers": 1, "width": 64, "heads": 2, "kv_heads": 1, "head": 32, "hidden": 64}
    path = synthesize("llama-tiny", tmp_path / "m.gguf", "q8_0", overrides=sizes)
    model = load(path, threads=3, cache=tmp_path)
    model.generate("a", max_tokens=2)
    team = model._team
    failures: list[threading.ExceptHookArgs] = []
    before: Callable[[threading.ExceptHookArgs], object] = threading.excepthook
    threading.excepthook = failures.append
    try:
        event, wait = team._events[1], team._events[1].wait
        done = threading.Event()  # a worker that sleeps between two steps must not close the team

        def closing(timeout: float | None = None) -> bool:
            if done.is_set():
                team.close()
            return wait(timeout)

        event.wait = closing  # type: ignore[method-assign]
        workers = list(team._workers)
        model.generate("a", max_tokens=2)
        done.set()
        event.set()  # it may sleep already
        for worker in workers:
            worker.join(5)
    finally:
        threading.excepthook = before
    assert not failures
    assert not any(worker.is_alive() for worker in workers)
    model.close()
