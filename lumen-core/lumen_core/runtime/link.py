"""Object code -> callable functions in this process.

One `Library` is one linked set of objects; its code lives as long as the object does. LLVM's linker
maps pages writable while it relocates and executable afterwards, never both.
"""

from __future__ import annotations

import ctypes
import itertools
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import llvmlite.binding as llvm

from lumen_core.codegen.objects import compile_object, host_features, toolchain_version

__all__ = ["Function", "Library", "compile_object", "host_features", "toolchain_version"]

Function = Callable[..., Any]  # native code; arguments are converted as its ctypes signature says

_names = itertools.count()
_lock = threading.Lock()


@lru_cache(maxsize=1)
def _linker() -> llvm.LLJIT:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.create_lljit_compiler(use_jit_link=True)


class Library:
    """Compiled objects, linked; `address(symbol)` gives an entry point."""

    def __init__(self, objects: Sequence[bytes], symbols: Sequence[str]):
        builder = llvm.JITLibraryBuilder()
        for content in objects:
            builder.add_object_img(content)
        builder.add_current_process()
        for symbol in symbols:
            builder.export_symbol(symbol)
        with _lock:
            self._tracker = builder.link(_linker(), f"lumen{next(_names)}")
        self._addresses = {symbol: self._tracker[symbol] for symbol in symbols}

    def address(self, symbol: str) -> int:
        return self._addresses[symbol]

    def function(self, symbol: str, result: object, *arguments: object) -> Function:
        """Return a ctypes function (the GIL is released while it runs)."""
        made = ctypes.CFUNCTYPE(result, *arguments)(self._addresses[symbol])  # type: ignore[arg-type]
        made.library = self  # type: ignore[attr-defined]  # keeps the code alive
        return made
