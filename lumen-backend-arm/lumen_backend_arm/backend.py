"""The ARM backend as one value: which hosts it serves and with which targets, best first."""

from __future__ import annotations

from lumen_backend_arm.detect import detect
from lumen_backend_arm.targets import DOTPROD, I8MM, LINUX, MACHINES, NEON, SVE, SVE2_128, V8_4
from lumen_core.target import Backend

BACKEND = Backend(
    name="arm",
    machines=MACHINES,
    targets=(*SVE, SVE2_128, I8MM, V8_4, DOTPROD, NEON),
    detect=detect,
    systems={"linux": LINUX, "darwin": "arm64-apple-macosx11.0.0"},
)
