"""The machines of the x86 family: a target is a CPU level plus the rows whose features it has.

`cpu` names the architecture levels (x86-64-v3, -v4), never a product: a product's name would let LLVM
use instructions that are not in `features`, and a host is judged by `features` alone.
On a host of the family the triple is empty, so that its own object format is made; elsewhere it is Linux's.
"""

from __future__ import annotations

import platform

from lumen_backend_x86.instructions import ROWS
from lumen_core.target import Target, usable_rows

MACHINES = ("x86_64", "amd64")
LINUX = "x86_64-unknown-linux-gnu"

_LEVEL_3 = ("avx2", "bmi", "bmi2", "f16c", "fma", "lzcnt", "movbe")
_LEVEL_4 = (*_LEVEL_3, "avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl")
# Otherwise the word dot product becomes a multiplication and an addition: a third more time on Zen 5.
_TUNING = ("fast-dpwssd",)


def _target(
    name: str, cpu: str, features: tuple[str, ...], vector_bytes: int, cache_bytes: tuple[int, ...]
) -> Target:
    wide = vector_bytes == 64
    return Target(
        name=name,
        triple="" if platform.machine().lower() in MACHINES else LINUX,
        cpu=cpu,
        features=features,
        vector_bytes=vector_bytes,
        registers=32 if wide else 16,
        broadcast_memory=wide,
        cache_bytes=cache_bytes,
        instructions=usable_rows(ROWS, features, vector_bytes),
        tuning=_TUNING,
    )


# Sapphire Rapids and later; Zen 4 and later.
AVX512_BF16 = _target(
    "x86-avx512-bf16",
    "x86-64-v4",
    (*_LEVEL_4, "avx512vnni", "avx512bf16", "avx512vbmi", "gfni"),
    64,
    (48 << 10, 1 << 20),
)
# Cascade Lake, Cooper Lake; Ice Lake server and client, Rocket Lake.
AVX512_VNNI = _target("x86-avx512-vnni", "x86-64-v4", (*_LEVEL_4, "avx512vnni"), 64, (32 << 10, 1 << 20))
# Alder Lake and later clients, Sierra Forest.
AVX_VNNI = _target("x86-avx-vnni", "x86-64-v3", (*_LEVEL_3, "avxvnni"), 32, (32 << 10, 1 << 20))
# Haswell and later, Zen 1 and later.
AVX2 = _target("x86-avx2", "x86-64-v3", _LEVEL_3, 32, (32 << 10, 256 << 10))
