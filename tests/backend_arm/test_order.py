"""What threads exchange goes through ordered instructions, with and without one-step atomics."""

from __future__ import annotations

import re

import pytest
from core.schedule.compiled import assembly

from lumen_backend_arm.targets import DOTPROD, NEON
from lumen_core.ir.kernel import I64, PTR, Kernel
from lumen_core.ir.kernel_builder import Builder
from lumen_core.schedule.team import build_publish, build_serve
from lumen_core.target import Target

ORDERED = {
    "arm-dotprod": {"ldaddal", "swpal", "ldar", "stlr"},
    "arm-neon": {"ldaxr", "stlxr", "ldar", "stlr"},
}
ATOMIC = re.compile(
    r"^\t(ld(?:add|clr|set|ax?r|ar|apr)\w*|sw[pa]\w*|cas\w*|st(?:lr|lxr|xr|lur)\w*|dmb)\s", re.M
)


def both_ways() -> Kernel:
    """Every atomic operation of the kernel IR once."""
    kernel = Kernel("atomics", [("place", PTR)], I64)
    b = Builder(kernel)
    (place,) = kernel.parameters
    added = b.atomic("add", place, b.i64(1))
    swapped = b.atomic("xchg", place, added)
    b.atomic_store(swapped, place)
    b.ret(b.atomic_load(I64, place))
    return kernel


@pytest.mark.parametrize("target", [DOTPROD, NEON], ids=lambda target: target.name)
def test_atomics_acquire_and_release(target: Target) -> None:
    wanted = ORDERED[target.name]
    assert set(ATOMIC.findall(assembly(both_ways(), target))) == wanted
    for kernel in (build_serve(), build_publish()):
        found = set(ATOMIC.findall(assembly(kernel, target)))
        assert found and found <= wanted
