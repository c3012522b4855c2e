"""A format's declared expression, evaluated by plain arithmetic on the bytes of blocks.

In: a declaration and raw blocks, uint8 [n, block bytes]. Out: weights, [n, block], in f32 or f64.
It knows no normal form and tracks no bits: what analysis derives is checked against it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from lumen_core.dsl import ast

SIZES = {"u8": 1, "i8": 1, "u16": 2, "i16": 2, "u32": 4, "i32": 4, "f16": 2, "bf16": 2, "f32": 4}


def block_bytes(declaration: ast.Format) -> int:
    return sum(SIZES[field.dtype] * (field.count or 1) for field in declaration.fields)


def evaluate(declaration: ast.Format, blocks: np.ndarray, real: type = np.float32) -> np.ndarray:
    """Return the value of every weight; arithmetic on real numbers is done in `real`."""
    names: dict[str, np.ndarray] = {}
    offset = 0
    for field in declaration.fields:
        size = SIZES[field.dtype] * (field.count or 1)
        raw = np.ascontiguousarray(blocks[:, offset : offset + size])
        names[field.name] = _stored(raw, field.dtype, real)
        offset += size
    evaluator = _Evaluator(names, real)
    for let in declaration.lets:
        names[let.names[0]] = evaluator.value(let.value)
    with np.errstate(all="ignore"):
        result = evaluator.value(declaration.value)
    return np.repeat(result, declaration.block // result.shape[-1], axis=-1).astype(real)


def _stored(raw: np.ndarray, dtype: str, real: type) -> np.ndarray:
    if dtype == "bf16":
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32).astype(real)
    kind = {"u": "u", "i": "i", "f": "f"}[dtype[0]]
    values = raw.view(f"<{kind}{SIZES[dtype]}")
    return values.astype(real if kind == "f" else np.int64)


@dataclass
class _Evaluator:
    names: dict[str, np.ndarray]
    real: type

    def value(self, node: ast.Expression) -> np.ndarray:
        match node:
            case ast.Number(value=number):
                return np.full((1, 1), number, np.int64 if isinstance(number, int) else self.real)
            case ast.Name(name=name):
                return self.names[name]
            case ast.Unary(operator="-", operand=operand):
                return -self.value(operand)
            case ast.Binary(operator=operator, left=left, right=right):
                return self.binary(operator, self.value(left), self.value(right))
            case ast.Slice(value=value, start=start, stop=stop):
                whole = self.value(value)
                first = 0 if start is None else self.whole(start)
                return whole[:, first : whole.shape[1] if stop is None else self.whole(stop)]
            case ast.Index(value=value, index=index):
                place = self.whole(index)
                return self.value(value)[:, place : place + 1]
            case ast.Call(function="concat", arguments=arguments):
                return np.concatenate([self.value(argument) for argument in arguments], axis=-1)
            case ast.Call(function="bits", arguments=(field, width)):
                run = node.keyword("run")
                assert run is not None
                return self.bits(self.value(field), self.whole(width), self.whole(run))
        raise NotImplementedError(type(node).__name__)

    def whole(self, node: ast.Expression) -> int:
        return int(self.value(node).item())

    def binary(self, operator: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        length = max(a.shape[-1], b.shape[-1])
        a, b = (np.repeat(side, length // side.shape[-1], axis=-1) for side in (a, b))
        if operator in "+-*" and a.dtype != b.dtype:
            a, b = a.astype(self.real), b.astype(self.real)
        match operator:
            case "+":
                return a + b
            case "-":
                return a - b
            case "*":
                return a * b
            case "/":
                return a.astype(self.real) / b.astype(self.real)
            case "&":
                return a & b
            case "|":
                return a | b
            case "<<":
                return a << b
            case ">>":
                return a >> b
        raise NotImplementedError(operator)

    @staticmethod
    def bits(bytes: np.ndarray, width: int, run: int) -> np.ndarray:
        pieces = []
        for chunk in range(0, bytes.shape[1], run):
            for low in range(0, 8, width):
                pieces.append((bytes[:, chunk : chunk + run] >> low) & ((1 << width) - 1))
        return np.concatenate(pieces, axis=-1)
