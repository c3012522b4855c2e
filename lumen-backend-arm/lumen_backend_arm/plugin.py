"""What this package tells Lumen: one backend."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lumen_core.plugins.hookspecs import hookimpl

if TYPE_CHECKING:
    from lumen_core.target import Backend


@hookimpl
def lumen_backends() -> list[Backend]:
    from lumen_backend_arm.backend import BACKEND

    return [BACKEND]
