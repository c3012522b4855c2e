"""Format declaration -> normal form, by evaluating the declared expression over the origin of every bit.

Every integer is tracked as places in the block, every product as a term, so what comes out is exact: which
bits make a code, what scales it, what is added. Nothing looks at a format's name.
Findings are reported at the guilty place of the declaration.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from lumen_core.dsl import ast
from lumen_core.dsl.check_format import check_format
from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant import bits
from lumen_core.quant.coding import NoCoding, choose_coding
from lumen_core.quant.floats import FLOAT_BYTES, is_small
from lumen_core.quant.integers import (
    ZERO,
    BitField,
    Combined,
    Integers,
    Joined,
    Lookup,
    Table,
    TooManyValues,
    bit_sources,
    values,
)
from lumen_core.quant.normal_form import FloatField, NormalForm, Scale
from lumen_core.source import Diagnostics, Span

_LARGEST_MULTIPLIER = 16
_LARGEST_ZERO = 1 << 16
_FINEST = 16  # the least elements that share a scale
_INTEGERS = {  # bytes, signed
    "u8": (1, False), "i8": (1, True),
    "u16": (2, False), "i16": (2, True),
    "u32": (4, False), "i32": (4, True),
}  # fmt: skip
_TABLES = {"i8": (-128, 127), "u8": (0, 255), "i16": (-32768, 32767)}


@dataclass(frozen=True)
class Term:
    """constant * product of floats * product of integers."""

    constant: float
    floats: tuple[FloatField, ...] = ()
    integers: tuple[Integers, ...] = ()

    @property
    def whole(self) -> bool:
        return not self.floats and self.constant == int(self.constant)

    def times(self, factor: float) -> Term:
        return Term(self.constant * factor, self.floats, self.integers)


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
    except TooManyValues:
        span = declaration.value.span
        diagnostics.error("an integer takes too many different values", span, notes=(f"in format {declaration.name}",))
        raise diagnostics.exception() from None
    except _Wrong as wrong:
        diagnostics.error(str(wrong), wrong.span, notes=(f"in format {declaration.name}",), help=wrong.help)
        raise diagnostics.exception() from None


class _Analysis:
    def __init__(self, declaration: ast.Format):
        self.declaration = declaration
        self.names: dict[str, Value] = {}
        self.tables: dict[str, Table] = {}
        self.external = {table.name: table for table in declaration.tables}
        offset = 0
        for field in declaration.fields:
            count = field.count or 1
            if field.dtype in FLOAT_BYTES:
                source = bits.of_bytes(offset, count, FLOAT_BYTES[field.dtype], False)
                self.names[field.name] = (Term(1, (FloatField(field.name, field.dtype, source),)),)
                offset += FLOAT_BYTES[field.dtype] * count
            elif field.dtype in _INTEGERS:
                size, signed = _INTEGERS[field.dtype]
                self.names[field.name] = (Term(1, (), (bits.of_bytes(offset, count, size, signed),)),)
                offset += size * count
            else:
                known = ", ".join([*FLOAT_BYTES, *_INTEGERS])
                raise _Wrong(f"unknown element type {field.dtype}", field.span, f"known are {known}")
        self.bytes = offset
        for let in declaration.lets:
            if len(let.names) != 1:
                raise _Wrong("a format's `let` names one value", let.span)
            if isinstance(let.value, ast.List):
                self.tables[let.names[0]] = self.listed(let.names[0], let.value)
                continue
            value = self.evaluate(let.value)
            if isinstance(let.value, ast.Call) and let.value.function == "reinterpret":
                value = (Term(1, (replace(value[0].floats[0], name=let.names[0]),)),)
            self.names[let.names[0]] = value

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
                return tuple(term.times(-1) for term in self.evaluate(operand))
            case ast.Binary(operator="+" | "-"):
                return self.sum(node)
            case ast.Binary(operator="*", left=left, right=right):
                return self.multiplied(self.evaluate(left), self.evaluate(right))
            case ast.Binary(operator="/", left=left, right=right):
                divisor = self.constant(right)
                if divisor == 0:
                    raise _Wrong("division by zero", right.span)
                return tuple(Term(t.constant / divisor, t.floats, t.integers) for t in self.evaluate(left))
            case ast.Call(function="reinterpret", arguments=(stored, ast.Name(name=element))):
                return (Term(1, (FloatField(element, element, self.float_bits(stored, element)),)),)
            case ast.Binary() | ast.Slice() | ast.Index() | ast.Call():
                try:
                    return (Term(1, (), (self.bit_operation(node),)),)
                except bits.NotBits as reason:
                    raise _Wrong(str(reason), node.span) from None
        raise _Wrong("this expression is not understood in a format", node.span)

    def sum(self, node: ast.Binary) -> Value:
        left, right = self.evaluate(node.left), self.evaluate(node.right)
        right = tuple(term.times(1 if node.operator == "+" else -1) for term in right)
        # A stored integer plus a constant stays one integer, so that it can scale or be scaled as such.
        for one, other in ((left, right), (right, left)):
            field = self.single(one)
            if not isinstance(field, BitField) or len(other) != 1 or other[0].floats or other[0].integers:
                continue
            added = other[0].constant
            if added == int(added):
                return (Term(1, (), (BitField(field.sources, field.signed, field.add + int(added)),)),)
        both = left + right
        varying = [term for term in both if term.integers]
        if not varying or not all(term.whole for term in both):
            return both
        # Whole numbers: one node where two are added, or where a constant is added to what scales a sub-block.
        if len(varying) > 1 or self.is_shared(self.product(varying[0].integers)):
            return self.gathered(both)
        return both

    def multiplied(self, left: Value, right: Value) -> Value:
        # A sum of whole numbers that multiplies codes is one integer: distributed, it would be two codes.
        if any(not self.is_shared(node) for term in left for node in term.integers):
            right = self.gathered(right)
        if any(not self.is_shared(node) for term in right for node in term.integers):
            left = self.gathered(left)
        return tuple(
            Term(a.constant * b.constant, a.floats + b.floats, a.integers + b.integers)
            for a in left
            for b in right
        )

    def gathered(self, value: Value) -> Value:
        """A sum of whole numbers as one node."""
        varying = tuple(term for term in value if term.integers)
        if len(value) < 2 or not varying or not all(term.whole for term in value):
            return value
        total = self.integer(varying)
        assert total is not None
        return (Term(1, (), (_plus(total, sum(int(term.constant) for term in value if not term.integers)),)),)

    def is_shared(self, node: Integers) -> bool:
        """Tell whether a node has so few integers that it can scale sub-blocks."""
        return node.count * _FINEST <= self.declaration.block

    @staticmethod
    def product(integers: tuple[Integers, ...]) -> Integers:
        result = integers[0]
        for other in integers[1:]:
            result = Combined("*", result, other)
        return result

    def integer(self, value: Value) -> Integers | None:
        """The one node that a value of whole numbers is, without its constant terms; None if it is none."""
        result: Integers | None = None
        for term in value:
            if not term.whole or not term.integers:
                return None
            part = _times(self.product(term.integers), int(term.constant))
            result = part if result is None else Combined("+", result, part)
        return result

    @staticmethod
    def single(value: Value) -> Integers | None:
        if len(value) == 1 and value[0].constant == 1 and not value[0].floats and len(value[0].integers) == 1:
            return value[0].integers[0]
        return None

    def field(self, node: ast.Expression) -> Integers:
        value = self.evaluate(node)
        found = self.single(value) or self.integer(value)
        if found is None:
            raise _Wrong("expected integers of the block", node.span)
        return found

    def stored(self, node: ast.Expression) -> BitField:
        found = self.field(node)
        if not isinstance(found, BitField):
            raise _Wrong("expected bits of the block, found a computed integer", node.span)
        return found

    def float_bits(self, node: ast.Expression, element: str) -> BitField:
        if element not in FLOAT_BYTES:
            raise _Wrong(f"{element} is no type of floats", node.span, f"known are {', '.join(FLOAT_BYTES)}")
        field, width = bits.plain(self.stored(node)), 8 * FLOAT_BYTES[element]
        if field.width != width or any(ZERO in source for source in field.sources):
            raise _Wrong(f"{element} has {width} bits, found {field.width}", node.span)
        return BitField(field.sources)

    def table(self, node: ast.Expression) -> Table | None:
        """The table that an expression names or lists."""
        if isinstance(node, ast.List):
            return self.listed("table", node)
        if not isinstance(node, ast.Name) or node.name in self.names:
            return None
        if node.name not in self.tables and node.name in self.external:
            self.tables[node.name] = _supplied(self.external[node.name])
        return self.tables.get(node.name)

    def listed(self, name: str, node: ast.List) -> Table:
        entries = [self.whole(item) for item in node.items]
        wrong = next((i for i, entry in enumerate(entries) if not -32768 <= entry <= 32767), None)
        if wrong is not None:
            raise _Wrong("an element of a table has at most 16 bits", node.items[wrong].span)
        return Table.of(name, np.array(entries))

    def look_up(self, table: Table, node: ast.Index) -> Integers:
        index = self.field(node.index)
        low, high = values(index)[0], values(index)[-1]
        if low < 0 or high >= table.entries:
            raise _Wrong(
                f"the index goes from {low} to {high}, the table {table.name} from 0 to {table.entries - 1}",
                node.index.span,
                "mask the index, or give the table an entry for every one",
            )
        return Lookup(table, index)

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

    def bit_operation(self, node: ast.Expression) -> Integers:
        match node:
            case ast.Binary(operator="&" | "|" | "<<" | ">>" | "^" as symbol, left=left, right=right):
                return self.bitwise(symbol, self.field(left), right)
            case ast.Slice(value=value, start=start, stop=stop, step=step):
                field = self.stored(value)
                first = self.whole(start) if start is not None else 0
                last = self.whole(stop) if stop is not None else field.count
                return bits.take(field, first, last, self.whole(step) if step is not None else 1)
            case ast.Index(value=value, index=index):
                table = self.table(value)
                if table is not None:
                    return self.look_up(table, node)
                position = self.whole(index)
                return bits.take(self.stored(value), position, position + 1)
            case ast.Call(function="concat", arguments=arguments) if arguments:
                parts = [self.field(argument) for argument in arguments]
                fields = [part for part in parts if isinstance(part, BitField)]
                return bits.concatenate(fields) if len(fields) == len(parts) else Joined(tuple(parts))
            case ast.Call(function="bits", arguments=(field, width)):
                run, parts_node = node.keyword("run"), node.keyword("parts")
                if run is None:
                    raise _Wrong(
                        "bits() needs run=: how many integers give their lowest bits first", node.span
                    )
                count = self.whole(parts_node) if parts_node is not None else None
                return bits.spread(self.stored(field), self.whole(width), self.whole(run), count)
            case ast.Call(function=name):
                known = "known: bits, concat, reinterpret"
                raise _Wrong(f"unknown function {name}, or wrong arguments", node.span, known)
        raise _Wrong("this operator is not understood on the bits of a block", node.span)

    def bitwise(self, symbol: str, left: Integers, right: ast.Expression) -> Integers:
        if isinstance(left, BitField):
            match symbol:
                case "&":
                    return bits.mask(left, self.whole(right))
                case "|":
                    return bits.merge(left, self.stored(right))
                case "<<":
                    return bits.shift_left(left, self.whole(right))
                case ">>":
                    return bits.shift_right(left, self.whole(right))
        if symbol in ("<<", ">>") and not 0 <= self.whole(right) <= 31:
            raise bits.NotBits("a shift takes 0 to 31 bits")
        other = self.evaluate(right)
        constant = len(other) == 1 and not other[0].integers
        return Combined(symbol, left, self.whole(right) if constant else self.field(right))

    # -------------------------------------------------------------- normal form

    def normal_form(self) -> NormalForm:
        declaration = self.declaration
        block, where = declaration.block, declaration.value.span
        value = self.evaluate(declaration.value)
        for term in value:
            for field in (*term.integers, *term.floats):
                if block % field.count:
                    raise _Wrong(f"{field.count} values do not divide the block of {block}", where)
        if len(value) == 1 and not value[0].integers and len(value[0].floats) == 1 and block == 1:
            element = value[0].floats[0].element
            if is_small(element):
                raise _Wrong(f"weights stored as {element} are not understood yet", where)
            return NormalForm(declaration.name, 1, self.bytes, "float", element=element)
        scales: dict[tuple, dict[Integers | None, float]] = {}
        for term in value:
            fine = tuple(node for node in term.integers if not self.is_shared(node))
            shared = tuple(node for node in term.integers if self.is_shared(node))
            if len(fine) > 1 and len({node.count for node in fine}) == 1 and all(map(_is_code, fine)):
                raise _Wrong("a weight is one code times one sub-scale at most", where)
            factors = scales.setdefault((term.floats, self.product(shared) if shared else None), {})
            code = self.product(fine) if fine else None
            factors[code] = factors.get(code, 0.0) + term.constant
        coded = [key for key, factors in scales.items() if any(code is not None for code in factors)]
        if len(coded) != 1 or len(scales) > 2:
            raise _Wrong(
                "the value is not scale * code + offset",
                where,
                "one term holds the codes of all weights, at most one other is added to it",
            )
        (floats, shared_integer), factors = coded[0], scales[coded[0]]
        codes = [code for code in factors if code is not None]
        if len(codes) != 1:
            raise _Wrong("two different codes are added for one weight", where)
        if codes[0].count != block:
            raise _Wrong(f"{codes[0].count} codes for a block of {block}", where)
        step, start = factors[codes[0]], factors.get(None, 0.0)
        if isinstance(codes[0], BitField) and codes[0].width > 8:
            raise _Wrong(f"a code of {codes[0].width} bits; codes have at most 8", where)
        if not (math.isfinite(step) and math.isfinite(start)) or step == 0:
            raise _Wrong(f"the codes are multiplied by {step:g} and {start:g} is added", where)
        multiplier, zero = self.zero_point(step, start)
        try:
            coding = choose_coding(codes[0], multiplier, zero)
        except NoCoding as reason:
            raise _Wrong(str(reason), where) from None
        scale = _scale(step / multiplier, floats, shared_integer)
        offset = None
        for key, others in scales.items():
            if key != coded[0]:
                offset = _scale(others[None], *key)
        self.every_bit_is_used(value)
        return NormalForm(
            declaration.name,
            block,
            self.bytes,
            "integer",
            code=coding.code,
            table=coding.table,
            multiplier=coding.multiplier,
            zero=coding.zero,
            sub=self.sub_block(scale, offset),
            scale=scale,
            offset=offset,
        )

    def sub_block(self, scale: Scale, offset: Scale | None) -> int:
        counts = [s.count for s in (scale, offset) if s is not None and s.count > 1]
        where = self.declaration.value.span
        if len(set(counts)) > 1:
            raise _Wrong("scales and offsets have different sub-blocks", where)
        if self.declaration.block % 32:
            raise _Wrong(f"a block of {self.declaration.block} is no multiple of 32", where)
        sub = self.declaration.block // (counts[0] if counts else 1)
        if sub != 16 and sub % 32:
            raise _Wrong(f"a sub-block of {sub} is neither 16 nor a multiple of 32", where)
        for one in (scale, offset):
            if one is None:
                continue
            if any(part.count not in (1, one.count) for part in (*one.floats, *filter(None, [one.integer]))):
                raise _Wrong("the factors of a scale have different sub-blocks", where)
            integer = one.integer
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
                used.update(bit_sources(floating.source))
            for field in term.integers:
                used.update(bit_sources(field))
        missing = next((bit for bit in range(8 * self.bytes) if bit not in used), None)
        if missing is not None:
            offset = 0
            for declared in self.declaration.fields:
                size = FLOAT_BYTES.get(declared.dtype) or _INTEGERS[declared.dtype][0]
                end = offset + size * (declared.count or 1)
                if 8 * end > missing:
                    inside = missing - 8 * offset
                    raise _Wrong(
                        f"bit {inside % 8} of byte {inside // 8} of {declared.name} is never read",
                        declared.span,
                        "use it in `value`, or leave the field out",
                    )
                offset = end


def _is_code(node: Integers) -> bool:
    return isinstance(node, BitField) and node.width > 1


def _plus(node: Integers, added: int) -> Integers:
    if isinstance(node, BitField):
        return BitField(node.sources, node.signed, node.add + added)
    return Combined("+", node, added) if added else node


def _times(node: Integers, factor: int) -> Integers:
    """factor * node; a power of two moves the bits of a stored integer."""
    if factor == 1:
        return node
    if isinstance(node, BitField) and not node.signed and factor > 0 and not factor & factor - 1:
        moved = (ZERO,) * (factor.bit_length() - 1)
        return BitField(tuple(moved + source for source in node.sources), False, node.add * factor)
    return Combined("*", node, factor)


def _scale(constant: float, floats: tuple[FloatField, ...], integer: Integers | None) -> Scale:
    """A factor; a float of one byte takes the constant into the table of its values."""
    for place, field in enumerate(floats):
        if is_small(field.element):
            folded = replace(field, factor=constant)
            return Scale(1.0, (*floats[:place], folded, *floats[place + 1 :]), integer)
    return Scale(constant, floats, integer)


def _supplied(table: ast.Table) -> Table:
    """The values of a table that a package supplies, checked against what the file declares."""
    if table.supply is None:
        help = "return FormatSource(path, tables=...) from the package's hook"
        raise _Wrong(f"nobody supplies the values of the table {table.name}", table.span, help)
    try:
        array = np.asarray(table.supply(table.name))
    except Exception as error:  # a foreign function may raise anything
        raise _Wrong(f"the table {table.name} cannot be had: {error or type(error).__name__}", table.span) from None
    if array.dtype.kind not in "iu" or array.shape != table.shape:
        wanted = f"{table.dtype}[{', '.join(map(str, table.shape))}]"
        raise _Wrong(f"the table {table.name} is {array.dtype}{list(array.shape)}, not {wanted}", table.span)
    low, high = _TABLES[table.dtype]
    if array.size and not low <= int(array.min()) <= int(array.max()) <= high:
        raise _Wrong(f"the table {table.name} does not fit in {table.dtype}", table.span)
    return Table.of(table.name, array)


class Formats(dict[str, NormalForm]):
    """Normal forms by format name; an unknown name gives an error that says what is there."""

    def __missing__(self, name: str) -> NormalForm:
        known = ", ".join(sorted(self)) or "none"
        raise UnsupportedFormatError(f"no installed package declares the format {name} (known: {known})")
