"""Kernels of 64-bit ARM on another machine: linked by a cross compiler and run under qemu.

`emulated(kernel, target)` is called as a kernel compiled for this machine is: with numpy arrays and numbers.
One emulator process per kind of processor stays alive and takes one call after the other.
"""

from __future__ import annotations

import atexit
import os
import shutil
import struct
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from itertools import count
from pathlib import Path

import numpy as np

from lumen_backend_arm.backend import BACKEND
from lumen_core.codegen.llvm import emit_llvm
from lumen_core.codegen.objects import compile_object
from lumen_core.ir.kernel import Kernel
from lumen_core.target import Target

GCC, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
LIBRARIES = "/usr/aarch64-linux-gnu"
# The weakest processor that has a target's features: more would hide what the code wrongly counts on.
PROCESSORS = {
    "arm-neon": "cortex-a53",
    "arm-i8mm": "max,sve=off",
    "arm-v8.4": "max,sve=off",
    "arm-dotprod": "neoverse-n1",
    "arm-sve2-128": "max,sve-default-vector-length=16",
    "arm-sve-256": "max,sve-default-vector-length=32",
    "arm-sve-512": "max,sve-default-vector-length=64",
    "arm-sve-1024": "max,sve-default-vector-length=128",
    "arm-sve-2048": "max,sve-default-vector-length=256",
}

MISSING = ", ".join(name for name in (GCC, EMULATOR) if shutil.which(name) is None)
TARGETS: tuple[Target, ...] = () if MISSING else BACKEND.targets


@cache
def folder() -> Path:
    """A directory for what the cross compiler makes, gone with the process."""
    made = Path(tempfile.mkdtemp(prefix="lumen-emulator-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


@cache
def driver() -> Path:
    program = folder() / "driver"
    source = Path(__file__).with_name("emulator_driver.c")
    subprocess.run([GCC, "-O1", "-o", str(program), str(source), "-ldl"], check=True)
    return program


_numbers = count()


def shared_object(objects: Sequence[bytes]) -> Path:
    """Link objects to a shared object of the emulated machine."""
    parts = []
    for content in objects:
        parts.append(folder() / f"part{next(_numbers)}.o")
        parts[-1].write_bytes(content)
    made = folder() / f"kernels{next(_numbers)}.so"
    subprocess.run([GCC, "-shared", "-nostdlib", "-o", str(made), *map(str, parts)], check=True)
    return made


class Emulator:
    """One process that runs kernels on a processor."""

    def __init__(self, processor: str):
        command = [EMULATOR, "-L", LIBRARIES, "-cpu", processor, str(driver())]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        atexit.register(self._process.kill)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def _send(self, *parts: bytes | int) -> None:
        assert self._process.stdin is not None
        for part in parts:
            self._process.stdin.write(part if isinstance(part, bytes) else struct.pack("<q", part))

    def _read(self, size: int) -> bytes:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.flush()
        found = self._process.stdout.read(size)
        if len(found) != size:
            raise RuntimeError(f"the emulated kernel died: {self._process.wait()}")
        return found

    def load(self, objects: Sequence[bytes], symbol: str) -> int:
        path, name = os.fsencode(shared_object(objects)), symbol.encode()
        self._send(ord("L"), len(path), path, len(name), name)
        (address,) = struct.unpack("<q", self._read(8))
        assert address, f"{symbol} cannot be loaded"
        return int(address)

    def call(self, address: int, arguments: Sequence[object]) -> int:
        """Call a function; arrays are copied there and back, one that is part of another with that."""
        arrays: dict[int, np.ndarray] = {}
        self._send(ord("C"), address, len(arguments))
        for number, argument in enumerate(arguments):
            if isinstance(argument, np.ndarray) and (within := _within(argument, arrays)):
                self._send(3, *within)
            elif isinstance(argument, np.ndarray):
                arrays[number] = argument
                assert argument.flags.c_contiguous
                self._send(1, argument.nbytes, argument.ctypes.data % 64, argument.tobytes())
            elif isinstance(argument, list):  # arrays to read, by an array of pointers
                self._send(2, len(argument))
                for array in argument:
                    self._send(array.nbytes, array.ctypes.data % 64, array.tobytes())
            else:
                self._send(0, int(argument or 0))  # type: ignore[call-overload]
        (result,) = struct.unpack("<q", self._read(8))
        for array in arrays.values():
            back = np.frombuffer(self._read(array.nbytes), np.uint8)
            if array.flags.writeable and array.nbytes:
                array.reshape(-1).view(np.uint8)[:] = back
        return int(result)


def _within(part: np.ndarray, arrays: dict[int, np.ndarray]) -> tuple[int, int] | None:
    """The number of the array that holds all of another one's bytes, and where they start in it."""
    start = part.ctypes.data
    for number, whole in arrays.items():
        offset = start - whole.ctypes.data
        if part.nbytes and offset >= 0 and offset + part.nbytes <= whole.nbytes:
            return number, offset
    return None


_running: dict[str, Emulator] = {}


def emulator(target: Target) -> Emulator:
    """The process that emulates a target's processor, a new one where a kernel has killed it."""
    found = _running.get(target.name)
    if found is None or not found.alive:
        found = _running[target.name] = Emulator(PROCESSORS[target.name])
    return found


def emulated(kernel: Kernel, target: Target) -> Callable[..., object]:
    """Return a function of the kernel's parameters, which are given as to `compiled`."""
    machine = emulator(target)
    address = machine.load([compile_object(emit_llvm(kernel, target), target)], kernel.name)
    return lambda *arguments: machine.call(address, arguments)
