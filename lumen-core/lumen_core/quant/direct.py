"""A format's declared expression, evaluated by plain arithmetic on the bytes of blocks.

In: a declaration and raw blocks, uint8 [n, block bytes]. Out: weights, [n, block], in f32 or f64.
It knows no normal form and tracks no bits: what analysis derives is checked against it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from lumen_core.dsl import ast
from lumen_core.dsl.origins import in_order, narrow_bits, scope

SIZES = {
    "u8": 1, "i8": 1, "u16": 2, "i16": 2, "u32": 4, "i32": 4, "f16": 2, "bf16": 2, "f32": 4,
    "e8m0": 1, "ue4m3": 1, "e4m3": 1, "e5m2": 1,
}  # fmt: skip
OPERATORS = {
    "+": np.add, "-": np.subtract, "*": np.multiply, "&": np.bitwise_and, "|": np.bitwise_or,
    "^": np.bitwise_xor, "<<": np.left_shift, ">>": np.right_shift,
}  # fmt: skip


def field_bytes(field: ast.Field) -> int:
    count, bits = field.count or 1, narrow_bits(field.dtype)
    assert isinstance(count, int)
    return SIZES[field.dtype] * count if bits is None else -(-bits * count // 8)


def block_bytes(declaration: ast.Format) -> int:
    """Bytes of a block, without what its row stores once."""
    return sum(field_bytes(field) for field in in_order(declaration) if scope(field) == "block")


def evaluate(declaration: ast.Format, blocks: np.ndarray, real: type = np.float32) -> np.ndarray:
    """Return the value of every weight; arithmetic on real numbers is done in `real`.

    What the row stores once stands behind each block.
    """
    names: dict[str, np.ndarray] = {}
    sizes = {table.name: table.shape for table in declaration.tables}
    offset = 0
    for field in in_order(declaration):
        size, bits = field_bytes(field), narrow_bits(field.dtype)
        raw = np.ascontiguousarray(blocks[:, offset : offset + size])
        if bits is None:
            names[field.name] = _stored(raw, field.dtype, real)
        else:
            names[field.name] = _narrow(raw, bits)[:, : field.count or 1]
        offset += size
    tables = {table.name: table.supply for table in declaration.tables if table.supply is not None}
    widths = {field.name: 8 * SIZES.get(field.dtype, 1) for field in declaration.fields}
    evaluator = _Evaluator(names, real, tables, sizes, widths)
    for let in declaration.lets:
        names[let.names[0]] = evaluator.value(let.value)
    with np.errstate(all="ignore"):
        result = evaluator.value(declaration.value)
    return np.repeat(result, declaration.block // result.shape[-1], axis=-1).astype(real)


def _narrow(raw: np.ndarray, bits: int) -> np.ndarray:
    every = np.unpackbits(raw, axis=1, bitorder="little")
    every = every[:, : every.shape[1] // bits * bits].reshape(len(raw), -1, bits)
    return (every.astype(np.int64) << np.arange(bits)).sum(-1)


def _stored(raw: np.ndarray, dtype: str, real: type) -> np.ndarray:
    if dtype == "bf16":
        return (raw.view("<u2").astype(np.uint32) << 16).view(np.float32).astype(real)
    if dtype == "e8m0":  # in f64 also where the rest is not: it is halved before it is rounded
        return np.ldexp(1.0, raw.astype(np.int64) - 127)
    if dtype == "ue4m3":
        exponent, mantissa = raw >> 3 & 15, raw & 7
        normal = np.ldexp(8.0 + mantissa, exponent.astype(np.int64) - 10)
        found = np.where(exponent == 0, np.ldexp(mantissa * 1.0, -9), normal)
        return np.where(raw == 0x7F, 0, found).astype(real)
    if dtype == "e4m3":
        magnitude = _stored(raw & 0x7F, "ue4m3", real)
        magnitude = np.where(raw & 0x7F == 0x7F, np.nan, magnitude)
        return np.where(raw < 128, magnitude, -magnitude).astype(real)
    if dtype == "e5m2":
        return (raw.astype("<u2") << 8).view("<f2").astype(real)
    kind = {"u": "u", "i": "i", "f": "f"}[dtype[0]]
    values = raw.view(f"<{kind}{SIZES[dtype]}")
    return values.astype(real if kind == "f" else np.int64)


@dataclass
class _Evaluator:
    names: dict[str, np.ndarray]
    real: type
    tables: dict[str, Callable[[str], object]]
    sizes: dict[str, tuple[int, ...]]
    widths: dict[str, int]

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
            case ast.List(items=items):
                return np.concatenate([self.value(item) for item in items], axis=-1)
            case ast.Slice(value=value, start=start, stop=stop, step=step):
                whole = self.value(value)
                first = 0 if start is None else self.whole(start)
                last = whole.shape[1] if stop is None else self.whole(stop)
                return whole[:, first : last : 1 if step is None else self.whole(step)]
            case ast.Index(value=ast.Name(name=name), index=index) if name in self.tables:
                table = np.asarray(self.tables[name](name)).reshape(self.sizes[name])
                found = table[self.value(index)]
                return found.reshape(len(found), -1).astype(np.int64)
            case ast.Index(value=value, index=index):
                whole, place = self.value(value), self.value(index)
                if len(whole) == 1:
                    return whole[0][place]
                return whole[:, place.item() : place.item() + 1]
            case ast.Call(function="concat", arguments=arguments):
                return np.concatenate([self.value(argument) for argument in arguments], axis=-1)
            case ast.Call(function="reinterpret", arguments=(stored, ast.Name(name=element))):
                bits = np.ascontiguousarray(self.value(stored).astype(f"<u{SIZES[element]}"))
                return _stored(bits.view(np.uint8), element, self.real)
            case ast.Call(function="bits", arguments=(field, width)):
                run, parts = node.keyword("run"), node.keyword("parts")
                assert run is not None
                size = self.whole(width)
                count = 8 // size if parts is None else self.whole(parts)
                if isinstance(field, ast.Name | ast.Slice) and parts is None:
                    count = self.stored_bits(field) // size
                return self.bits(self.value(field), size, self.whole(run), count)
        raise NotImplementedError(type(node).__name__)

    def stored_bits(self, node: ast.Expression) -> int:
        """Bits of the integers of a field, or of some of them."""
        while isinstance(node, ast.Slice):
            node = node.value
        return self.widths.get(node.name, 8) if isinstance(node, ast.Name) else 8

    def whole(self, node: ast.Expression) -> int:
        return int(self.value(node).item())

    def binary(self, operator: str, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        length = max(a.shape[-1], b.shape[-1])
        a, b = (np.repeat(side, length // side.shape[-1], axis=-1) for side in (a, b))
        if operator == "/" and b.shape[0] > 1:  # by what the row stores: its inverse multiplies
            return np.asarray(a * (self.real(1) / b)).astype(self.real)
        if operator == "/":
            kind = np.float64 if a.dtype == np.float64 else self.real
            return (a.astype(kind) / b.astype(kind)).astype(self.real)
        if operator in "+-*" and a.dtype != b.dtype:
            a, b = a.astype(self.real), b.astype(self.real)
        return np.asarray(OPERATORS[operator](a, b))

    @staticmethod
    def bits(stored: np.ndarray, width: int, run: int, parts: int) -> np.ndarray:
        pieces = []
        for chunk in range(0, stored.shape[1], run):
            for part in range(parts):
                pieces.append((stored[:, chunk : chunk + run] >> part * width) & ((1 << width) - 1))
        return np.concatenate(pieces, axis=-1)
