"""Minimums of sub-blocks that are integers times one float of the block: added once per block.

They meet the sums of the activations, in 16-bit integers two sub-blocks at a time where the machine has
products of such pairs, else in floats.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lumen_core.ir.kernel import Value
from lumen_core.quant.layout import ActivationLayout
from lumen_core.quant.normal_form import NormalForm

if TYPE_CHECKING:
    from lumen_core.schedule.integer_tile import IntegerTile

_PIECE = 32  # the longest sub-block whose sums of activations are at hand


def minimums_are_paired(form: NormalForm, activation: ActivationLayout) -> bool:
    """Tell whether minimums are integers times one float of the block."""
    offset = form.offset
    if offset is None or offset.integer is None:
        return False
    every = form.sub in (16, _PIECE) and offset.integer.count * form.sub == form.block
    every = every and max(-offset.integer.low, offset.integer.high) < 1 << 15
    return activation.group > _PIECE and every and all(field.count == 1 for field in offset.floats)


def add_minimums(tile: IntegerTile, base: Value, words: Value, sums: list[Value]) -> list[Value]:
    """Add what the minimums of the block at `base` give, for activations at `words`, to a tile's sums."""
    pairs = any(map(tile.target.find, ("dot2_s16", "madd16")))
    return _in_pairs(tile, base, words, sums) if pairs else _singly(tile, base, words, sums)


def _in_pairs(tile: IntegerTile, base: Value, words: Value, sums: list[Value]) -> list[Value]:
    b, act, offset = tile.builder, tile.activation, tile.form.offset
    assert offset is not None and offset.integer is not None
    count, step = offset.integer.count, 4 * act.columns
    first = act.pairs32 if tile.form.sub == _PIECE else act.pairs16
    pairs = []
    for number in range(0, count, 2):
        where = tile.layout.minimum_offset + number * tile.rows
        low, high = (tile.reader.integers(offset.integer, base, where + n * tile.rows) for n in (0, 1))
        pairs.append(b.bitor(b.bitand(low, 0xFFFF), b.shl(high, 16)))
    factor = tile.reader.factor(offset, tile.reader.floats(base), 1.0)
    for number in range(tile.m):
        total = b.constant(tile.lanes, 0)
        for place, pair in enumerate(pairs):
            by = b.load_splat(tile.lanes, words, first + place * step + 4 * number)
            total = b.dot2(total, pair, by)
        sums[number] = b.fma(b.convert(total, "f32"), factor, sums[number])
    return sums


def _singly(tile: IntegerTile, base: Value, words: Value, sums: list[Value]) -> list[Value]:
    b, act, offset = tile.builder, tile.activation, tile.form.offset
    assert offset is not None and offset.integer is not None
    halves = tile.form.sub < _PIECE  # their sums are had from their seeds
    factor = tile.reader.factor(offset, tile.reader.floats(base), -1 / 128 if halves else 1.0)
    first, type = (act.seeds16, tile.lanes) if halves else (act.sums32, tile.vector)
    with b.loop(0, offset.integer.count, 1, sums) as loop:
        beta = tile.reader.sub_factor(offset, factor, base, loop.index, tile.layout.minimum_offset)
        where = b.offset(words, b.mul(loop.index, 4 * act.columns))
        by, betas = tile.spread(type, where, first), tile.parts(beta)
        loop.next(
            *(
                b.fma(betas[number % tile.side], b.convert(by[number], "f32"), sum)
                for number, sum in enumerate(loop.values)
            )
        )
    return list(loop.results)
