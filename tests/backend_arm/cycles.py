"""Cycles of the inner loops by llvm-mca, as a share of what each core can multiply: the README's table.

Run by hand: python tests/backend_arm/cycles.py [llvm-mca]. Data is taken to lie in the nearest cache.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from kit.forms import form
from kit.loops import hot_loop, inner_loops, matmul_assembly, products

from lumen_backend_arm.backend import BACKEND
from lumen_core.schedule.matmul import tile_columns
from lumen_core.target import Target

CORES = ("neoverse-v2", "neoverse-n1", "apple-m1")
FORMATS = ("q4_0", "q8_0", "q4_k", "q5_k", "q6_k")
CLOCK = 3.0  # GHz, for bytes a second
ROUNDS = 200


def cycles(loop: Sequence[str], core: str, tool: str) -> float:
    """Cycles of one turn of a loop when it runs for long."""
    text = "\n".join(line for line in loop if not re.match(r"^\s+(b|b\.\w+|cbn?z|tbn?z)\s", line))
    options = ["-all-views=false", "-summary-view", "-mattr=+dotprod", f"-iterations={ROUNDS}"]
    command = [tool, "-mtriple=aarch64-linux-gnu", f"-mcpu={core}", *options]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
    match = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
    assert match is not None, done.stdout
    return int(match[1]) / ROUNDS


def peak(core: str, tool: str) -> float:
    """Dot products a cycle that the model of a core can do."""
    loop = [f"\tsdot v{number}.4s, v16.16b, v17.4b[0]" for number in range(16)]
    return len(loop) / cycles(loop, core, tool)


def dots(loop: Sequence[str]) -> int:
    return sum("dot" in line for line in loop)


def figures(name: str, target: Target, core: str, tool: str) -> str:
    """The share of the peak that GEMM has, and bytes a second that GEMV reads."""
    pieces = form(name).block // 32
    columns = tile_columns(target)
    wide = matmul_assembly(form(name), target, columns)
    loop = hot_loop(wide)
    turn = cycles(loop, core, tool)
    if pieces > 1:  # one activation scale a block is applied in a loop of its own, once for all pieces
        (rest,) = [other for other in inner_loops(wide) if not dots(other) and products(other) == columns]
        turn += cycles(rest, core, tool) / pieces
    share = dots(loop) / (turn * peak(core, tool))
    single = hot_loop(matmul_assembly(form(name), target, 1))
    rate = target.lanes * form(name).block_bytes / pieces / cycles(single, core, tool) * CLOCK
    return f"{100 * share:.0f} %, {rate:.0f} GB/s"


def main() -> None:
    tool = sys.argv[1] if len(sys.argv) > 1 else "llvm-mca"
    (target,) = [target for target in BACKEND.targets if target.name == "arm-dotprod"]
    print("| format | " + " | ".join(CORES) + " |")
    print("| --- " * (1 + len(CORES)) + "|")
    for name in FORMATS:
        cells = " | ".join(figures(name, target, core, tool) for core in CORES)
        print(f"| {name} | {cells} |")


if __name__ == "__main__":
    main()
