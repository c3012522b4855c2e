"""Normal forms of the installed formats, as text, and raw blocks with the scales that a test wants."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np

from lumen_core.dsl import ast
from lumen_core.engine.random_weights import float_bytes
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse
from lumen_core.quant.normal_form import ZERO, BitField, FloatField, NormalForm, Scale


@cache
def declarations() -> dict[str, ast.Format]:
    """Every format that the packages of this repository declare, by name."""
    return {
        name: entry.value
        for name, entry in sorted(Registry.load().formats.items())
        if not entry.distribution.startswith("lumen-plugin")
    }


@cache
def form(name: str) -> NormalForm:
    return analyse(declarations()[name])


def float_fields(form: NormalForm) -> list[FloatField]:
    scales = [scale for scale in (form.scale, form.offset) if scale is not None]
    return list(dict.fromkeys(field for scale in scales for field in scale.floats))


def random_blocks(form: NormalForm, count: int, seed: int = 0, largest: float = 0.01) -> np.ndarray:
    """Blocks of random bits with finite float scales of both signs: uint8 [count, block bytes]."""
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (count, form.block_bytes), dtype=np.uint8)
    if form.kind == "float":
        values = random.standard_normal(count).astype(np.float32)
        return float_bytes(values, form.element).reshape(count, form.block_bytes).copy()
    for field in float_fields(form):
        set_float(blocks, field, random.uniform(-largest, largest, count))
    return blocks


def set_float(blocks: np.ndarray, field: FloatField, values: np.ndarray | float) -> None:
    """Write a float field of every block."""
    spread = np.broadcast_to(np.asarray(values, np.float32), (len(blocks),))
    raw = float_bytes(spread, field.element).reshape(len(blocks), field.bytes)
    blocks[:, field.offset : field.offset + field.bytes] = raw


def set_integers(blocks: np.ndarray, field: BitField, stored: int) -> None:
    """Write the same bits into every integer of a field of every block."""
    for source in field.sources:
        for position, bit in enumerate(source):
            if bit != ZERO:
                mask = 1 << (bit & 7)
                blocks[:, bit >> 3] &= ~mask & 255
                blocks[:, bit >> 3] |= (stored >> position & 1) * mask


# ------------------------------------------------------------------------- text


def text(form: NormalForm) -> str:
    """A normal form as a person reads it."""
    sizes = f"{form.block} weights in {form.block_bytes} bytes, {form.bits_per_weight:g} bits each"
    head = f"{form.name}: {sizes}"
    if form.kind == "float":
        return f"{head}\n  w = {form.element}, activations {form.activation}"
    assert form.code is not None
    multiplier = "" if form.multiplier == 1 else f"{form.multiplier} * "
    zero = f" - {form.zero}" if form.zero > 0 else f" + {-form.zero}" if form.zero else ""
    code = f"({multiplier}code{zero})" if zero else f"{multiplier}code"
    value = f"{_factor('scale', form.scale)} * {code}"
    if form.offset is not None:
        value += f" + {_factor('offset', form.offset)}"
    lines = [head, f"  w = {value}"]
    lines += [f"  one scale for {form.sub} weights, activations {form.activation}"]
    lines += [f"  code: {_range(form.code)}", *_places(form.code)]
    for name, scale in (("scale", form.scale), ("offset", form.offset)):
        for field in scale.floats if scale else ():
            lines.append(f"  {name} float {field.name}: {field.element} at byte {field.offset}")
        if scale is not None and scale.integer is not None:
            lines += [f"  {name} integer: {_range(scale.integer)}", *_places(scale.integer)]
    return "\n".join(lines)


def _factor(name: str, scale: Scale | None) -> str:
    assert scale is not None
    parts = [] if scale.constant == 1 else [f"{scale.constant:g}"]
    parts += [field.name for field in scale.floats]
    parts += [f"{name}[{scale.integer.count}]"] if scale.integer is not None else []
    return " * ".join(parts) or "1"


def _range(field: BitField) -> str:
    return f"{field.count} integers of {field.width} bits, {field.low} to {field.high}"


def _places(field: BitField) -> Iterator[str]:
    """Runs of integers whose every bit moves by a fixed step: `0..31: bits 16.0 16.1, then 8 bits on`."""
    start = 0
    while start < field.count:
        stop, steps = start + 1, None
        while stop < field.count:
            pairs = zip(field.sources[stop - 1], field.sources[stop], strict=True)
            moved = [0 if a == b == ZERO else b - a for a, b in pairs]
            if moved != (steps or moved):
                break
            steps, stop = moved, stop + 1
        bits = " ".join("0" if bit == ZERO else f"{bit >> 3}.{bit & 7}" for bit in field.sources[start])
        then = f", then {' '.join(map(str, dict.fromkeys(steps)))} bits on" if steps else ""
        yield f"    {start}..{stop - 1}: bits {bits}{then}"
        start = stop
