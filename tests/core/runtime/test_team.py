"""Worker threads: whoever closes a team, it ends."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from lumen_core.engine.loading import load
from lumen_core.engine.synth import synthesize
from lumen_core.errors import LumenError


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


def test_closing_waits_for_the_step_that_runs(tmp_path: Path) -> None:
    """Another thread closes the team in the middle of an answer: it ends with an error, and nobody waits."""
    sizes = {"layers": 4, "width": 64, "heads": 2, "kv_heads": 1, "head": 32, "hidden": 64}
    path = synthesize("llama-tiny", tmp_path / "m.gguf", "q8_0", overrides=sizes)
    for _ in range(4):
        model = load(path, threads=3, cache=tmp_path)
        model.generate("a", max_tokens=2)
        closing = threading.Thread(target=model._team.close, daemon=True)
        closing.start()
        with pytest.raises(LumenError, match="was closed while it was in use"):
            deque((model.generate("a", max_tokens=64, ignore_end=True) for _ in count()), maxlen=0)
        closing.join(10)
        assert not closing.is_alive()
        model.close()


def test_an_interrupt_between_sending_and_joining_a_step(tmp_path: Path) -> None:
    """Ctrl-C is raised wherever Python runs, also when the workers have a step and this thread has not."""
    sizes = {"layers": 1, "width": 64, "heads": 2, "kv_heads": 1, "head": 32, "hidden": 64}
    path = synthesize("llama-tiny", tmp_path / "m.gguf", "q8_0", overrides=sizes)
    with load(path, threads=3, cache=tmp_path) as model:
        expected = model.generate("a", max_tokens=2, temperature=0.0).text
        team = model._team
        publish = team._publish

        def interrupted(*arguments: int) -> None:
            publish(*arguments)
            raise KeyboardInterrupt

        team._publish = interrupted
        with pytest.raises(KeyboardInterrupt):
            model.generate("b", max_tokens=2)
        team._publish = publish
        assert model.generate("a", max_tokens=2, temperature=0.0).text == expected
