"""LLVM IR text -> machine code for a target, through llvmlite.

No middle-end passes: kernels are emitted in final form, and the pipeline would cost seconds.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache

import llvmlite.binding as llvm

from lumen_core.errors import LumenBug
from lumen_core.target import Target

_lock = threading.Lock()  # LLVM's target registry and contexts are shared by the process


@lru_cache(maxsize=1)
def _initialize() -> None:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()


@lru_cache(maxsize=8)
def target_machine(triple: str, cpu: str, features: str) -> llvm.TargetMachine:
    """Return LLVM's machine for a target; position-independent code with the small code model."""
    _initialize()
    host = triple or llvm.get_process_triple()
    return llvm.Target.from_triple(host).create_target_machine(
        cpu=cpu, features=features, opt=2, reloc="pic", codemodel="small"
    )


def host_features() -> frozenset[str]:
    """Return the CPU features of this machine (CPUID and what the system saves), as LLVM names them."""
    return frozenset(name for name, present in llvm.get_host_cpu_features().items() if present)


def toolchain_version() -> str:
    """Return what besides the kernel decides the machine code."""
    return ".".join(map(str, llvm.llvm_version_info))


def _module(text: str) -> llvm.ModuleRef:
    try:
        module = llvm.parse_assembly(text)
    except RuntimeError as error:
        raise LumenBug(f"LLVM refuses generated code: {error}\n{text}") from error
    return module


@contextmanager
def _code_generator(target: Target) -> Iterator[llvm.TargetMachine]:
    """Give LLVM's machine for a target, for one thread at a time, with its settings as kernels need them.

    Loop strength reduction looks for cheaper addresses. Kernels have them already (a pointer a stream,
    constants behind it), the search takes half of all compile time, and the counters that it adds take
    registers. The option is the whole process's, so it is put back for others who use LLVM in it.
    """
    with _lock:
        machine = target_machine(target.triple, target.cpu, target.feature_string)
        llvm.set_option("lumen", "-disable-lsr=true")
        try:
            yield machine
        finally:
            llvm.set_option("lumen", "-disable-lsr=false")


def compile_object(text: str, target: Target) -> bytes:
    """Return the object file of an LLVM module."""
    with _code_generator(target) as machine:
        return machine.emit_object(_module(text))


def compile_assembly(text: str, target: Target) -> str:
    """Return the assembly listing of an LLVM module."""
    with _code_generator(target) as machine:
        return machine.emit_assembly(_module(text))
