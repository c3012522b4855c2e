"""What the host has, asked of the system itself: Linux's auxiliary vector and SVE length, macOS's sysctl."""

from __future__ import annotations

import ctypes
import sys

# sysctl's names below hw.optional.arm, as LLVM spells the features
_APPLE = {
    "FEAT_DotProd": "dotprod", "FEAT_LSE": "lse", "FEAT_I8MM": "i8mm", "FEAT_BF16": "bf16",
    "FEAT_FlagM": "flagm",
}  # fmt: skip
_HARDWARE, _HARDWARE_2 = 16, 26  # getauxval's AT_HWCAP and AT_HWCAP2
# Their bits in Linux's arch/arm64 interface.
_BITS = {1: "neon", 8: "lse", 20: "dotprod", 22: "sve", 27: "flagm"}
_BITS_2 = {1: "sve2", 13: "i8mm", 14: "bf16"}
_GET_VECTOR_LENGTH, _LENGTH = 51, 0xFFFF  # prctl(PR_SVE_GET_VL), the bytes in its answer


def detect() -> frozenset[str]:
    """Return features and facts of this machine beside those that LLVM finds."""
    if sys.platform == "darwin":
        names = {feature for name, feature in _APPLE.items() if _sysctl(f"hw.optional.arm.{name}")}
        return frozenset(names | {"neon"})
    if sys.platform == "linux":
        try:
            system = ctypes.CDLL(None, use_errno=True)
            system.getauxval.restype = ctypes.c_ulong
            first, second = (system.getauxval(ctypes.c_ulong(kind)) for kind in (_HARDWARE, _HARDWARE_2))
            return linux_features(first, second, system.prctl(_GET_VECTOR_LENGTH, 0, 0, 0, 0))
        except (OSError, AttributeError):  # another C library: what LLVM finds must do
            return frozenset()
    return frozenset()


def linux_features(hardware: int, hardware_2: int, length: int) -> frozenset[str]:
    """Features by both words of the auxiliary vector, and the answer about SVE's length (negative: none)."""
    found = {name for bit, name in _BITS.items() if hardware >> bit & 1}
    found |= {name for bit, name in _BITS_2.items() if hardware_2 >> bit & 1}
    if length > 0:
        found.add(f"sve-{8 * (length & _LENGTH)}")
    return frozenset(found)


def _sysctl(name: str) -> bool:
    """Tell whether a system value of macOS is there and not 0."""
    value, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
    failed = ctypes.CDLL(None).sysctlbyname(
        name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)
    )
    return not failed and bool(value.value)
