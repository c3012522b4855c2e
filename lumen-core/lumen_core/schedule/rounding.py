"""Numbers as the floats of a block can hold them: `quant/stored_floats.py` as kernel IR."""

from __future__ import annotations

from lumen_core.ir.kernel import Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.stored_floats import SMALLEST, largest


def float_bits(b: Builder, value: Value, element: str) -> Value:
    """The bits of f32 numbers, rounded to the nearest even `f16` or `bf16` (i16), or as they are (i32)."""
    if element == "f32":
        return b.bitcast(value, value.type.of("i32"))
    if element == "f16":
        return b.bitcast(b.convert(value, "f16"), value.type.of("i16"))
    bits = b.bitcast(value, value.type.of("i32"))
    odd = b.bitand(b.shr(bits, 16), 1)
    return b.convert(b.shr(b.add(b.add(bits, 0x7FFF), odd), 16), "i16")


def bits_value(b: Builder, bits: Value, element: str) -> Value:
    """The f32 numbers that bits stand for."""
    if element == "f32":
        return b.bitcast(bits, bits.type.of("f32"))
    if element == "f16":
        return b.convert(b.bitcast(bits, bits.type.of("f16")), "f32")
    return b.bitcast(b.shl(b.convert(bits, "i32", signed=False), 16), bits.type.of("f32"))


def rounded(b: Builder, value: Value, element: str) -> tuple[Value, Value]:
    """The nearest numbers that `f16`, `bf16` or `f32` holds, and their bits.

    Beyond the largest it is the largest, and nothing but 0 becomes 0.
    """
    zero = b.constant(value.type, 0.0)
    size = b.maximum(b.minimum(b.abs(value), largest(element)), SMALLEST[element])
    size = b.select(b.compare("eq", value, 0.0), zero, size)
    bits = float_bits(b, b.select(b.compare("lt", value, 0.0), b.neg(size), size), element)
    return bits_value(b, bits, element), bits
