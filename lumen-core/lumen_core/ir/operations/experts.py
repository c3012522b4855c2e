"""A mixture of experts: which of them a token takes, products with their matrices, and the blend.

The matrices of X experts are one weight [X, N, K]. What the experts make has a row for every choice, token by
token: row t * K + j belongs to choice j of token t.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from lumen_core.ir.core import REQUIRED, Definition, Operation
from lumen_core.ir.operations.quantized import PLAIN, decoded, plain, product
from lumen_core.ir.operations.values import (
    Context,
    UnpackedRows,
    group_of,
    is_weight,
    require,
)
from lumen_core.types import Dim, TensorType


def choices_of(operation: Operation) -> tuple[int, int, int]:
    """How many a `top_k` chooses, of how many groups, and how many of these it keeps."""
    count, groups, kept = (operation.attribute(name) for name in ("k", "groups", "kept"))
    require(all(isinstance(n, int) and n > 0 for n in (count, groups, kept)), "top_k needs numbers above 0")
    assert isinstance(count, int) and isinstance(groups, int) and isinstance(kept, int)
    return count, groups, kept


def _top_k_rule(operation: Operation) -> tuple[TensorType, ...]:
    scores = operation.operands[0].type
    require(scores.element == "f32" and len(scores.shape) == 2, f"top_k needs f32[T, X], found {scores}")
    count, groups, kept = choices_of(operation)
    size = scores.shape[1].value
    if size is not None:
        require(size % groups == 0, f"top_k cannot cut {size} scores into {groups} groups")
        require(kept <= groups, f"top_k cannot keep {kept} of {groups} groups")
        room = size // groups * kept
        require(count <= room, f"top_k cannot choose {count} of {room}")
    return (TensorType("i32", (scores.shape[0], Dim.of(count))),)


def greatest(scores: np.ndarray, count: int) -> np.ndarray:
    """The numbers of the `count` greatest of each row, i32; of equal ones those that stand first."""
    return np.argsort(-scores, axis=-1, kind="stable")[..., :count].astype(np.int32)


def _top_k(context: Context, operation: Operation, arrays: Sequence[Any]) -> tuple:
    (scores,) = arrays
    count, groups, kept = choices_of(operation)
    if kept < groups:
        parts = scores.reshape(len(scores), groups, -1)
        best = np.sort(parts, axis=-1)[..., -2:].sum(axis=-1, dtype=np.float32)
        near = np.zeros(best.shape, bool)
        np.put_along_axis(near, greatest(best, kept), True, axis=-1)
        scores = np.where(near[..., None], parts, np.float32(-np.inf)).reshape(scores.shape)
    return (greatest(scores, count),)


def _pick_rule(operation: Operation) -> tuple[TensorType, ...]:
    x, chosen = (value.type for value in operation.operands)
    rows = len(x.shape) == 2 == len(chosen.shape) and x.shape[0] == chosen.shape[0]
    require(rows and x.element == "f32", f"pick needs f32[T, X] and i32[T, K], found {x} and {chosen}")
    require(chosen.element == "i32", f"pick needs numbers of type i32, found {chosen}")
    return (TensorType("f32", chosen.shape),)


def _expert_rule(name: str, operation: Operation) -> tuple[TensorType, ...]:
    chosen, x, weight = (value.type for value in operation.operands)
    numbers = chosen.element == "i32" and len(chosen.shape) == 2
    require(numbers, f"{name} needs choices i32[T, K], found {chosen}")
    ranks = len(x.shape) == 2 and len(weight.shape) == 3
    require(ranks, f"{name} needs x[T, K] and w[X, N, K], found {x}, {weight}")
    choices = chosen.shape[0] * chosen.shape[1]
    rows = x.shape[0] in (chosen.shape[0], choices)
    require(rows, f"{name} needs a row for each token or each choice of {chosen}, found {x}")
    require(x.shape[1] == weight.shape[2], f"shape mismatch in {name}: {x.shape[1]} is not {weight.shape[2]}")
    return (TensorType("f32", (choices, weight.shape[1])),)


def _expert_matmul_rule(operation: Operation) -> tuple[TensorType, ...]:
    elements = {value.type.element for value in operation.operands[1:]}
    require(elements == {"f32"}, f"expert_matmul needs f32, found {' and '.join(sorted(elements))}")
    return _expert_rule("expert_matmul", operation)


def _fused_rule(operation: Operation) -> tuple[TensorType, ...]:
    _, x, weight = (value.type for value in operation.operands)
    known = group_of(x.element) is not None or x.element in PLAIN
    require(known, f"fused_expert_matmul needs activations, found {x}")
    require(is_weight(weight.element), f"fused_expert_matmul needs a weight, found {weight}")
    return _expert_rule("fused_expert_matmul", operation)


def _products(context: Context, operation: Operation, arrays: Sequence[Any]) -> tuple:
    chosen, x, weight = arrays
    rows = weight.rows if isinstance(weight, UnpackedRows) else weight
    element = operation.operands[2].type.element
    x = plain(x)
    tokens = np.repeat(np.arange(len(chosen)), chosen.shape[1])
    if len(x) == len(chosen):
        x = x[tokens]
    out = np.empty((chosen.size, rows.shape[1]), np.float32)
    for expert in np.unique(chosen):
        mine = chosen.reshape(-1) == expert
        out[mine] = product(x[mine], decoded(context, rows[expert], element))
    return (out,)


def _blend_rule(operation: Operation) -> tuple[TensorType, ...]:
    shares, x, *accumulate = (value.type for value in operation.operands)
    ranks = len(shares.shape) == 2 == len(x.shape) and shares.element == "f32" == x.element
    require(ranks, f"blend needs shares f32[T, K] and rows f32[T * K, D], found {shares} and {x}")
    rows = shares.shape[0] * shares.shape[1]
    require(x.shape[0] == rows, f"blend needs a row for each share of {shares}, found {x}")
    result = TensorType("f32", (shares.shape[0], x.shape[1]))
    for type in accumulate:
        require(type == result, f"blend of {result} cannot add to {type}")
    return (result,)


def _blend(context: Context, operation: Operation, arrays: Sequence[Any]) -> tuple:
    shares, x, *accumulate = arrays
    rows = x.reshape(*shares.shape, -1)
    total = (shares[..., None] * rows).sum(axis=1, dtype=np.float32)
    return (total + accumulate[0] if accumulate else total,)


OPERATIONS = (
    Definition(
        "top_k", ("scores",), _top_k_rule, _top_k, "experts", {"k": REQUIRED, "groups": 1, "kept": 1},
        summary="numbers of the k greatest of a row, from the `kept` best of its groups; the first of equals",
    ),
    Definition(
        "pick", ("x", "chosen"), _pick_rule,
        lambda context, operation, arrays: (np.take_along_axis(arrays[0], arrays[1], axis=-1),), "experts",
        summary="elements of a row by number",
    ),
    Definition(
        "expert_matmul", ("chosen", "x", "weight"), _expert_matmul_rule, _products, "experts",
        summary="row t * K + j: x[t] (or x[t * K + j]) @ weight[chosen[t, j]].T",
    ),
    Definition(
        "fused_expert_matmul", ("chosen", "x", "weight"), _fused_rule, _products, "experts",
        summary="expert_matmul of dequantize(x) and dequantize(unpack(weight))",
    ),
    Definition(
        "blend", ("shares", "x", "?accumulate"), _blend_rule, _blend, "experts",
        summary="sum over j of shares[t, j] * x[t * K + j], + accumulate",
    ),
)  # fmt: skip
