"""The compiled quantizer of single blocks: f32 numbers -> a block of the file, derived from the normal form.

In: numbers of a token's head and where its blocks go. Each sub-block's scale is what takes its largest
number (or its lowest and its highest) to the ends of the alphabet, as the block can store it; then every
number takes the nearest code. No search, unlike `quant.encode`: this runs for every new token. NaN gives
some code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lumen_core.ir.kernel import F32, I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.alphabet import Alphabet, alphabet, fields_of
from lumen_core.quant.choices import Choice, choice
from lumen_core.quant.codebook import Codebook
from lumen_core.quant.encodable import largest_weight, without_optional_offset
from lumen_core.quant.floats import is_small, small_floats
from lumen_core.quant.normal_form import BitField, FloatField, NormalForm, Scale
from lumen_core.schedule.blocks import store_bits
from lumen_core.schedule.nearest import VectorSearch, content_type, count_below, near_contents, near_value
from lumen_core.schedule.rounding import rounded
from lumen_core.schedule.write_blocks import Contents, add_to_block

CHUNK = 16
FEW_VALUES = 4  # of an alphabet, for which the largest number says little about the best scale
_TINY = 1e-30  # below this the scale's inverse would overflow: such a sub-block counts as zero


def build_encode(form: NormalForm, name: str = "encode") -> Kernel:
    """Build `name(numbers, blocks, count)`: the bytes of `count` blocks of f32 numbers."""
    parameters = [("numbers", PTR), ("blocks", PTR), ("count", I64)]
    kernel = Kernel(name, parameters, doc=f"f32 -> {form.name}")
    numbers, blocks, count = kernel.parameters
    emit_encode(Builder(kernel), form, numbers, blocks, count)
    return kernel


def emit_encode(b: Builder, form: NormalForm, numbers: Value, blocks: Value, count: Value | int) -> None:
    """Write a row of `count` blocks; the format must pass `quant.cache_layout.check_cache_format`."""
    inside = without_optional_offset(replace(form, row=None, header_bytes=0))
    times = _row_factor(b, form, inside, numbers, blocks, count) if form.row is not None else None
    encoder = _Block(b, inside)
    start = b.offset(blocks, form.header_bytes)
    with b.loop(0, count) as block:
        here = b.offset(numbers, b.mul(block.index, 4 * form.block))
        encoder.encode(here, b.offset(start, b.mul(block.index, form.block_bytes)), times)


def _row_factor(
    b: Builder, form: NormalForm, inside: NormalForm, numbers: Value, row: Value, count: Value | int
) -> Value:
    """Store the factor that brings a row's largest number to the end of its blocks; return its inverse."""
    assert form.row is not None
    (field,) = form.row.floats
    vector = Type("f32", CHUNK)
    with b.loop(0, b.mul(b.i64(form.block), count), CHUNK, (b.constant(vector, 0.0),)) as loop:
        value = b.load(vector, numbers, b.mul(loop.index, 4), align=4)
        loop.next(b.maximum(loop.values[0], b.abs(value)))
    largest = b.maximum(b.reduce("max", loop.results[0]), _TINY)
    limit = largest_weight(inside)
    factor = b.mul(largest, 1 / limit)
    kept, bits = rounded(b, b.div(b.f32(limit), largest) if field.inverse else factor, field.element)
    b.store(bits, row, field.offset - form.block_bytes)
    return kept if field.inverse else b.div(b.f32(1.0), kept)


