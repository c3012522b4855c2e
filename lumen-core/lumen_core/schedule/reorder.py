"""Activations in another order: what meets a weight whose columns are sorted by their group."""

from __future__ import annotations

from lumen_core.ir.kernel import F32, I32, I64, PTR, Kernel
from lumen_core.ir.kernel_builder import Builder


def build_reorder(name: str = "reorder") -> Kernel:
    """Build `name(x, order, output, x_stride, output_stride, length, first, last)`.

    output[t][k] = x[t][order[k]] for first <= t < last: f32, strides in bytes between tokens, order i32.
    """
    numbers = ("x_stride", "output_stride", "length", "first", "last")
    parameters = [("x", PTR), ("order", PTR), ("output", PTR), *((label, I64) for label in numbers)]
    kernel = Kernel(name, parameters, doc="activations in the order of a weight's columns")
    b = Builder(kernel)
    x, order, output, x_stride, output_stride, length, first, last = kernel.parameters
    with b.loop(first, last) as token:
        row = b.offset(x, b.mul(token.index, x_stride))
        to = b.offset(output, b.mul(token.index, output_stride))
        with b.loop(0, length) as k:
            place = b.convert(b.load(I32, order, b.mul(k.index, 4), align=4), "i64")
            b.store(b.load(F32, row, b.mul(place, 4), align=4), to, b.mul(k.index, 4), align=4)
    return kernel
