"""How LLVM writes the types, constants and conversions of the kernel IR."""

from __future__ import annotations

import struct

from lumen_core.ir.kernel import Type

_LLVM = {"f16": "half", "bf16": "bfloat", "f32": "float", "f64": "double"}


def llvm_type(type: Type) -> str:
    """Return the LLVM spelling of a kernel IR type."""
    element = _LLVM.get(type.element, type.element)
    return element if type.lanes == 1 else f"<{type.lanes} x {element}>"


def llvm_suffix(type: Type) -> str:
    """Return how an overloaded intrinsic names the type: `v16f32`."""
    element = type.element
    return element if type.lanes == 1 else f"v{type.lanes}{element}"


def llvm_symbol(name: str) -> str:
    """Return a function's name; one with other characters than an identifier's is quoted."""
    return f"@{name}" if name.isidentifier() else f'@"{name}"'


def llvm_literal(type: Type, value: int | float) -> str:
    """Return a constant of the type's element; floats as their bits, so that nothing is rounded twice."""
    if type.element in ("f32", "f64"):
        single = struct.unpack("f", struct.pack("f", value))[0] if type.element == "f32" else float(value)
        return "0x" + struct.pack(">d", single).hex().upper()
    if type.element == "f16":
        return "0xH" + struct.pack(">e", value).hex().upper()
    if type.element == "i1":
        return "true" if value else "false"
    if type.element == "ptr":
        return "null"
    return str(int(value))


def llvm_conversion(source: Type, result: Type, signed: bool) -> str:
    """Return the LLVM instruction that converts one element type to another."""
    if source.is_float and result.is_float:
        return "fpext" if result.bytes > source.bytes else "fptrunc"
    if source.is_float:
        return "fptosi" if signed else "fptoui"
    if result.is_float:
        return "sitofp" if signed else "uitofp"
    if result.bytes < source.bytes or result.element == "i1":
        return "trunc"
    return "sext" if signed else "zext"
