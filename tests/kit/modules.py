"""Hypothesis strategies for functions of the tensor IR that verify, with arguments to run them on."""

from __future__ import annotations

import numpy as np
from hypothesis import strategies as st

from lumen_core.ir import Builder, Function, Module, Value
from lumen_core.types import TensorType

WIDTH, HEADS, HEAD = 32, 2, 16
TOKENS = TensorType.of("f32", "T", WIDTH)
SPLIT = TensorType.of("f32", "T", HEADS, HEAD)
COLUMN = TensorType.of("f32", "T", 1)

# kind of step -> type of the operand that it needs
STEPS = {
    "unary": None, "binary": None, "weight": TOKENS, "scalar": None, "column": TOKENS, "norm": TOKENS,
    "split": TOKENS, "merge": SPLIT, "linear": TOKENS, "rope": SPLIT, "head_mean": SPLIT, "attention": SPLIT,
}  # fmt: skip


@st.composite
def functions(draw: st.DrawFn, most: int = 24) -> Function:
    """A function of tokens, heads and weights that mixes what transformer blocks are made of."""
    builder = Builder()
    values = [builder.argument(TOKENS, "x"), builder.argument(TOKENS, "y")]
    weight = builder.argument(TensorType.of("f32", WIDTH), "weight")
    matrix = builder.argument(TensorType.of("f32", WIDTH, WIDTH), "matrix")
    positions = builder.argument(TensorType.of("i32", "T"), "positions")
    factors = builder.argument(TensorType.of("f32", 4), "factors")
    for kind in draw(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=most)):
        needed = STEPS[kind]
        fitting = [value for value in values if needed is None or value.type == needed]
        if not fitting:
            continue
        value = draw(st.sampled_from(fitting[-4:]))
        values.append(_step(draw, builder, kind, value, values, (weight, matrix, positions, factors)))
    count = draw(st.integers(1, 3))
    builder.block.results = values[-count:]
    return Function("f", builder.block)


def _step(
    draw: st.DrawFn, builder: Builder, kind: str, value: Value, values: list[Value], given: tuple[Value, ...]
) -> Value:
    weight, matrix, positions, factors = given
    emit = builder.emit
    match kind:
        case "unary":
            return emit(draw(st.sampled_from(["neg", "abs", "silu", "sign"])), value)
        case "binary":
            other = draw(st.sampled_from([item for item in values if item.type == value.type]))
            return emit(draw(st.sampled_from(["add", "sub", "minimum", "maximum"])), value, other)
        case "weight":
            return emit(draw(st.sampled_from(["add", "mul"])), value, weight)
        case "scalar":
            number = draw(st.sampled_from([0.5, 1.0, -2.0]))
            return emit("mul", value, emit("constant", value=number))
        case "column" | "head_mean":
            return emit("sub", value, emit("mean", value))
        case "norm":
            square = emit("mean", emit("mul", value, value))
            return emit("mul", value, emit("rsqrt", emit("add", square, emit("constant", value=1e-3))))
        case "split":
            return emit("reshape", value, shape=("T", HEADS, HEAD))
        case "merge":
            return emit("reshape", value, shape=("T", WIDTH))
        case "linear":
            activation = draw(st.sampled_from(["i8g32", "f32"]))
            x = emit("dequantize", emit("quantize", value, activation=activation))
            return emit("matmul", x, emit("dequantize", emit("unpack", matrix)))
        case "rope":
            return emit("rope", value, positions, factors, theta=100.0, pairs="interleaved")
        case "attention":
            return emit("attention", value, value, value, scale=0.25)
    raise AssertionError(kind)


@st.composite
def modules(draw: st.DrawFn) -> Module:
    return Module([draw(functions())])


def arrays(tokens: int = 3, seed: int = 0) -> list[np.ndarray]:
    """Return arguments for what `functions` makes."""
    random = np.random.default_rng(seed)
    x, y = random.standard_normal((2, tokens, WIDTH)).astype(np.float32)
    weight = random.standard_normal(WIDTH).astype(np.float32)
    matrix = (random.standard_normal((WIDTH, WIDTH)) / 6).astype(np.float32)
    return [x, y, weight, matrix, np.arange(tokens, dtype=np.int32), np.ones(4, np.float32)]
