"""The key/value cache in kernels: which layout a model's cache has, and how a new token enters it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lumen_core.ir.core import Function, Operation
from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.cache_layout import PAGE, CacheLayout, check_cache_format
from lumen_core.quant.layout import WeightLayout
from lumen_core.quant.normal_form import NormalForm
from lumen_core.schedule.encode_block import emit_encode
from lumen_core.schedule.pack import emit_pack_block
from lumen_core.schedule.rounding import float_bits
from lumen_core.schedule.trees import load_row_factor
from lumen_core.schedule.weights import emit_places
from lumen_core.target import Target

FINE = 8  # bits of a weight that tell as much as the significand of a bf16 number


@dataclass(frozen=True)
class CacheFormats:
    """How a model's keys and values are kept."""

    keys: NormalForm
    values: NormalForm


def head_shape(operation: Operation) -> tuple[int, int, int]:
    """Query heads, key heads and elements of a head."""
    queries, keys, values = (operand.type.shape for operand in operation.operands)
    sizes = (queries[1].value, keys[1].value, keys[2].value)
    assert None not in sizes
    assert values[2] == keys[2], "keys and values have one layout"
    return sizes  # type: ignore[return-value]


def score_tiles(columns: int, target: Target) -> int:
    """Vectors of cached tokens, of one page, that are multiplied with so many queries at a time."""
    return min(4 if columns <= (target.registers - 6) // 4 else 2, PAGE // target.lanes)


def block_cache(
    function: Function, formats: CacheFormats, weights: Mapping[str, NormalForm], target: Target
) -> CacheLayout:
    """Return the layout of the cache of a layer that runs `function`; raises UnsupportedFormatError.

    Products round their factors to bf16 where that is faster and weights of the layer have codes, or
    significands, of fewer bits than a bf16 number's, so that their own rounding outweighs it; floats are then
    kept so.
    """
    found = [op for op in function.operations if op.name == "attention"]
    queries, heads, size = head_shape(found[0]) if found else (1, 1, 1)
    check_cache_format(formats.keys, size, "keys")
    check_cache_format(formats.values, size, "values")
    vector = f"<{target.lanes} x float>"
    pairs = any(row.op == "dot2_bf16" and row.types[0] == vector for row in target.instructions)
    used = {value.type.element for op in function.operations for value in op.operands} & weights.keys()
    coarse = any(weights[name].precision < FINE for name in used)

    def grouped(form: NormalForm, whole: bool) -> tuple[NormalForm, int]:
        if not (pairs and coarse and whole) or form.element == "f32":
            return form, 1
        return (replace(form, name="bf16", element="bf16") if form.element == "f16" else form), 2

    keys, key_group = grouped(formats.keys, size % 2 == 0)
    values, value_group = grouped(formats.values, size % target.lanes == 0)
    # the keys that a single token meets at a time lie side by side, those of an integer format as weights do
    tiles = score_tiles(queries // heads, target) if keys.kind == "float" else 1
    return CacheLayout(heads, size, tiles * target.lanes, keys, values, key_group, value_group)


def emit_page(b: Builder, layout: CacheLayout, part: Value, staging: Value, number: Value) -> Value:
    """Pointer to `part` (of page 0) in the pool's page `number`; page -1 is the last before `staging`."""
    start = b.select(b.compare("lt", number, 0), staging, part)
    return b.offset(start, b.mul(number, layout.page_bytes))


def emit_slot(b: Builder, slot: Value) -> tuple[Value, Value]:
    """The number of a slot's page, which may be negative, and the place in it."""
    return b.sar(slot, PAGE.bit_length() - 1), b.bitand(slot, PAGE - 1)


class Append:
    """Writes one token's key or value of one head."""

    def __init__(self, builder: Builder, layout: CacheLayout, kind: str):
        self.b = builder
        self.layout = layout
        self.kind = kind
        self.form = layout.keys if kind == "keys" else layout.values
        self.bits = Type(f"i{8 * self.form.block_bytes}") if self.form.kind == "float" else Type("i8")
        self.scratch = builder.stack(4 * layout.size)  # the head: stored floats, or f32
        integer = self.form.kind == "integer"
        self.blocks = builder.stack(self.form.row_bytes(layout.size)) if integer else self.scratch
        self.codes = builder.stack(max(64, self.form.block)) if integer else self.scratch

    def store(self, chunks: Sequence[Value], page: Value, head: Value, place: Value) -> None:
        """Write the f32 chunks of a head, in order, as those of the token at `place` of the page."""
        b, at = self.b, 0
        for chunk in chunks:
            kept = float_bits(b, chunk, self.form.element) if self.form.kind == "float" else chunk
            b.store(kept, self.scratch, at, align=4 if kept.type.bytes % 4 == 0 else 2)
            at += kept.type.bytes
        if self.kind == "keys":
            self._store_key(b.offset(page, b.mul(head, self.layout.key_head_bytes)), place)
        else:
            self._store_value(b.offset(page, b.mul(head, self.layout.value_head_bytes)), place)

    def _store_key(self, keys: Value, place: Value) -> None:
        b, layout, form = self.b, self.layout, self.form
        tile = b.offset(keys, b.mul(b.div(place, layout.rows), layout.key_tile_bytes))
        token = b.rem(place, layout.rows)
        if form.kind == "float":
            lane = form.block_bytes * layout.key_group
            self._scatter(b.offset(tile, b.mul(token, lane)), lane * layout.rows, layout.key_group)
            return
        weights = WeightLayout(form, layout.rows)
        count = layout.size // form.block
        emit_encode(b, form, self.scratch, self.blocks, count)
        if form.row is not None:
            factors = b.offset(tile, weights.blocks_bytes(count))
            b.store(load_row_factor(b, form, self.blocks), b.offset(factors, b.mul(token, 4)), align=4)
        blocks = b.offset(self.blocks, form.header_bytes)
        with b.loop(0, count) as block:
            source = b.offset(blocks, b.mul(block.index, form.block_bytes))
            codes, scales = emit_places(b, weights, tile, block.index)
            emit_pack_block(b, weights, source, codes, scales, token, self.codes)

    def _store_value(self, values: Value, place: Value) -> None:
        b, layout, form = self.b, self.layout, self.form
        row = b.offset(values, b.mul(place, layout.value_token_bytes))
        if form.kind == "integer":
            emit_encode(b, form, self.scratch, row, layout.size // form.block)
        elif layout.value_group == 1:
            self._scatter(row, form.block_bytes, 1)
        else:
            # The first of a pair clears the second: what was there is no number of this sequence.
            second, lane = b.rem(place, 2), 2 * form.block_bytes
            with b.when(b.compare("eq", second, 0)):
                self._scatter(row, lane, 1, Type("i32"))
            with b.when(b.compare("ne", second, 0)):
                self._scatter(b.offset(row, form.block_bytes - layout.value_token_bytes), lane, 1)

    def _scatter(self, to: Value, stride: int, group: int, wide: Type | None = None) -> None:
        """Write the numbers, `group` of them side by side and groups `stride` bytes apart."""
        b, size, bytes = self.b, self.layout.size, self.bits.bytes
        unroll = 8 if size % 8 == 0 else 2 if size % 2 == 0 else 1
        with b.loop(0, size, unroll) as element:
            here = b.offset(self.scratch, b.mul(element.index, bytes))
            there = b.offset(to, b.mul(b.div(element.index, group), stride))
            for inside in range(unroll):
                value = b.load(self.bits, here, inside * bytes, align=bytes)
                value = b.convert(value, wide.element, signed=False) if wide is not None else value
                where = inside // group * stride + inside % group * bytes
                b.store(value, there, where, align=bytes)
