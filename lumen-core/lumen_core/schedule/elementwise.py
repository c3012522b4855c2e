"""Elementwise operations of the tensor IR as kernel arithmetic on f32 values, scalar or vector."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lumen_core.errors import LumenBug
from lumen_core.ir.core import Operation
from lumen_core.ir.kernel import Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.schedule import math


def _sign(builder: Builder, x: Value) -> Value:
    one = builder.constant(x.type, 1.0)
    zero = builder.constant(x.type, 0.0)
    upper = builder.select(builder.compare("gt", x, 0.0), one, zero)
    return builder.select(builder.compare("lt", x, 0.0), builder.constant(x.type, -1.0), upper)


_FUNCTIONS: dict[str, Callable[..., Value]] = {
    "add": Builder.add,
    "sub": Builder.sub,
    "mul": Builder.mul,
    "div": Builder.div,
    "minimum": Builder.minimum,
    "maximum": Builder.maximum,
    "neg": Builder.neg,
    "abs": Builder.abs,
    "sqrt": Builder.sqrt,
    "sign": _sign,
    "exp": math.exp,
    "tanh": math.tanh,
    "silu": math.silu,
    "rsqrt": math.rsqrt,
    "select": Builder.select,
}


def emit_elementwise(builder: Builder, operation: Operation, operands: Sequence[Value]) -> Value:
    """Return `operation` of values that all have the same lanes."""
    if operation.name == "compare":
        x, y = operands
        return builder.compare(str(operation.attributes["predicate"]), x, y)
    if operation.name == "convert" and operation.attributes["element"] == "f32":
        return operands[0]
    function = _FUNCTIONS.get(operation.name)
    if function is None:
        raise LumenBug(f"no kernel form for the elementwise operation {operation.name}")
    return function(builder, *operands)
