"""Pages of a ring come back from staging: attention that needs what they overwrite is done."""

from __future__ import annotations

from lumen_core.ir.kernel import I32, I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.layout import ALIGNMENT
from lumen_core.target import Target


def build_returns(bytes: int, target: Target, name: str = "returns") -> Kernel:
    """Build the kernel that copies a layer's pages of `bytes` each.

    `schedule/__init__.py` says how it is called.
    """
    parameters = [("cache", PTR), ("staging", PTR), ("returns", PTR)]
    kernel = Kernel(name, [*parameters, ("first", I64), ("last", I64)], doc="pages come back from staging")
    b = Builder(kernel)
    cache, staging, returns, first, last = kernel.parameters
    vector = Type("i32", target.lanes)

    def number(entry: Value, at: int) -> Value:
        return b.convert(b.load(I32, entry, at, align=4), "i64")

    with b.loop(first, last) as page:
        entry = b.offset(returns, b.mul(page.index, 8))
        source = b.offset(staging, b.mul(number(entry, 0), bytes))
        to = b.offset(cache, b.mul(number(entry, 4), bytes))
        with b.loop(0, bytes, ALIGNMENT) as part:
            here, there = b.offset(source, part.index), b.offset(to, part.index)
            for at in range(0, ALIGNMENT, vector.bytes):
                b.store(b.load(vector, here, at, align=4), there, at, align=4)
    return kernel
