"""Operations that language models are made of: gathered rows, rotary positions, the cache, attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from lumen_core.ir.core import REQUIRED, Definition, Operation
from lumen_core.ir.operations.values import Context, require
from lumen_core.types import TensorType

PAIRS = ("half", "interleaved")


def _rows_rule(operation: Operation) -> tuple[TensorType, ...]:
    table, ids = (value.type for value in operation.operands)
    require(table.element == "f32" and len(table.shape) == 2, f"rows needs a table of f32, found {table}")
    require(ids.element == "i32" and len(ids.shape) == 1, f"rows needs ids of type i32, found {ids}")
    return (TensorType("f32", (ids.shape[0], table.shape[1])),)


def _rope_rule(operation: Operation) -> tuple[TensorType, ...]:
    x, positions, factors = (value.type for value in operation.operands)
    pairs = operation.attributes["pairs"]
    require(pairs in PAIRS, f"rope pairs are {' or '.join(PAIRS)}, found {pairs}")
    theta = operation.attributes["theta"]
    require(isinstance(theta, int | float) and theta > 0, "rope needs a number above 0 as theta")
    for name in (*SCALING, "magnitude"):
        number = operation.attribute(name)
        require(isinstance(number, int | float) and number >= 0, f"rope needs a number as {name}")
    require(operation.attribute("factor") > 0, "rope needs a factor above 0")
    require(x.element == "f32" and len(x.shape) == 3, f"rope needs f32[T, H, E], found {x}")
    tokens = positions.shape == x.shape[:1] and positions.element == "i32"
    require(tokens, f"rope needs one position of type i32 per token of {x}, found {positions}")
    require(factors.element == "f32" and len(factors.shape) == 1, f"rope needs f32[R / 2], found {factors}")
    rotated, size = (factors.shape[0] * 2).value, x.shape[2].value
    fits = rotated is None or size is None or rotated <= size
    require(fits, f"rope rotates {rotated} elements of heads that have {size}")
    return (x,)


def frequencies(
    pairs: int,
    theta: float,
    factor: float = 1.0,
    original: float = 0.0,
    fast: float = 32.0,
    slow: float = 1.0,
) -> np.ndarray:
    """Return how fast each pair turns per position, float64 (RoFormer, eq. 15; YaRN, eq. 17 to 23).

    The first pairs turn fastest. With `original` trained positions, those with more than `fast` turns in them
    keep their speed and those with less than `slow` are divided by `factor`, with a ramp between; without
    it all are.
    """
    index = np.arange(pairs, dtype=np.float64)
    plain = float(theta) ** (-index / max(pairs, 1))
    if factor == 1.0:
        return plain
    if not original:
        return plain / factor

    def pair_with(turns: float) -> float:
        return pairs * math.log(original / (turns * 2 * math.pi)) / math.log(theta)

    first = max(math.floor(pair_with(fast)), 0)
    last = min(math.ceil(pair_with(slow)), 2 * pairs - 1)
    ramp = np.clip((index - first) / max(last - first, 0.001), 0, 1)
    return plain * (ramp / factor + 1 - ramp)


SCALING = {"factor": 1.0, "original": 0.0, "fast": 32.0, "slow": 1.0}  # attributes of rope, with defaults


def _rope(context: Context, operation: Operation, arrays: Sequence[Any]) -> tuple:
    x, positions, factors = arrays
    half = len(factors)
    theta = float(operation.attributes["theta"])  # type: ignore[arg-type]
    scaling = {name: float(operation.attribute(name)) for name in SCALING}
    # float64 up to the sine: what every engine approximates
    angles = positions[:, None, None].astype(np.float64) * (frequencies(half, theta, **scaling) / factors)
    magnitude = float(operation.attribute("magnitude"))
    cos, sin = ((magnitude * turned(angles)).astype(np.float32) for turned in (np.cos, np.sin))
    out = x.copy()
    if operation.attributes["pairs"] == "half":
        first, second = slice(0, half), slice(half, 2 * half)
    else:
        first, second = slice(0, 2 * half, 2), slice(1, 2 * half, 2)
    out[..., first] = x[..., first] * cos - x[..., second] * sin
    out[..., second] = x[..., first] * sin + x[..., second] * cos
    return (out,)


def _append_rule(operation: Operation) -> tuple[TensorType, ...]:
    cache, x = (value.type for value in operation.operands)
    require(cache.element in ("f16", "bf16", "f32"), f"append needs a cache of floats, found {cache}")
    require(x.element == "f32", f"append needs new rows of f32, found {x}")
    require(len(cache.shape) == 3 and cache.shape[1:] == x.shape[1:], f"append of {x} to {cache}")
    return (TensorType(cache.element, (cache.shape[0] + x.shape[0], *cache.shape[1:])),)


def _append(context: Context, operation: Operation, arrays: Sequence[Any]) -> tuple:
    cache, x = arrays
    with np.errstate(over="ignore"):
        return (np.concatenate([cache, x.astype(cache.dtype)]),)


def _attention_rule(operation: Operation) -> tuple[TensorType, ...]:
    q, keys, values = (value.type for value in operation.operands)
    require(q.element == "f32" and len(q.shape) == 3, f"attention needs queries f32[T, H, E], found {q}")
    ranks = len(keys.shape) == 3 == len(values.shape)
    require(ranks, f"attention needs keys and values [C, G, E], found {keys}, {values}")
    require(keys.shape[:2] == values.shape[:2], f"attention needs a value per key, found {keys}, {values}")
    require(keys.shape[2] == q.shape[2], f"attention of heads of {q.shape[2]} on keys of {keys.shape[2]}")
    heads, groups = q.shape[1].value, keys.shape[1].value
    shared = heads is None or groups is None or (groups > 0 and heads % groups == 0)
    require(shared, f"attention cannot share {groups} key heads among {heads} query heads")
    require(isinstance(operation.attributes["scale"], int | float), "attention needs a number as scale")
    window = operation.attribute("window")
    require(isinstance(window, int) and window >= 0, "attention needs a window of 0 (all) or more keys")
    return (TensorType("f32", (*q.shape[:2], values.shape[2])),)


def _attention(context: Context, operation: Operation, arrays: Sequence[Any]) -> tuple:
    q, keys, values = (array.astype(np.float32) for array in arrays)
    tokens, heads, _ = q.shape
    count, groups, _ = keys.shape
    scale = np.float32(operation.attributes["scale"])  # type: ignore[arg-type]
    # query t is the cache's row count - tokens + t and sees the rows up to itself
    behind = np.arange(tokens)[:, None] + (count - tokens) - np.arange(count)[None, :]
    hidden = (behind < 0) | (behind >= (operation.attribute("window") or count))
    out = np.empty((tokens, heads, values.shape[2]), np.float32)
    for head in range(heads):
        group = head // (heads // groups)
        scores = np.where(hidden, np.float32(-np.inf), q[:, head] @ keys[:, group].T * scale)
        weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
        out[:, head] = weights / weights.sum(axis=-1, keepdims=True) @ values[:, group]
    return (out,)


OPERATIONS = (
    Definition(
        "rows", ("table", "ids"), _rows_rule,
        lambda context, operation, arrays: (arrays[0][arrays[1]],), "model",
        summary="the table's rows by number",
    ),
    Definition(
        "rope", ("x", "positions", "factors"), _rope_rule, _rope, "model",
        {"theta": REQUIRED, "pairs": REQUIRED, **SCALING, "magnitude": 1.0},
        summary="pairs of each head turned by position * theta ** (-2i / R) / factors[i], stretched or not",
    ),
    Definition(
        "append", ("cache", "x"), _append_rule, _append, "model",
        summary="new rows after the cache's, as its type",
    ),
    Definition(
        "attention", ("q", "keys", "values"), _attention_rule, _attention, "model",
        {"scale": REQUIRED, "window": 0},
        summary="causal softmax attention, of `window` keys or all; query head h reads key head h / (H / G)",
    ),
)  # fmt: skip
