"""A model ready to run: from the name of a file, a directory or a model on the hub to a `Model`.

In: a name and what is asked of the machine.  Out: weights mapped and packed, programs compiled and linked,
the tokenizer built, threads and memory at hand.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from lumen_core.engine.binding import context_length
from lumen_core.engine.memory import Memory
from lumen_core.engine.model import Model
from lumen_core.engine.session import compile_model
from lumen_core.engine.sources import open_model, read_vocabulary
from lumen_core.engine.targets import choose_target
from lumen_core.errors import LumenError
from lumen_core.plugins.registry import Registry
from lumen_core.runtime.cache import ObjectCache, default_directory
from lumen_core.runtime.cores import available_threads
from lumen_core.runtime.team import Team
from lumen_core.text.tokenizer import Tokenizer, build

Progress = Callable[[str, int, int], None]


def load(
    path: str | Path,
    *,
    threads: int | None = None,
    context: int | None = None,
    sequences: int = 1,
    kv_format: str | None = None,
    target: str | None = None,
    progress: Progress | None = None,
    profile: bool = False,
    registry: Registry | None = None,
    cache: Path | None = None,
    revision: str | None = None,
) -> Model:
    """Open a model file, compile its programs and pack its weights.

    Args:
        path: a model file, a checkpoint directory, the name of a shipped model (`demo`), or of one on the hub
            (`org/name`, `hf:org/name:Q4_K_M`).
        threads: native threads; None takes the cores that this process may use.
        context: tokens that prompt and answer together may have; None takes the model's own, at most 4096.
        sequences: answers of that length that the cache has room for at once (`Model.batch`); shorter ones
            share the room of one.
        kv_format: how keys and values are kept (`q8_0`, or `q8_0:q4_0`); None: as the model's page says.
        target: a target's name; None takes LUMEN_TARGET or the best that the machine runs.
        progress: called with (what, done, total) while loading.
        profile: compile programs that measure where their time goes (`Model.profile`).
        cache: directory of compiled objects; None takes the user's.
        revision: branch, tag or commit of a model on the hub.

    Raises:
        ModelFormatError, ModelError, UnsupportedFormatError, TargetError, OutOfMemoryError.
    """
    registry = registry or Registry.load()
    threads = available_threads() if threads is None else _counted("threads", threads)
    _counted("sequences", sequences)
    chosen = choose_target(registry, target or os.environ.get("LUMEN_TARGET") or None)
    file = open_model(path, registry, progress, revision)
    try:
        objects = ObjectCache(cache or default_directory())
        tokenizer = build(file.metadata)
        # The merge tables take as long as packing a small model: build them meanwhile.
        preparing = threading.Thread(target=_prepare, args=(tokenizer,), name="lumen-tokenizer")
        preparing.start()
        try:
            (progress or _silent)("compiling", 0, 1)
            session = compile_model(
                registry, file, chosen, threads, objects, profile=profile, kv_format=kv_format
            )
            team = Team(threads, session.library)
            window = context_length(context, session.bound)
            memory = Memory(
                session, file, window, threads, team.yield_function, progress or _silent, sequences
            )
        finally:
            preparing.join()
        family = registry.chat_family(file.architecture, frozenset(tokenizer.vocabulary))
        return Model(file, session, memory, team, tokenizer, family)
    except BaseException:
        file.close()
        raise


def load_tokenizer(path: str | Path) -> Tokenizer:
    """Return the tokenizer of a model; a file or directory without weights will do."""
    return build(read_vocabulary(path, Registry.load()))


def _prepare(tokenizer: Tokenizer) -> None:
    with suppress(LumenError):  # raised again, in the caller's thread, by the first text
        tokenizer.prepare()


def _silent(what: str, done: int, total: int) -> None:
    pass


def _counted(what: str, asked: int) -> int:
    if not isinstance(asked, int) or not 1 <= asked <= 1024:
        raise LumenError(f"{what} must be a whole number from 1 to 1024, found {asked!r}")
    return asked
