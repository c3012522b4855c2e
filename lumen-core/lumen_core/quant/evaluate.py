"""The declared expression of a format, evaluated over the origin of every bit.

In: a declaration. Out: its value as a sum of terms, each a constant times stored floats times integers
(trees over bits of the block), so that what comes out is exact. Nothing looks at a format's name.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from lumen_core.dsl import ast
from lumen_core.dsl.origins import in_order, narrow_bits, scope
from lumen_core.quant import bits
from lumen_core.quant.finding import Wrong
from lumen_core.quant.floats import FLOAT_BYTES
from lumen_core.quant.integers import ZERO, BitField, Combined, Integers, Joined, Lookup, Table, values
from lumen_core.quant.normal_form import FloatField
from lumen_core.quant.tables import supplied

FINEST = 16  # the least elements that share a scale
_LARGEST = (1 << 32) - 1  # of constants that integers are computed with
INTEGERS = {  # bytes, signed
    "u8": (1, False), "i8": (1, True),
    "u16": (2, False), "i16": (2, True),
    "u32": (4, False), "i32": (4, True),
}  # fmt: skip


@dataclass(frozen=True)
class Term:
    """constant * product of floats * product of integers."""

    constant: float
    floats: tuple[FloatField, ...] = ()
    integers: tuple[Integers, ...] = ()

    @property
    def whole(self) -> bool:
        return not self.floats and self.constant.is_integer() and abs(self.constant) <= _LARGEST

    def times(self, factor: float) -> Term:
        return Term(self.constant * factor, self.floats, self.integers)


Value = tuple[Term, ...]  # a sum


class Evaluation:
    """What the names of one declaration stand for."""

    def __init__(self, declaration: ast.Format):
        self.declaration = declaration
        self.names: dict[str, Value] = {}
        self.tables: dict[str, Table] = {}
        self.external = {table.name: table for table in declaration.tables}
        self.wide: set[str] = set()  # fields of a row, or of all rows
        self.fields: list[tuple[range, ast.Field]] = []  # each with its bits
        self.bytes = offset = 0
        for field in in_order(declaration):
            count, bits_each = field.count or 1, narrow_bits(field.dtype)
            assert isinstance(count, int)
            first = 8 * offset
            if scope(field) != "block":
                self.wide.add(field.name)
            if bits_each is not None:
                narrow = bits.narrow(offset, count, bits_each)
                self.names[field.name] = (Term(1.0, (), (narrow,)),)
                offset += -(-count * bits_each // 8)
            elif field.dtype in FLOAT_BYTES:
                source = bits.of_bytes(offset, count, FLOAT_BYTES[field.dtype], False)
                self.names[field.name] = (Term(1.0, (FloatField(field.name, field.dtype, source),)),)
                offset += FLOAT_BYTES[field.dtype] * count
            elif field.dtype in INTEGERS:
                size, signed = INTEGERS[field.dtype]
                self.names[field.name] = (Term(1.0, (), (bits.of_bytes(offset, count, size, signed),)),)
                offset += size * count
            else:
                known = ", ".join([*FLOAT_BYTES, *INTEGERS])
                raise Wrong(f"unknown element type {field.dtype}", field.span, f"known are {known}")
            width = bits_each or 8 * (FLOAT_BYTES.get(field.dtype) or INTEGERS[field.dtype][0])
            self.fields.append((range(first, first + count * width), field))
            if not self.wide:
                self.bytes = offset
        self.header = offset - self.bytes
        for let in declaration.lets:
            if len(let.names) != 1:
                raise Wrong("a format's `let` names one value", let.span)
            if isinstance(let.value, ast.List):
                self.tables[let.names[0]] = self.listed(let.names[0], let.value)
                continue
            value = self.evaluate(let.value)
            if isinstance(let.value, ast.Call) and let.value.function == "reinterpret":
                value = (Term(1.0, (replace(value[0].floats[0], name=let.names[0]),)),)
            self.names[let.names[0]] = value

    # --------------------------------------------------------------- evaluation

    def evaluate(self, node: ast.Expression) -> Value:
        match node:
            case ast.Number(value=value):
                return (Term(float(value)),)
            case ast.Name(name=name):
                if name not in self.names:
                    raise Wrong(f"unknown name {name}", node.span, f"known are {', '.join(self.names)}")
                return self.names[name]
            case ast.Unary(operator="-", operand=operand):
                return tuple(term.times(-1) for term in self.evaluate(operand))
            case ast.Binary(operator="+" | "-"):
                return self.sum(node)
            case ast.Binary(operator="*"):
                # What decides single weights first: it is one integer, which others then scale.
                factors = sorted(map(self.evaluate, _factors(node)), key=lambda v: not self.is_fine(v))
                return reduce(self.multiplied, factors)
            case ast.Binary(operator="/", left=left, right=ast.Name(name=name)) if name in self.wide:
                return self.multiplied(self.evaluate(left), self.inverse(name, node))
            case ast.Binary(operator="/", left=left, right=right):
                divisor = self.constant(right, "store the inverse, and multiply by it")
                if divisor == 0:
                    raise Wrong("division by zero", right.span)
                return tuple(Term(t.constant / divisor, t.floats, t.integers) for t in self.evaluate(left))
            case ast.Call(function="reinterpret", arguments=(stored, ast.Name(name=element))):
                return (Term(1.0, (FloatField(element, element, self.float_bits(stored, element)),)),)
            case ast.Binary() | ast.Slice() | ast.Index() | ast.Call():
                try:
                    return (Term(1.0, (), (self.bit_operation(node),)),)
                except bits.NotBits as reason:
                    raise Wrong(str(reason), node.span, reason.help) from None
        raise Wrong("this expression is not understood in a format", node.span)

    def inverse(self, name: str, node: ast.Expression) -> Value:
        """1 / a float of the row."""
        (term,) = self.names[name]
        if len(term.floats) != 1 or term.integers:
            raise Wrong("only a float divides", node.span)
        return (Term(1.0, (replace(term.floats[0], inverse=True),)),)

    def sum(self, node: ast.Binary) -> Value:
        left, right = self.evaluate(node.left), self.evaluate(node.right)
        right = tuple(term.times(1 if node.operator == "+" else -1) for term in right)
        # A stored integer plus a constant stays one integer, so that it can scale or be scaled as such.
        for one, other in ((left, right), (right, left)):
            field = self.single(one)
            if not isinstance(field, BitField) or len(other) != 1 or other[0].floats or other[0].integers:
                continue
            if other[0].whole:
                return (Term(1.0, (), (_plus(field, int(other[0].constant)),)),)
        both = left + right
        varying = [term for term in both if term.integers]
        if not varying or not all(term.whole for term in both):
            return both
        # Whole numbers: one node where two are added, or a constant to what scales a sub-block.
        if len(varying) > 1 or self.is_shared(self.product(varying[0].integers)):
            return self.gathered(both)
        return both

    def multiplied(self, left: Value, right: Value) -> Value:
        # A sum of whole numbers that multiplies codes is one integer: distributed, it would be two codes.
        if self.is_fine(left):
            right = self.gathered(right)
        if self.is_fine(right):
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
        added = sum(int(term.constant) for term in value if not term.integers)
        return (Term(1.0, (), (_plus(total, added),)),)

    def is_shared(self, node: Integers) -> bool:
        """Tell whether a node has so few integers that it can scale sub-blocks."""
        return node.count * FINEST <= self.declaration.length

    def is_fine(self, value: Value) -> bool:
        """Tell whether integers that are too many to be scales are part of a value."""
        return any(not self.is_shared(node) for term in value for node in term.integers)

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
            real = any(term.floats for term in value)
            help = (
                "floats are not cut or indexed: declare each that has a part of its own as a field"
                if real
                else None
            )
            raise Wrong(
                f"expected integers of the block{', found real numbers' if real else ''}", node.span, help
            )
        return found

    def stored(self, node: ast.Expression) -> BitField:
        found = self.field(node)
        if not isinstance(found, BitField):
            help = "take and cut what is stored, and compute with the parts"
            raise Wrong("expected bits of the block, found a computed integer", node.span, help)
        return found

    def float_bits(self, node: ast.Expression, element: str) -> BitField:
        if element not in FLOAT_BYTES:
            raise Wrong(f"{element} is no type of floats", node.span, f"known are {', '.join(FLOAT_BYTES)}")
        field, width = bits.plain(self.stored(node)), 8 * FLOAT_BYTES[element]
        if field.width != width or any(ZERO in source for source in field.sources):
            raise Wrong(f"{element} has {width} bits, found {field.width}", node.span)
        return BitField(field.sources)

    def table(self, node: ast.Expression) -> Table | None:
        """The table that an expression names or lists."""
        if isinstance(node, ast.List):
            return self.listed("table", node)
        if not isinstance(node, ast.Name) or node.name in self.names:
            return None
        if node.name not in self.tables and node.name in self.external:
            self.tables[node.name] = supplied(self.external[node.name])
        return self.tables.get(node.name)

    def listed(self, name: str, node: ast.List) -> Table:
        help = "let the table hold multiples and divide its scale: d / 2 * [0, 1, 3] stands for 0, 0.5, 1.5"
        entries = [self.whole(item, help) for item in node.items]
        wrong = next((i for i, entry in enumerate(entries) if not -32768 <= entry <= 32767), None)
        if wrong is not None:
            raise Wrong("an element of a table has at most 16 bits", node.items[wrong].span)
        return Table.of(name, np.array(entries))

    def look_up(self, table: Table, node: ast.Index) -> Integers:
        index = self.field(node.index)
        low, high = values(index)[0], values(index)[-1]
        if low < 0 or high >= table.entries:
            raise Wrong(
                f"the index goes from {low} to {high}, the table {table.name} from 0 to {table.entries - 1}",
                node.index.span,
                "mask the index, or give the table an entry for every one",
            )
        return Lookup(table, index)

    def constant(self, node: ast.Expression, help: str | None = None) -> float:
        value = self.evaluate(node)
        if any(term.floats or term.integers for term in value):
            raise Wrong("expected a constant, found what the block stores", node.span, help)
        return sum((term.constant for term in value), 0.0)

    def whole(self, node: ast.Expression, help: str | None = None) -> int:
        value = self.constant(node, help)
        if not value.is_integer() or abs(value) > _LARGEST:
            size = " of at most 32 bits" if value.is_integer() or math.isinf(value) else ""
            raise Wrong(f"expected a whole number{size}, found {value:g}", node.span, help)
        return int(value)

    def shift(self, node: ast.Expression) -> int:
        """By how many bits a shift moves."""
        value = self.whole(node)
        if not 0 <= value <= 31:
            help = "+ and - bind tighter than << and >>: put the shift in parentheses"
            raise Wrong(f"a shift takes 0 to 31 bits, not {value}", node.span, help)
        return value

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
                    raise Wrong(
                        "bits() needs run=: how many integers give their lowest bits first",
                        node.span,
                        "bits(q, 4, run=16): low nibbles of 16 bytes, then their high ones; run=1: both of a "
                        "byte side by side",
                    )
                count = self.whole(parts_node) if parts_node is not None else None
                return bits.spread(self.stored(field), self.whole(width), self.whole(run), count)
        raise AssertionError("the check lets no other operation through")

    def bitwise(self, symbol: str, left: Integers, right: ast.Expression) -> Integers:
        if isinstance(left, BitField):
            match symbol:
                case "&":
                    return bits.mask(left, self.whole(right))
                case "|":
                    return bits.merge(left, self.stored(right))
                case "<<":
                    return bits.shift_left(left, self.shift(right))
                case ">>":
                    return bits.shift_right(left, self.shift(right))
        if symbol in ("<<", ">>"):
            self.shift(right)
        other = self.evaluate(right)
        constant = len(other) == 1 and not other[0].integers
        return Combined(symbol, left, self.whole(right) if constant else self.field(right))


def _factors(node: ast.Expression) -> Iterator[ast.Expression]:
    """What a chain of `*` multiplies, in order."""
    if isinstance(node, ast.Binary) and node.operator == "*":
        yield from _factors(node.left)
        yield from _factors(node.right)
    else:
        yield node


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
