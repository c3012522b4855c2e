"""Format declaration -> normal form, from the declared expression, evaluated over the origin of every bit.

Every integer is tracked as places in the block, every product as a term, so what comes out is exact: which
bits make a code, what scales it, what is added. Nothing looks at a format's name.
Findings are reported at the guilty place of the declaration.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

from lumen_core.dsl import ast
from lumen_core.dsl.check_format import check_format
from lumen_core.dsl.origins import GROUP
from lumen_core.errors import SourceError, UnsupportedFormatError
from lumen_core.quant.bits import shift_right
from lumen_core.quant.bounds import LARGEST_SUM, largest_sum, reach, summed
from lumen_core.quant.coding import TABLE, NoCoding, choose_coding
from lumen_core.quant.evaluate import Evaluation, Term, Value
from lumen_core.quant.finding import Wrong
from lumen_core.quant.floats import is_small
from lumen_core.quant.integers import BeyondLimits, BitField, Combined, Integers, bit_sources, values
from lumen_core.quant.normal_form import FloatField, NormalForm, Scale
from lumen_core.source import Diagnostics, Span

WEIGHTS_OF_ONE_BYTE = ("e4m3", "e5m2")
_LARGEST_MULTIPLIER = 16
_LARGEST_ZERO = 1 << 16


def analyse(declaration: ast.Format) -> NormalForm:
    """Return the normal form; raises SourceError at the place that cannot be brought into it."""
    diagnostics = Diagnostics()
    check_format(declaration, diagnostics)
    diagnostics.raise_if_any()
    notes = (f"in format {declaration.name}",)
    try:
        return _Analysis(declaration).normal_form()
    except BeyondLimits as reason:
        diagnostics.error(str(reason), declaration.value.span, notes=notes)
    except Wrong as wrong:
        diagnostics.error(str(wrong), wrong.span, notes=notes, help=wrong.help)
    raise diagnostics.exception()


def analyse_all(declarations: Iterable[ast.Format]) -> list[NormalForm]:
    """Return the normal forms; raises one SourceError with what was found in all of the declarations."""
    forms, diagnostics = [], Diagnostics()
    for declaration in declarations:
        try:
            forms.append(analyse(declaration))
        except SourceError as error:
            diagnostics.take(error)
    diagnostics.raise_if_any()
    return forms


_Key = tuple[tuple[FloatField, ...], Integers | None]  # floats and an integer that scale a term
_Factors = dict[Integers | None, float]  # codes (None: nothing but one) and their constants


class _Analysis(Evaluation):
    def normal_form(self) -> NormalForm:
        value = self.evaluate(self.declaration.value)
        self.every_bit_is_used(value)
        value, row = self.row_apart(value)
        for term in value:
            for field in (*term.integers, *term.floats):
                if self.block % field.count:
                    raise Wrong(f"{field.count} values do not divide the block of {self.block}", self.where)
        floats = len(value) == 1 and not value[0].integers
        form = self.float_form(value[0]) if floats else self.integer_form(value)
        form = replace(form, row=row, header_bytes=self.header, ordered=self.ordered)
        if not floats:
            self.check_offset(form)
            self.no_overflow(form)
        return form

    @property
    def block(self) -> int:
        return self.declaration.length

    @property
    def where(self) -> Span:
        return self.declaration.value.span

    @property
    def ordered(self) -> bool:
        return any(field.dtype == GROUP for field in self.declaration.fields)

    def float_form(self, term: Term) -> NormalForm:
        stored, scale = self.stored_as_floats(term)
        return NormalForm(
            self.declaration.name, self.block, self.bytes, "float", stored.element, stored=stored, scale=scale
        )

    def integer_form(self, value: Value) -> NormalForm:
        scales = self.by_scale(value)
        key = self.key_of_codes(scales)
        code, step, start = self.code(scales[key])
        shift: Integers | None = None
        if len(scales) == 1:
            code, shift = self.shift_apart(code)
        multiplier, zero = self.zero_point(step, start)
        try:
            coding = choose_coding(code, multiplier, zero)
        except NoCoding as reason:
            if sub := self.sub_block_of_two_codes(value):
                raise Wrong(*_odd_sub_block(self.block, sub, self.where)) from None
            raise Wrong(str(reason), self.where, reason.help) from None
        floats, integer = key
        offset: Scale | None = None
        if shift is not None:
            shift, times = _halved(shift)  # before the product, which must fit in a byte
            shifted = shift if integer is None else self.product((integer, shift))
            offset = _scale(step * times, floats, shifted)
        for other, factors in scales.items():
            if other != key:
                offset = _scale(factors[None], *other)
        scale = _scale(step / multiplier, floats, integer)
        return NormalForm(
            self.declaration.name,
            self.block,
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

    def by_scale(self, value: Value) -> dict[_Key, _Factors]:
        """The terms by what scales whole sub-blocks of them."""
        scales: dict[_Key, _Factors] = {}
        for term in value:
            fine = self.fine(term)
            shared = tuple(node for node in term.integers if self.is_shared(node))
            if len(fine) > 1 and len({node.count for node in fine}) == 1 and all(map(_is_code, fine)):
                raise Wrong("a weight is one code times one sub-scale at most", self.where)
            factors = scales.setdefault((term.floats, self.product(shared) if shared else None), {})
            code = self.product(fine) if fine else None
            factors[code] = factors.get(code, 0.0) + term.constant
        return scales

    def fine(self, term: Term) -> tuple[Integers, ...]:
        """The integers of a term that are too many to be scales."""
        return tuple(node for node in term.integers if not self.is_shared(node))

    def sub_block_of_two_codes(self, value: Value) -> int:
        """Weights that share one of two codes of a term, rather meant as a scale; 0: no term has two."""
        counts = [
            min(node.count for node in fine)
            for fine in map(self.fine, value)
            if len(fine) > 1 and all(map(_is_code, fine))
        ]
        return self.block // counts[-1] if counts else 0

    def key_of_codes(self, scales: dict[_Key, _Factors]) -> _Key:
        coded = [key for key, factors in scales.items() if any(code is not None for code in factors)]
        if len(coded) > 1:
            found = " and ".join(map(self.named, coded))
            raise Wrong(
                f"the value is not scale * code + offset: the codes of a weight are scaled by {found}",
                self.where,
                "one scale multiplies the codes; of another only what a whole sub-block shares can be added",
            )
        if not coded or len(scales) > 2:
            found = ", ".join(self.named(key) for key in scales if key not in coded)
            raise Wrong(
                f"the value is not scale * code + offset: {'' if coded else 'without codes '}it adds {found}",
                self.where,
                "one term holds the codes of all weights, at most one other is added to it",
            )
        return coded[0]

    def named(self, key: _Key) -> str:
        """What scales a term, by the fields that store it."""
        floats, integer = key
        fields = [field.name for field in floats] + ([self.declared(integer).name] if integer else [])
        return " * ".join(f"`{name}`" for name in fields) or "a constant"

    def code(self, factors: _Factors) -> tuple[Integers, float, float]:
        """The codes of the weights, what multiplies them, and what is added."""
        codes = [code for code in factors if code is not None]
        if len(codes) != 1:
            raise Wrong(
                "two different codes are added for one weight",
                self.where,
                "join the bits of one code with |, and multiply integers before the scale: d * (sign * code)",
            )
        (code,) = codes
        if code.count != self.block:
            raise Wrong(f"{code.count} codes for a block of {self.block}", self.where)
        if isinstance(code, BitField) and code.width > 8:
            raise Wrong(
                f"a code of {code.width} bits; codes have at most 8",
                self.where,
                "cut it into planes with `bits`, or make it the index of a table",
            )
        step, start = factors[code], factors.get(None, 0.0)
        if not (math.isfinite(step) and math.isfinite(start)) or step == 0:
            raise Wrong(f"the codes are multiplied by {step:g} and {start:g} is added", self.where)
        return code, step, start

    def check_offset(self, form: NormalForm) -> None:
        offset = form.offset
        if offset is not None and form.row is None and not offset.floats and offset.integer is None:
            raise Wrong(
                f"{offset.constant:g} is added to every weight, whatever its scale",
                self.where,
                "put a zero point in parentheses with the codes: d * (codes - 8)",
            )

    def no_overflow(self, form: NormalForm) -> None:
        """Prove that sums of products stay within 32 bits; what can be too large is a sub-block's integer."""
        most = largest_sum(form)
        if most <= LARGEST_SUM:
            return
        integers = [factor.integer for factor in (form.scale, form.offset) if factor is not None]
        guilty = max((integer for integer in integers if integer is not None), key=reach)
        largest = reach(guilty) * LARGEST_SUM // most
        raise Wrong(
            f"the sums of {summed(form)} products can reach {most}, which 32 bits do not hold",
            self.declared(guilty).span,
            f"these integers go from {guilty.low} to {guilty.high}, at most {largest} is safe: "
            "add less to what is stored, and let the block's float carry the rest",
        )

    def declared(self, integer: Integers) -> ast.Field:
        """The field that stores an integer."""
        sources = set(bit_sources(integer))
        return next(field for bits, field in self.fields if not sources.isdisjoint(bits))

    def row_apart(self, value: Value) -> tuple[Value, Scale | None]:
        """Take out the floats of the row that multiply every weight."""
        common = tuple(
            field
            for field in value[0].floats
            if field.name in self.wide and all(field in term.floats for term in value)
        )
        rest = tuple(
            replace(term, floats=tuple(field for field in term.floats if field not in common))
            for term in value
        )
        if any(field.inverse for term in rest for field in term.floats):
            help = "a float that divides must divide the whole value"
            raise Wrong("not every weight is divided by the same", self.where, help)
        return rest, Scale(1.0, common) if common else None

    def stored_as_floats(self, term: Term) -> tuple[FloatField, Scale | None]:
        """The floats that the weights are, and what scales a block of them."""
        weights = [field for field in term.floats if field.count == self.block]
        if not weights:
            raise Wrong(
                "the value is not scale * code + offset",
                self.where,
                "one term holds the codes of all weights, at most one other is added to it",
            )
        stored, others = weights[0], tuple(field for field in term.floats if field is not weights[0])
        if is_small(stored.element) and stored.element not in WEIGHTS_OF_ONE_BYTE:
            raise Wrong(f"weights stored as {stored.element} are not understood", self.where)
        if any(field.count != 1 for field in others) or not stored.whole:
            raise Wrong("weights that are floats have one scale a block", self.where)
        if not others and term.constant == 1:
            return stored, None
        return stored, _scale(term.constant, others, None)

    def shift_apart(self, code: Integers) -> tuple[Integers, Integers | None]:
        """A code plus an integer of its sub-block, where the sum needs more bits: (code, what is added)."""
        if not isinstance(code, Combined) or code.operator != "+" or isinstance(code.right, int):
            return code, None
        if not self.is_shared(code.right) or len(values(code)) <= TABLE:
            return code, None
        return code.left, code.right

    def sub_block(self, scale: Scale, offset: Scale | None) -> int:
        finest = [s.count for s in (scale, offset) if s is not None and s.count > 1]
        if len(set(finest)) > 1:
            raise Wrong(
                "scales and offsets have different sub-blocks",
                self.where,
                f"store as many offsets as scales; found {' and '.join(map(str, finest))}",
            )
        if self.block % 32:
            raise Wrong(
                f"a block of {self.block} is no multiple of 32",
                self.declaration.span,
                "activations come in groups of 32: let a block hold 32, 64, ... weights",
            )
        sub = self.block // (finest[0] if finest else 1)
        if sub != 16 and sub % 32:
            raise Wrong(*_odd_sub_block(self.block, sub, self.where))
        for one in (scale, offset):
            if one is None:
                continue
            counts = [field.count for field in one.floats] + ([one.integer.count] if one.integer else [])
            if any(count not in (1, one.count) for count in counts):
                raise Wrong(
                    "the factors of a scale have different sub-blocks",
                    self.where,
                    f"each factor has one value for the block or {one.count}, one for each sub-block",
                )
            integer = one.integer
            if integer is not None and integer.high - integer.low > 255:
                raise Wrong(
                    f"scales from {integer.low} to {integer.high} do not fit in a byte",
                    self.declared(integer).span,
                    "store them in at most 8 bits, and let the block's float carry the rest",
                )
        return sub

    def zero_point(self, step: float, start: float) -> tuple[int, int]:
        """Bring step * code + start into the form step / m * (m * code - zero), m as small as can be."""
        for multiplier in range(1, _LARGEST_MULTIPLIER + 1):
            zero = -start / step * multiplier
            if abs(zero) > _LARGEST_ZERO:
                raise Wrong("the zero point is too far from the codes", self.where)
            if abs(zero - round(zero)) < 1e-9:  # 2 * code - 15, divided by 3, stays what it is
                return multiplier, round(zero)
        raise Wrong("the zero point is not a whole number of steps", self.where)

    def every_bit_is_used(self, value: Value) -> None:
        """A bit of the block that nothing reads is a mistake of the declaration."""
        used: set[int] = set()
        for term in value:
            for floating in term.floats:
                used.update(bit_sources(floating.source))
            for field in term.integers:
                used.update(bit_sources(field))
        for bits, entry in self.fields:
            unread = [bit - bits.start for bit in bits if bit not in used]
            if unread:
                part = f"bit {unread[0] % 8} of byte {unread[0] // 8} of " if len(unread) < len(bits) else ""
                raise Wrong(
                    f"{part}`{entry.name}` is never read",
                    entry.span,
                    "use it in `value`, or leave the field out",
                )


