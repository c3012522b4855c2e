"""Compile a kernel for this machine and call it with numpy arrays: what the schedule tests share."""

from __future__ import annotations

import ctypes
from collections.abc import Callable

import numpy as np

from lumen_backend_x86.backend import BACKEND
from lumen_core.codegen.llvm import emit_llvm
from lumen_core.codegen.objects import compile_assembly, compile_object, host_features
from lumen_core.ir.kernel import Kernel
from lumen_core.runtime.link import Library
from lumen_core.target import Target

TARGETS: tuple[Target, ...] = BACKEND.usable("x86_64", host_features())

_RESULTS = {None: None, "i32": ctypes.c_int32, "i64": ctypes.c_int64, "f32": ctypes.c_float}
_ARGUMENTS = {"ptr": ctypes.c_void_p, "i64": ctypes.c_int64, "i32": ctypes.c_int32, "f32": ctypes.c_float}


def compiled(kernel: Kernel, target: Target) -> Callable[..., object]:
    """Return a function of the kernel's parameters; a pointer is given as a numpy array or None.

    A list of arrays is given for a pointer to their addresses.
    """
    if target.name.startswith("arm"):  # another machine's
        from kit.emulator import emulated

        return emulated(kernel, target)
    library = Library([compile_object(emit_llvm(kernel, target), target)], [kernel.name])
    kinds = [_ARGUMENTS[parameter.type.element] for parameter in kernel.parameters]
    result = kernel.result.element if kernel.result else None
    function = library.function(kernel.name, _RESULTS[result], *kinds)

    def call(*arguments: object) -> object:
        lists = {n: _addresses(item) for n, item in enumerate(arguments) if isinstance(item, list)}
        given = [lists.get(number, item) for number, item in enumerate(arguments)]
        return function(*(item.ctypes.data if isinstance(item, np.ndarray) else item for item in given))

    return call


def _addresses(arrays: list[np.ndarray]) -> np.ndarray:
    return np.array([array.ctypes.data for array in arrays], np.int64)


def assembly(kernel: Kernel, target: Target) -> str:
    return compile_assembly(emit_llvm(kernel, target), target)
