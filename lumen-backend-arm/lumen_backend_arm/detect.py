"""What the host has that LLVM does not say: features on macOS, the length of SVE's vectors on Linux."""

from __future__ import annotations

import ctypes
import sys

# sysctl's names below hw.optional.arm, as LLVM spells the features
_APPLE = {
    "FEAT_DotProd": "dotprod", "FEAT_LSE": "lse", "FEAT_I8MM": "i8mm", "FEAT_BF16": "bf16",
}  # fmt: skip
_GET_VECTOR_LENGTH, _LENGTH = 51, 0xFFFF  # prctl(PR_SVE_GET_VL), the bytes in its answer


def detect() -> frozenset[str]:
    """Return features and facts of this machine beside those that LLVM finds."""
    if sys.platform == "darwin":
        names = {feature for name, feature in _APPLE.items() if _sysctl(f"hw.optional.arm.{name}")}
        return frozenset(names | {"neon"})
    if sys.platform == "linux":
        try:
            length = ctypes.CDLL(None, use_errno=True).prctl(_GET_VECTOR_LENGTH, 0, 0, 0, 0)
        except (OSError, AttributeError):
            return frozenset()
        return frozenset({f"sve-{8 * (length & _LENGTH)}"} if length > 0 else ())
    return frozenset()


def _sysctl(name: str) -> bool:
    """Tell whether a system value of macOS is there and not 0."""
    value, size = ctypes.c_int(0), ctypes.c_size_t(ctypes.sizeof(ctypes.c_int))
    failed = ctypes.CDLL(None).sysctlbyname(
        name.encode(), ctypes.byref(value), ctypes.byref(size), None, ctypes.c_size_t(0)
    )
    return not failed and bool(value.value)