class _Block:
    def __init__(self, b: Builder, form: NormalForm):
        self.b = b
        self.form = form
        self.values = alphabet(form)
        self.low, self.high = self.values.ends.low, self.values.ends.high
        self.groups = form.block // form.sub
        assert form.scale is not None
        integer = form.scale.integer
        wide = all(not is_small(field.element) for field in form.scale.floats)
        self.signed = integer.low < 0 if integer is not None else wide
        self.integers = b.stack(max(64, self.groups))  # what the sub-blocks' own integers hold
        self.word = b.stack(64)  # a float whose bits lie apart
        if isinstance(self.values, Alphabet):
            self.codes = b.stack(max(64, form.block))
            return
        self.scaled, self.abreast = b.stack(4 * form.block), b.stack(4 * form.block)
        self.contents = [
            Contents(field, element, b.stack(field.count * Type(element).bytes))
            for field in fields_of(self.values)
            for element in [content_type(field).element]
        ]

    def encode(self, numbers: Value, block: Value, times: Value | None) -> None:
        """Write a block of numbers, of their products with `times` if that is given."""
        b, form, self.block = self.b, self.form, block
        assert form.scale is not None
        width = min(CHUNK, form.sub)
        groups = []
        for start in range(0, form.block, form.sub):
            places = range(start, start + form.sub, width)
            values = [b.load(Type("f32", width), numbers, 4 * at, align=4) for at in places]
            if times is not None:
                values = [b.mul(value, b.splat(times, width)) for value in values]
            groups.append(values)
        ends = [self._ends(values) for values in groups]
        for at in range(form.block_bytes):
            b.store(b.constant(Type("i8"), 0), block, at)
        scales, offsets = self._factors(groups, ends)
        for number, (values, scale) in enumerate(zip(groups, scales, strict=True)):
            if offsets:
                values = [b.sub(value, b.splat(offsets[number], width)) for value in values]
            inverse = b.splat(self._inverse(scale), width)
            for index, value in enumerate(values):
                self._code(b.mul(value, inverse), number * form.sub + index * width)
        if isinstance(self.values, Alphabet):
            store_bits(b, self.values.field, self.codes, block)
        else:
            self._search(self.values)

    def _code(self, value: Value, at: int) -> None:
        """Take the codes of scaled numbers from place `at` on; of a code book, when all are there."""
        b = self.b
        if isinstance(self.values, Alphabet):
            b.store(b.convert(near_contents(b, self.values, value), "i8"), self.codes, at, align=1)
        else:
            b.store(value, self.scaled, 4 * at, align=4)

    def _search(self, book: Codebook) -> None:
        """Find the entries of all sub-blocks at once, a sub-block in each lane, and write them."""
        b, form, groups = self.b, self.form, self.groups
        with b.loop(0, form.sub) as element:
            here = b.offset(self.scaled, b.mul(element.index, 4))
            there = b.offset(self.abreast, b.mul(element.index, 4 * groups))
            for number in range(groups):
                b.store(b.load(F32, here, 4 * number * form.sub, align=4), there, 4 * number, align=4)
        found = VectorSearch(b, book, groups, self.abreast, None, exact=True).run()
        for item, entries in zip(self.contents, found, strict=True):
            for place, entry in enumerate(entries):
                kept = b.convert(entry, item.element)
                for number in range(groups):
                    at = (number * len(entries) + place) * Type(item.element).bytes
                    b.store(b.extract(kept, number), item.at, at)
        add_to_block(b, self.contents, form.block_bytes, self.block)

    def _ends(self, values: Sequence[Value]) -> tuple[Value, Value]:
        """The largest and the least number of a sub-block."""
        b, most, least = self.b, values[0], values[0]
        for value in values[1:]:
            most, least = b.maximum(most, value), b.minimum(least, value)
        return b.reduce("max", most), b.neg(b.reduce("max", b.neg(least)))

    def _factors(
        self, groups: Sequence[Sequence[Value]], ends: Sequence[tuple[Value, Value]]
    ) -> tuple[list[Value], list[Value]]:
        """Choose and store the scale (and the offset) of every sub-block, as they will be read."""
        b, form = self.b, self.form
        assert form.scale is not None
        if form.offset is None:
            scales = self._store(form.scale, [self._span(*pair) for pair in ends])
            if form.scale.integer is None and len(self.form.alphabet) <= FEW_VALUES:
                refitted = [self._refitted(*pair) for pair in zip(scales, groups, strict=True)]
                scales = self._store(form.scale, refitted)
            return scales, []
        integer = form.offset.integer
        if integer is not None and integer.low >= 0:  # offsets of one sign: down from 0
            ends = [(most, b.minimum(least, 0.0)) for most, least in ends]
        wanted = [b.mul(b.sub(most, least), 1 / (self.high - self.low)) for most, least in ends]
        scales = self._store(form.scale, wanted)
        starts = [
            b.sub(least, b.mul(scale, self.low)) for (_, least), scale in zip(ends, wanted, strict=True)
        ]
        return scales, self._store(form.offset, starts)

    def _inverse(self, scale: Value) -> Value:
        b = self.b
        usable = b.compare("gt", b.abs(scale), _TINY)
        return b.select(usable, b.div(b.f32(1.0), scale), b.f32(0.0))

    def _refitted(self, scale: Value, values: Sequence[Value]) -> Value:
        """The scale that fits best (least squares) the values that are nearest under `scale`."""
        b, levels = self.b, np.array(self.form.alphabet)
        each = Alphabet(BitField((tuple(range(8)),)), levels, np.arange(len(levels)))
        inverse = b.splat(self._inverse(scale), values[0].type.lanes)
        products = squares = b.constant(values[0].type, 0.0)
        for value in values:
            near = near_value(b, each, b.mul(value, inverse))
            products, squares = b.fma(value, near, products), b.fma(near, near, squares)
        return b.div(b.reduce("add", products), b.maximum(b.reduce("add", squares), 1.0))

    def _span(self, most: Value, least: Value) -> Value:
        """The scale that takes the largest magnitude to an end of the alphabet, or cuts nothing off.

        One value more on one side is for the largest magnitude; the other side may lose a little.
        """
        b = self.b
        narrow, wide = sorted((-self.low, self.high))
        if not self.signed:
            return self._uncut(most, least)
        if narrow == wide:
            return b.mul(b.maximum(most, b.neg(least)), 1 / wide)
        if narrow > 0 and wide - narrow > 1.5 * (self.high - self.low) / (self.values.ends.size - 1):
            scale, turned = self._uncut(most, least), self._uncut(b.neg(least), b.neg(most))
            return b.select(b.compare("gt", scale, turned), b.neg(turned), scale)
        return b.mul(self._further(most, least), 1 / (self.low if wide == -self.low else self.high))

    def _uncut(self, most: Value, least: Value) -> Value:
        """The least scale, not negative, at which no number lies beyond an end that the alphabet has."""
        b, scale = self.b, self.b.f32(0.0)
        for number, end in ((most, max(self.high, 0.0)), (least, min(self.low, 0.0))):
            if end:
                scale = b.maximum(b.mul(number, 1 / end), scale)
        return scale

    def _further(self, a: Value, other: Value) -> Value:
        """The one of the larger magnitude."""
        b = self.b
        return b.select(b.compare("gt", b.abs(a), b.abs(other)), a, other)

    # ------------------------------------------------------------------ factors

    def _store(self, scale: Scale, wanted: list[Value]) -> list[Value]:
        """Write factors of sub-blocks where the block keeps them; return them as they will be read."""
        if not scale.floats and scale.integer is None:
            return [self.b.f32(scale.constant)] * len(wanted)
        field = scale.floats[0] if scale.floats else None
        if scale.integer is None and field is not None and field.count > 1:
            return [self._store_float(scale, field, number, wish) for number, wish in enumerate(wanted)]
        far = wanted[0]
        for wish in wanted[1:]:
            far = self._further(wish, far)
        if scale.integer is None:
            assert field is not None
            return [self._store_float(scale, field, 0, far)] * len(wanted)
        numbers = choice(scale.integer, self.form.name)
        end = numbers.low if -numbers.low > numbers.high else numbers.high
        kept = self.b.f32(scale.constant)
        if field is not None:
            kept = self._store_float(scale, field, 0, self.b.mul(far, 1 / end))
        inverse = self._inverse(kept)
        found = [
            self._store_integer(numbers, at, self.b.mul(wish, inverse)) for at, wish in enumerate(wanted)
        ]
        store_bits(self.b, numbers.field, self.integers, self.block)
        return [self.b.mul(kept, value) for value in found]

    def _store_integer(self, numbers: Choice, number: int, wanted: Value) -> Value:
        """Keep what stands for the nearest integer, for sub-block `number`; return the integer."""
        b, values = self.b, numbers.values.astype("<f4")
        place = b.convert(count_below(b, wanted, (values[1:] + values[:-1]) / 2), "i64")
        bits = b.load(Type("i8"), b.offset(b.data(numbers.bits.astype("<u1").tobytes()), place))
        b.store(bits, self.integers, number)
        return b.load(F32, b.offset(b.data(values.tobytes()), b.mul(place, 4)), align=4)

    def _store_float(self, scale: Scale, field: FloatField, number: int, wanted: Value) -> Value:
        b = self.b
        wanted = b.mul(wanted, 1 / scale.constant)
        if is_small(field.element):
            place = field.offset + number * field.bytes
            return b.mul(self._store_small(field, wanted, place), scale.constant)
        kept, bits = rounded(b, wanted, field.element)
        if field.whole:
            b.store(bits, self.block, field.offset + number * field.bytes)
        else:
            b.store(bits, self.word)
            put = Contents(field.source, bits.type.element, self.word)
            add_to_block(b, [put], self.form.block_bytes, self.block)
        return b.mul(kept, scale.constant)

    def _store_small(self, field: FloatField, wanted: Value, place: int) -> Value:
        """Write the code of the number of a one-byte type that suits, found by halving."""
        b = self.b
        with np.errstate(over="ignore"):
            numbers = (small_floats(field.element) * field.factor).astype(np.float32)
        usable = np.flatnonzero(np.isfinite(numbers))
        held, first = np.unique(numbers[usable], return_index=True)
        # The next one up where that is nearer, or where the lower would cut off much of the largest.
        middles = np.minimum((held[1:].astype(np.float64) + held[:-1]) / 2, held[:-1] * (7 / 6))
        edges = np.full(256, np.inf, np.float32)
        edges[: len(held)] = np.concatenate([[-np.inf], middles])
        table = b.data(edges.tobytes())
        found = b.i64(0)
        for step in (128, 64, 32, 16, 8, 4, 2, 1):
            trial = b.add(found, step)
            above = b.compare("gt", wanted, b.load(F32, b.offset(table, b.mul(trial, 4)), align=4))
            found = b.select(above, trial, found)
        code = b.load(Type("i8"), b.offset(b.data(usable[first].astype(np.uint8).tobytes()), found))
        b.store(code, self.block, place)
        return b.load(F32, b.offset(b.data(held.tobytes()), b.mul(found, 4)), align=4)
