"""The x86 backend as one value: which hosts it serves and with which targets, best first."""

from __future__ import annotations

from lumen_backend_x86.targets import AVX2, AVX512_BF16, AVX512_VNNI, AVX_VNNI, LINUX, MACHINES
from lumen_core.target import Backend

BACKEND = Backend(
    name="x86",
    machines=MACHINES,
    targets=(AVX512_BF16, AVX512_VNNI, AVX_VNNI, AVX2),
    systems={"linux": LINUX},
)
