"""The compiled quantizer of single blocks: f32 numbers -> a block of the file, derived from the normal form.

In: numbers of a token's head and where its blocks go. Each sub-block's scale is what takes its largest
number (or its lowest and its highest) to the ends of the alphabet, as the block can store it; then every
number takes the nearest code. No search, unlike `quant.encode`: this runs for every new token. NaN gives
some code.
"""

from __future__ import annotations

import numpy as np

from lumen_core.ir.kernel import F32, I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.floats import is_small, small_floats
from lumen_core.quant.normal_form import BitField, FloatField, NormalForm, Scale
from lumen_core.quant.stored_floats import largest
from lumen_core.schedule.blocks import store_bits

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
    """Write `count` blocks; the format must pass `quant.cache_layout.check_cache_format`."""
    codes = b.stack(max(64, form.block))
    with b.loop(0, count) as block:
        here = b.offset(numbers, b.mul(block.index, 4 * form.block))
        _Block(b, form, here, b.offset(blocks, b.mul(block.index, form.block_bytes)), codes).encode()


class _Block:
    def __init__(self, b: Builder, form: NormalForm, numbers: Value, block: Value, codes: Value):
        self.b = b
        self.form = form
        self.numbers = numbers
        self.block = block
        self.codes = codes
        self.low, self.high = (float(end) for end in (form.alphabet[0], form.alphabet[-1]))

    def encode(self) -> None:
        b, form = self.b, self.form
        assert isinstance(form.code, BitField) and form.scale is not None
        for at in range(form.block_bytes):
            b.store(b.constant(Type("i8"), 0), self.block, at)
        groups = max(scale.count for scale in (form.scale, form.offset) if scale is not None)
        size = form.block // groups
        for group in range(groups):
            self._group(group, range(group * size, (group + 1) * size))
        store_bits(b, form.code, self.codes, self.block)

    def _group(self, group: int, elements: range) -> None:
        """Choose the scale (and offset) of some elements, and their codes."""
        b, form = self.b, self.form
        assert form.scale is not None
        width = min(CHUNK, len(elements))
        vector = Type("f32", width)
        places = range(elements.start, elements.stop, width)
        values = [b.load(vector, self.numbers, 4 * at, align=4) for at in places]
        most, least = values[0], values[0]
        for value in values[1:]:
            most, least = b.maximum(most, value), b.minimum(least, value)
        most = b.reduce("max", most)
        least = b.neg(b.reduce("max", b.neg(least)))
        offset = None
        if form.offset is not None:
            wanted = b.mul(b.sub(most, least), 1 / (self.high - self.low))
            scale = self._store(form.scale, group, wanted)
            offset = self._store(form.offset, group, b.sub(least, b.mul(wanted, self.low)))
        else:
            scale = self._store(form.scale, group, self._span(form.scale, most, least))
        if offset is not None:
            values = [b.sub(value, b.splat(offset, width)) for value in values]
        elif len(form.alphabet) <= FEW_VALUES:
            scale = self._store(form.scale, group, self._refitted(scale, values))
        inverse = b.splat(self._inverse(scale), width)
        for at, value in zip(places, values, strict=True):
            b.store(self._bits(self._nearest(b.mul(value, inverse))), self.codes, at, align=1)

    def _inverse(self, scale: Value) -> Value:
        b = self.b
        usable = b.compare("gt", b.abs(scale), _TINY)
        return b.select(usable, b.div(b.f32(1.0), scale), b.f32(0.0))

    def _refitted(self, scale: Value, values: list[Value]) -> Value:
        """The scale that fits best (least squares) the codes that are nearest under `scale`."""
        b, form = self.b, self.form
        inverse = b.splat(self._inverse(scale), values[0].type.lanes)
        products = squares = b.constant(values[0].type, 0.0)
        for value in values:
            code = b.convert(self._nearest(b.mul(value, inverse)), "f32")
            code = b.mul(b.sub(code, form.zero_of_code / form.multiplier), float(form.multiplier))
            products, squares = b.fma(value, code, products), b.fma(code, code, squares)
        total = b.maximum(b.reduce("add", squares), 1.0)
        return b.div(b.reduce("add", products), total)

    def _span(self, scale: Scale, most: Value, least: Value) -> Value:
        """The scale that takes the largest magnitude to an end of the alphabet."""
        b = self.b
        if is_small(scale.floats[0].element) or self.low >= 0:  # no scale below 0
            above = b.mul(most, 1 / self.high)
            return b.maximum(b.maximum(above, b.mul(least, 1 / self.low)) if self.low else above, 0.0)
        if -self.low == self.high:
            return b.mul(b.maximum(most, b.neg(least)), 1 / self.high)
        far = b.select(b.compare("gt", most, b.neg(least)), most, least)
        return b.mul(far, 1 / (self.low if -self.low > self.high else self.high))

    def _store(self, scale: Scale, group: int, wanted: Value) -> Value:
        """Write a factor where the block keeps it; return it as it will be read."""
        b, (field,) = self.b, scale.floats
        place = field.offset + (group if field.count > 1 else 0) * field.bytes
        wanted = b.mul(wanted, 1 / scale.constant)
        if is_small(field.element):
            return b.mul(self._store_small(field, wanted, place), scale.constant)
        limit = largest(field.element)
        wanted = b.maximum(b.minimum(wanted, limit), -limit)
        if field.element == "bf16":
            bits = b.bitcast(wanted, Type("i32"))
            bits = b.shr(b.add(b.add(bits, 0x7FFF), b.bitand(b.shr(bits, 16), 1)), 16)
            b.store(b.convert(bits, "i16"), self.block, place)
            return b.mul(b.bitcast(b.shl(bits, 16), F32), scale.constant)
        kept = b.convert(wanted, field.element)
        b.store(kept, self.block, place)
        return b.mul(b.convert(kept, "f32"), scale.constant)

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

    def _nearest(self, value: Value) -> Value:
        """Codes of scaled numbers, counted from the lowest."""
        b, form = self.b, self.form
        assert isinstance(form.code, BitField)
        integers = value.type.of("i32")
        if form.table is not None:
            values, first = np.unique(np.array(form.table), return_index=True)
            code = b.constant(integers, int(first[0]))
            for low, high, place in zip(values[:-1], values[1:], first[1:], strict=True):
                above = b.compare("gt", value, float(low + high) / 2)
                code = b.select(above, b.constant(integers, int(place)), code)
        else:
            top = (1 << form.bits) - 1
            value = b.rint(b.mul(b.add(value, float(form.zero_of_code)), 1 / form.multiplier))
            code = b.convert(b.maximum(b.minimum(value, float(top)), 0.0), "i32")
        return code

    def _bits(self, code: Value) -> Value:
        """Codes as the bits of their field."""
        b, field = self.b, self.form.code
        assert isinstance(field, BitField) and field.width <= 8
        return b.convert(b.bitxor(code, 1 << (field.width - 1)) if field.signed else code, "i8")
