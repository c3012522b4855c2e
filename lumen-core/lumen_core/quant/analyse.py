"""Format declaration -> normal form, by evaluating the declared expression over the origin of every bit.

Every integer is tracked as places in the block, every product as a term, so what comes out is exact: which
bits make a code, what scales it, what is added. Nothing looks at a format's name.
Findings are reported at the guilty place of the declaration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lumen_core.dsl import ast
from lumen_core.dsl.check_format import check_format
from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant import bits
from lumen_core.quant.normal_form import ZERO, BitField, FloatField, NormalForm, Scale
from lumen_core.source import Diagnostics, Span

_LARGEST_MULTIPLIER = 16
_LARGEST_ZERO = 1 << 16
_FLOATS = {"f16": 2, "bf16": 2, "f32": 4}
_INTEGERS = {  # bytes, signed
    "u8": (1, False), "i8": (1, True),
    "u16": (2, False), "i16": (2, True),
    "u32": (4, False), "i32": (4, True),
}  # fmt: skip


@dataclass(frozen=True)
class Term:
    """constant * product of floats * product of integers."""

    constant: float
    floats: tuple[FloatField, ...] = ()
    integers: tuple[BitField, ...] = ()


Value = tuple[Term, ...]  # a sum


class _Wrong(Exception):
    def __init__(self, message: str, span: Span, help: str | None = None):
        super().__init__(message)
        self.span = span
        self.help = help


def analyse(declaration: ast.Format) -> NormalForm:
    """Return the normal form; raises SourceError at the place that cannot be brought into it."""
    diagnostics = Diagnostics()
    check_format(declaration, diagnostics)
    diagnostics.raise_if_any()
    try:
        return _Analysis(declaration).normal_form()
    except _Wrong as wrong:
        diagnostics.error(str(wrong), wrong.span, notes=(f"in format {declaration.name}",), help=wrong.help)
        raise diagnostics.exception() from None


class _Analysis:
    def __init__(self, declaration: ast.Format):
        self.declaration = declaration
        self.names: dict[str, Value] = {}
        offset = 0
        for field in declaration.fields:
            count = field.count or 1
            if field.dtype in _FLOATS:
                if count != 1:
                    raise _Wrong("an array of floats is not understood yet", field.span)
                self.names[field.name] = (Term(1, (FloatField(field.name, field.dtype, offset),)),)
                offset += _FLOATS[field.dtype]
            elif field.dtype in _INTEGERS:
                size, signed = _INTEGERS[field.dtype]
                self.names[field.name] = (Term(1, (), (bits.of_bytes(offset, count, size, signed),)),)
                offset += size * count
            else:
                known = ", ".join([*_FLOATS, *_INTEGERS])
                raise _Wrong(f"unknown element type {field.dtype}", field.span, f"known are {known}")
        self.bytes = offset
        for let in declaration.lets:
            if len(let.names) != 1:
                raise _Wrong("a format's `let` names one value", let.span)
            self.names[let.names[0]] = self.evaluate(let.value)

    # --------------------------------------------------------------- evaluation

    def evaluate(self, node: ast.Expression) -> Value:
        match node:
            case ast.Number(value=value):
                return (Term(float(value)),)
            case ast.Name(name=name):
                if name not in self.names:
                    raise _Wrong(f"unknown name {name}", node.span, f"known are {', '.join(self.names)}")
                return self.names[name]
            case ast.Unary(operator="-", operand=operand):
                return tuple(Term(-t.constant, t.floats, t.integers) for t in self.evaluate(operand))
            case ast.Binary(operator="+" | "-"):
                return self.sum(node)
            case ast.Binary(operator="*", left=left, right=right):
                return tuple(
                    Term(a.constant * b.constant, a.floats + b.floats, a.integers + b.integers)
                    for a in self.evaluate(left)
                    for b in self.evaluate(right)
                )
            case ast.Binary(operator="/", left=left, right=right):
                divisor = self.constant(right)
                if divisor == 0:
                    raise _Wrong("division by zero", right.span)
                return tuple(Term(t.constant / divisor, t.floats, t.integers) for t in self.evaluate(left))
            case ast.Binary() | ast.Slice() | ast.Index() | ast.Call():
                try:
                    return (Term(1, (), (self.bit_operation(node),)),)
                except bits.NotBits as reason:
                    raise _Wrong(str(reason), node.span) from None
        raise _Wrong("this expression is not understood in a format", node.span)

    def sum(self, node: ast.Binary) -> Value:
        left, right = self.evaluate(node.left), self.evaluate(node.right)
        sign = 1 if node.operator == "+" else -1
        right = tuple(Term(sign * t.constant, t.floats, t.integers) for t in right)
        # A stored integer plus a constant stays one integer, so that it can scale or be scaled as such.
        for one, other in ((left, right), (right, left)):
            field = self.single(one)
            if field is None or len(other) != 1 or other[0].floats or other[0].integers:
                continue
            added = other[0].constant
            if added == int(added):
                return (Term(1, (), (BitField(field.sources, field.signed, field.add + int(added)),)),)
        return left + right

    @staticmethod
    def single(value: Value) -> BitField | None:
        if len(value) == 1 and value[0].constant == 1 and not value[0].floats and len(value[0].integers) == 1:
            return value[0].integers[0]
        return None

    def field(self, node: ast.Expression) -> BitField:
        found = self.single(self.evaluate(node))
        if found is None:
            raise _Wrong("expected integers of the block", node.span)
        return found

    def constant(self, node: ast.Expression) -> float:
        value = self.evaluate(node)
        if len(value) != 1 or value[0].floats or value[0].integers:
            raise _Wrong("expected a constant", node.span)
        return value[0].constant

    def whole(self, node: ast.Expression) -> int:
        value = self.constant(node)
        if value != int(value):
            raise _Wrong("expected a whole number", node.span)
        return int(value)

    def bit_operation(self, node: ast.Expression) -> BitField:
        match node:
            case ast.Binary(operator="&", left=left, right=right):
                return bits.mask(self.field(left), self.whole(right))
            case ast.Binary(operator="|", left=left, right=right):
                return bits.merge(self.field(left), self.field(right))
            case ast.Binary(operator="<<", left=left, right=right):
                return bits.shift_left(self.field(left), self.whole(right))
            case ast.Binary(operator=">>", left=left, right=right):
                return bits.shift_right(self.field(left), self.whole(right))
            case ast.Slice(value=value, start=start, stop=stop):
                field = self.field(value)
                first = self.whole(start) if start is not None else 0
                return bits.take(field, first, self.whole(stop) if stop is not None else field.count)
            case ast.Index(value=value, index=index):
                position = self.whole(index)
                return bits.take(self.field(value), position, position + 1)
            case ast.Call(function="concat", arguments=arguments) if arguments:
                return bits.concatenate([self.field(argument) for argument in arguments])
            case ast.Call(function="bits", arguments=(field, width)):
                run = node.keyword("run")
                if run is None:
                    raise _Wrong(
                        "bits() needs run=: how many integers give their lowest bits first", node.span
                    )
                return bits.spread(self.field(field), self.whole(width), self.whole(run))
            case ast.Call(function=name):
                raise _Wrong(f"unknown function {name}, or wrong arguments", node.span, "known: bits, concat")
        raise _Wrong("this operator is not understood on the bits of a block", node.span)

    # -------------------------------------------------------------- normal form

    def normal_form(self) -> NormalForm:
        declaration = self.declaration
        block, where = declaration.block, declaration.value.span
        value = self.evaluate(declaration.value)
        for term in value:
            for field in term.integers:
                if block % field.count:
                    raise _Wrong(f"{field.count} integers do not divide the block of {block}", where)
        if len(value) == 1 and not value[0].integers and len(value[0].floats) == 1 and block == 1:
            return NormalForm(declaration.name, 1, self.bytes, "float", element=value[0].floats[0].element)
        scales: dict[tuple, dict[BitField | None, float]] = {}
        for term in value:
            codes = [field for field in term.integers if field.count == block]
            shared = tuple(field for field in term.integers if field.count != block)
            if len(codes) > 1 or len(shared) > 1:
                raise _Wrong("a weight is one code times one sub-scale at most", where)
            factors = scales.setdefault((term.floats, shared), {})
            code = codes[0] if codes else None
            factors[code] = factors.get(code, 0.0) + term.constant
        coded = [key for key, factors in scales.items() if any(code is not None for code in factors)]
        if len(coded) != 1 or len(scales) > 2:
            raise _Wrong(
                "the value is not scale * code + offset",
                where,
                "one term holds the codes of all weights, at most one other is added to it",
            )
        (floats, shared), factors = coded[0], scales[coded[0]]
        codes = [code for code in factors if code is not None]
        if len(codes) != 1:
            raise _Wrong("two different codes are added for one weight", where)
        step, start = factors[codes[0]], factors.get(None, 0.0)
        if codes[0].width > 8:
            raise _Wrong(f"a code of {codes[0].width} bits; codes have at most 8", where)
        if not (math.isfinite(step) and math.isfinite(start)) or step == 0:
            raise _Wrong(f"the codes are multiplied by {step:g} and {start:g} is added", where)
        multiplier, zero = self.zero_point(step, start)
        constant = step / multiplier
        scale = Scale(constant, floats, shared[0] if shared else None)
        offset = None
        for key, others in scales.items():
            if key != coded[0]:
                offset = Scale(others[None], key[0], key[1][0] if key[1] else None)
        self.every_bit_is_used(value)
        return NormalForm(
            declaration.name,
            block,
            self.bytes,
            "integer",
            code=codes[0],
            multiplier=multiplier,
            zero=zero,
            sub=self.sub_block(scale, offset),
            scale=scale,
            offset=offset,
        )

    def sub_block(self, scale: Scale, offset: Scale | None) -> int:
        counts = [s.integer.count for s in (scale, offset) if s is not None and s.integer is not None]
        if len(set(counts)) > 1:
            raise _Wrong("scales and offsets have different sub-blocks", self.declaration.value.span)
        where = self.declaration.value.span
        if self.declaration.block % 32:
            raise _Wrong(f"a block of {self.declaration.block} is no multiple of 32", where)
        sub = self.declaration.block // (counts[0] if counts else 1)
        if sub != 16 and sub % 32:
            raise _Wrong(f"a sub-block of {sub} is neither 16 nor a multiple of 32", where)
        if sub == 16 and offset is not None:
            raise _Wrong("offsets of sub-blocks of 16 are not understood yet", where)
        for scale_or_offset in (scale, offset):
            integer = scale_or_offset.integer if scale_or_offset is not None else None
            if integer is not None and not (
                0 <= integer.low <= integer.high <= 255 or -128 <= integer.low <= integer.high <= 127
            ):
                raise _Wrong(f"scales from {integer.low} to {integer.high} do not fit in a byte", where)
        return sub

    def zero_point(self, step: float, start: float) -> tuple[int, int]:
        """Bring step * code + start into the form step / m * (m * code - zero), m as small as can be."""
        for multiplier in range(1, _LARGEST_MULTIPLIER + 1):
            zero = -start / step * multiplier
            if abs(zero) > _LARGEST_ZERO:
                raise _Wrong("the zero point is too far from the codes", self.declaration.value.span)
            if abs(zero - round(zero)) < 1e-9:  # 2 * code - 15, divided by 3, stays what it is
                return multiplier, round(zero)
        raise _Wrong("the zero point is not a whole number of steps", self.declaration.value.span)

    def every_bit_is_used(self, value: Value) -> None:
        """A bit of the block that nothing reads is a mistake of the declaration."""
        used: set[int] = set()
        for term in value:
            for floating in term.floats:
                used.update(range(8 * floating.offset, 8 * (floating.offset + floating.bytes)))
            for field in term.integers:
                used.update(bit for source in field.sources for bit in source if bit != ZERO)
        missing = next((bit for bit in range(8 * self.bytes) if bit not in used), None)
        if missing is not None:
            offset = 0
            for declared in self.declaration.fields:
                size = _FLOATS.get(declared.dtype) or _INTEGERS[declared.dtype][0]
                end = offset + size * (declared.count or 1)
                if 8 * end > missing:
                    inside = missing - 8 * offset
                    raise _Wrong(
                        f"bit {inside % 8} of byte {inside // 8} of {declared.name} is never read",
                        declared.span,
                        "use it in `value`, or leave the field out",
                    )
                offset = end


class Formats(dict[str, NormalForm]):
    """Normal forms by format name; an unknown name gives an error that says what is there."""

    def __missing__(self, name: str) -> NormalForm:
        known = ", ".join(sorted(self)) or "none"
        raise UnsupportedFormatError(f"no installed package declares the format {name} (known: {known})")
