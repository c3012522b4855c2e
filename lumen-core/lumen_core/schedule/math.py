"""Functions of f32 values, scalar or vector, written out in kernel IR arithmetic.

Each takes a builder and values and returns a value of the same type. Exponentials are within 1 ulp;
results below the smallest normal number are 0. A NaN stays one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lumen_core.ir.kernel import Value
from lumen_core.ir.kernel_builder import Builder

LOG2_E = math.log2(math.e)

ROUNDING = 12582912.0  # 1.5 * 2**23: adding it leaves an integer in the low bits, rounded half to even
_HIGH, _LOW = 88.72283, -87.33654  # beyond these e ** x is no normal number
_LN2_HIGH, _LN2_LOW = 0.693145751953125, math.log(2) - 0.693145751953125
# Minimax fits: exp(r) = 1 + r + r**2 * q(r), 2**r = 1 + r * q(r), tanh(x) = x + x**3 * q(x**2).
_EXP = (
    0.4999999403953552,
    0.1666652113199234,
    0.04166838899254799,
    0.008368710055947304,
    0.001381461275741458,
)
_EXP2 = (
    0.6931471824645996,
    0.24022647738456726,
    0.055503323674201965,
    0.00961843691766262,
    0.0013398875016719103,
    0.00015353361959569156,
)
_EXP2_ROUGH = (0.6932829263228797, 0.24221096188726313, 0.05500893469935639)
_TANH = (
    -0.3333328068256378,
    0.13331441581249237,
    -0.05373971536755562,
    0.02063908614218235,
    -0.005704985000193119,
)
_TANH_EDGE = 0.625


def polynomial(builder: Builder, x: Value, coefficients: Sequence[float]) -> Value:
    """Return sum of coefficients[i] * x**i (Horner)."""
    result = builder.constant(x.type, coefficients[-1])
    for coefficient in reversed(coefficients[:-1]):
        result = builder.fma(result, x, builder.constant(x.type, coefficient))
    return result


def _scaled(builder: Builder, value: Value, rounded: Value) -> Value:
    """value * 2**n by adding to its exponent; the low bits of `rounded` (a sum with ROUNDING) are n."""
    integer = value.type.of("i32")
    exponent = builder.shl(builder.bitcast(rounded, integer), 23)
    return builder.bitcast(builder.add(builder.bitcast(value, integer), exponent), value.type)


def exp(builder: Builder, x: Value) -> Value:
    """e ** x."""
    type = x.type
    # the constant stands first so that a NaN passes
    bounded = builder.select(builder.compare("gt", x, _HIGH), builder.constant(type, _HIGH), x)
    bounded = builder.select(builder.compare("lt", bounded, _LOW), builder.constant(type, _LOW), bounded)
    result = _power(builder, bounded)
    result = builder.select(builder.compare("lt", x, _LOW), builder.constant(type, 0.0), result)
    return builder.select(builder.compare("gt", x, _HIGH), builder.constant(type, math.inf), result)


def _power(builder: Builder, x: Value) -> Value:
    """e ** x for _LOW <= x <= _HIGH."""
    type = x.type
    rounded = builder.fma(x, builder.constant(type, LOG2_E), builder.constant(type, ROUNDING))
    n = builder.sub(rounded, ROUNDING)
    r = builder.fma(n, builder.constant(type, -_LN2_HIGH), x)
    r = builder.fma(n, builder.constant(type, -_LN2_LOW), r)
    one = builder.constant(type, 1.0)
    power = builder.fma(builder.fma(polynomial(builder, r, _EXP), r, one), r, one)
    return _scaled(builder, power, rounded)


def exp2_near(builder: Builder, x: Value, shift: Value, rough: bool = False) -> Value:
    """2 ** (x - n) for x - n < 127, and about 2 ** -126 below that; `shift` is ROUNDING - n of an integer n.

    rough  within 1.1e-4 of it, for a result that is rounded to bf16
    """
    rounded = builder.add(x, shift)
    r = builder.sub(x, builder.sub(rounded, shift))
    coefficients = _EXP2_ROUGH if rough else _EXP2
    power = builder.fma(polynomial(builder, r, coefficients), r, builder.constant(x.type, 1.0))
    least = builder.constant(x.type, ROUNDING - 126)
    return _scaled(builder, power, builder.maximum(least, rounded))


def exp2_integer(builder: Builder, n: Value) -> Value:
    """2 ** n for integers n <= 127; 0 for those below -126."""
    integer = builder.convert(builder.maximum(n, -127.0), "i32")
    return builder.bitcast(builder.shl(builder.add(integer, 127), 23), n.type)


def silu(builder: Builder, x: Value) -> Value:
    """x / (1 + e ** -x), and a number of less than 1e-30 where that is less."""
    bounded = builder.maximum(builder.constant(x.type, _LOW), x)  # in this order a NaN passes
    bounded = builder.minimum(builder.constant(x.type, -_LOW), bounded)
    return builder.div(x, builder.add(_power(builder, builder.neg(bounded)), 1.0))


def tanh(builder: Builder, x: Value) -> Value:
    """The hyperbolic tangent: a polynomial near 0, 1 - 2 / (e ** 2|x| + 1) beyond."""
    type = x.type
    square = builder.mul(x, x)
    near = builder.fma(builder.mul(polynomial(builder, square, _TANH), square), x, x)
    size = builder.abs(x)
    power = exp(builder, builder.add(size, size))
    far = builder.sub(
        builder.constant(type, 1.0), builder.div(builder.constant(type, 2.0), builder.add(power, 1.0))
    )
    far = builder.select(builder.compare("lt", x, 0.0), builder.neg(far), far)
    return builder.select(builder.compare("lt", size, _TANH_EDGE), near, far)


def rsqrt(builder: Builder, x: Value) -> Value:
    """1 / sqrt(x)."""
    return builder.div(builder.constant(x.type, 1.0), builder.sqrt(x))
