"""The machines of 64-bit ARM: a target is a set of features plus the rows that these allow.

`cpu` is "generic", never a product: a product's name would let LLVM use instructions that are not in
`features`, and a host is judged by `features` (for SVE: and by its vectors' length) alone.
On a host of the family the triple is empty, so that its own object format is made; elsewhere it is Linux's.
"""

from __future__ import annotations

import platform

from lumen_backend_arm.instructions import ROWS, SVE_BYTES
from lumen_core.target import Target, usable_rows

MACHINES = ("aarch64", "arm64")
# How LLVM orders instructions, not which it may use: for a processor that reorders them itself, so that no
# register is spent on latencies (the generic order spills a fifth of what a wide tile keeps in registers).
TUNING = '"tune-cpu"="neoverse-v2"'
# Not what a processor has but how it is fed: V2 and its kin take in a pair of loads of 16 bytes as three
# operations of six a cycle, two loads as two. On older cores a load is two and a pair three; beside `smmla`
# loads of Apple's cores have no slack but in pairs.
SINGLE_LOADS = ("slow-paired-128",)
LINUX = "aarch64-unknown-linux-gnu"

_NEON = ("neon",)
_DOTPROD = (*_NEON, "dotprod", "lse")
_V8_4 = (*_DOTPROD, "flagm")
_I8MM = (*_DOTPROD, "i8mm", "bf16")  # version 8.6 has both
_SVE = (*_NEON, "lse", "sve")


def _target(
    name: str,
    features: tuple[str, ...],
    vector_bytes: int = 16,
    cache_bytes: tuple[int, ...] = (64 << 10, 1 << 20),
    wide: bool = True,
) -> Target:
    """Return a target; a `wide` core has four vector units and takes in six operations or more a cycle."""
    scale = vector_bytes // 16  # a longer vector is one of SVE
    attributes = [f"vscale_range({scale},{scale})"] if "sve" in features else []
    attributes += [TUNING] if scale == 1 else []
    if "sve2" in features or "flagm" in features:
        listed = ",".join(f"+{name}" for name in (*features, *SINGLE_LOADS))
        attributes.append(f'"target-features"="{listed}"')
    return Target(
        name=name,
        triple="" if platform.machine().lower() in MACHINES else LINUX,
        cpu="generic",
        features=features,
        vector_bytes=vector_bytes,
        registers=32,
        broadcast_memory=False,
        cache_bytes=cache_bytes,
        instructions=usable_rows(ROWS, features, vector_bytes),
        lane_operands=scale == 1,
        byte_shifts=True,
        spare_units=False,
        cheap_loads=wide,
        multiplies=4 if "flagm" in features else 2,
        fast_conversion=False,  # `scvtf` has half the units, and takes two turns on some cores
        attributes=" ".join(attributes),
        facts=(f"sve-{8 * vector_bytes}",) if "sve" in features else (),  # of just this length
    )


# Of every length, the longest first: A64FX has 512 bits, Neoverse V1 (Graviton 3) 256; none has more yet.
# SVE has dot products of bytes of its own.
SVE = tuple(_target(f"arm-sve-{8 * length}", _SVE, length) for length in reversed(SVE_BYTES))
# Neoverse N2 and V2 (Grace, Graviton 4): what NEON has by element or in pairs stays NEON's.
SVE2_128 = _target("arm-sve2-128", (*_I8MM, "sve", "sve2"))
# Apple M2 on, and what lacks SVE of the same age.
I8MM = _target("arm-i8mm", _I8MM)
# What has dot products and nothing newer than version 8.4: Apple M1 and its kin, four vector units wide.
V8_4 = _target("arm-v8.4", _V8_4, cache_bytes=(128 << 10, 4 << 20))
# Neoverse N1, Cortex-A55 and A75 on.
DOTPROD = _target("arm-dotprod", _DOTPROD, wide=False)
# Cortex-A53, A57, A72: Raspberry Pi 3 and 4.
NEON = _target("arm-neon", _NEON, cache_bytes=(32 << 10, 512 << 10), wide=False)