def _odd_sub_block(block: int, sub: int, where: Span) -> tuple[str, Span, str]:
    return (
        f"a sub-block of {sub} is neither 16 nor a multiple of 32",
        where,
        f"{block // sub} scales share the block of {block}; let one scale 16, 32, 64, ... weights",
    )


def _is_code(node: Integers) -> bool:
    return isinstance(node, BitField) and node.width > 1


def _halved(node: Integers) -> tuple[Integers, int]:
    """A node whose integers are all multiples of a power of two, divided by it, and that power."""
    power = math.gcd(*values(node)) or 1
    places = (power & -power).bit_length() - 1
    if isinstance(node, BitField) and not node.signed and not node.add:
        return shift_right(node, places), 1 << places
    return (Combined(">>", node, places) if places else node), 1 << places


def _scale(constant: float, floats: tuple[FloatField, ...], integer: Integers | None) -> Scale:
    """A factor; a float of one byte takes the constant into the table of its values."""
    for place, field in enumerate(floats):
        if is_small(field.element):
            folded = replace(field, factor=constant)
            return Scale(1.0, (*floats[:place], folded, *floats[place + 1 :]), integer)
    return Scale(constant, floats, integer)


class Formats(dict[str, NormalForm]):
    """Normal forms by format name; an unknown name gives an error that says what is there."""

    def __missing__(self, name: str) -> NormalForm:
        known = ", ".join(sorted(self)) or "none"
        raise UnsupportedFormatError(f"no installed package declares the format {name} (known: {known})")
