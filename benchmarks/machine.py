"""What a page of measurements says about the machine and the programs it was made with."""

from __future__ import annotations

import datetime
import os
import platform

import lumen_core


def machine() -> str:
    """Day, processor, system and versions, for the head of a page."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    processor = f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores"
    return (
        f"{datetime.date.today().isoformat()}: {processor}, {platform.system()},\n"
        f"Python {platform.python_version()}, lumen {lumen_core.__version__}"
    )
