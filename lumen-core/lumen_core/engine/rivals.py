"""Other engines beside ours on the same file, through their own packages: llama.cpp by llama-cpp-python.

llama.cpp has two ways to hold weights, repacked for its matrix kernels or as they are in the file; which is
faster depends on format and machine, so both run.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from lumen_core.errors import LumenError, PluginError

if TYPE_CHECKING:
    from lumen_core.engine.model import Model


@contextmanager
def rivals(name: str | None, model: Model) -> Iterator[list[LlamaCpp]]:
    """Open the engines that `name` stands for on the model's file, with its threads and context."""
    if name is None:
        yield []
        return
    if name not in ("llama.cpp", "llama-cpp"):
        raise LumenError(f"unknown engine {name}; known: llama.cpp")
    try:
        import llama_cpp
    except ImportError:
        raise PluginError(
            "llama.cpp is not installed; `pip install llama-cpp-python` builds it for this machine"
        ) from None
    with ExitStack() as opened:
        found = []
        for repack in (True, False):
            engine = LlamaCpp(llama_cpp, model, repack)
            opened.callback(engine.close)
            found.append(engine)
        yield found


class LlamaCpp:
    """One llama.cpp context."""

    def __init__(self, library: ModuleType, model: Model, repack: bool):
        self.library: Any = library
        self.name = f"llama.cpp {library.__version__}{'' if repack else ', not repacked'}"
        self._silence = library.llama_log_callback(lambda *_: None)
        library.llama_log_set(self._silence, ctypes.c_void_p(0))
        library.llama_backend_init()
        loading = library.llama_model_default_params()
        loading.use_extra_bufts = repack
        self._model = library.llama_model_load_from_file(str(model.path).encode(), loading)
        if not self._model:
            raise LumenError(f"llama.cpp cannot load {model.path}")
        settings = library.llama_context_default_params()
        threads = model.describe()["threads"]
        settings.n_ctx = settings.n_batch = model.context
        settings.n_threads = settings.n_threads_batch = threads
        self._context = library.llama_init_from_model(self._model, settings)
        self._memory = library.llama_get_memory(self._context)
        self._before: list[int] | None = None  # what is in the cache of the last test

    def speed(self, before: Sequence[int], ids: Sequence[int], generated: int) -> float:
        """Tokens a second: of taking `ids` in behind `before`, or of generating after them (no sampling)."""
        if list(before) != self._before:
            self.library.llama_memory_clear(self._memory, True)
            if before:
                self._decode(before)
            self._before = list(before)
        self.library.llama_memory_seq_rm(self._memory, -1, len(before), -1)
        started = time.perf_counter()
        self._decode(ids)
        if not generated:
            return len(ids) / (time.perf_counter() - started)
        started = time.perf_counter()
        for _ in range(generated):
            self._decode(ids[-1:])
        return generated / (time.perf_counter() - started)

    def _decode(self, ids: Sequence[int]) -> None:
        tokens = (self.library.llama_token * len(ids))(*ids)
        if self.library.llama_decode(self._context, self.library.llama_batch_get_one(tokens, len(ids))) != 0:
            raise LumenError("llama.cpp refuses the tokens")
        self.library.llama_synchronize(self._context)

    def close(self) -> None:
        self.library.llama_free(self._context)
        self.library.llama_model_free(self._model)
