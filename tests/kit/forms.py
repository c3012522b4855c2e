"""Normal forms of the installed formats, as text, and raw blocks with the scales that a test wants."""

from __future__ import annotations

from functools import cache

import numpy as np

from lumen_core.dsl import ast
from lumen_core.errors import UnsupportedFormatError
from lumen_core.plugins.registry import Registry
from lumen_core.quant import stored_floats
from lumen_core.quant.analyse import analyse
from lumen_core.quant.encode import Encoder
from lumen_core.quant.floats import is_small, small_floats
from lumen_core.quant.integers import ZERO, BitField, bit_sources
from lumen_core.quant.normal_form import FloatField, NormalForm
from lumen_core.quant.store import float_bytes

# With fields that may be missing, and formats of families.
SPECIAL = (
    "nvfp4+scale", "gptq_f16_4_128+z", "gptq_v2_bf16_2_64+z+g", "gptq_f16_3_32", "gptq_f16_8_all+z",
    "awq_f16_32", "ct_packed_bf16_4_all_all", "ct_int_f32_1_all+z", "ct_float_e5m2_bf16_1_all",
    "fp8_e4m3_f32_128_128",
)  # fmt: skip
SCHEMES = ("gptq_", "awq_", "ct_", "fp8_")


@cache
def declarations() -> dict[str, ast.Format]:
    """Every format that the packages of this repository declare, by name."""
    registry = Registry.load()
    found = {
        name: entry.value
        for name, entry in registry.formats.items()
        if not entry.distribution.startswith("lumen-plugin")
    }
    # without the package that declares them only its own tests fail
    known = tuple(registry.declarations)
    found |= {name: registry.format(name) for name in SPECIAL if name.startswith(known)}
    return dict(sorted(found.items()))


def encodable(form: NormalForm) -> bool:
    """Tell whether a quantizer is derived for a form."""
    try:
        Encoder(form)
    except UnsupportedFormatError:
        return False
    return True


@cache
def form(name: str) -> NormalForm:
    return analyse(declarations()[name])


def random_blocks(form: NormalForm, count: int, seed: int = 0, largest: float = 0.01) -> np.ndarray:
    """Complete blocks of random bits, finite floats of both signs: uint8 [count, bytes]."""
    random = np.random.default_rng(seed)
    blocks = random.integers(0, 256, (count, form.block_bytes + form.header_bytes), dtype=np.uint8)
    if form.stored is not None:
        values = random.standard_normal((form.block, count)).astype(np.float32)
        stored = form.stored
        made = np.zeros(blocks.shape[::-1], np.uint8)
        stored_floats.store(stored, stored_floats.rounded(stored, values), made)
        blocks[:, stored.offset :][:, : stored.bytes * stored.count] = made.T[:, stored.offset :][
            :, : stored.bytes * stored.count
        ]
    for field in form.floats:
        set_float(blocks, field, random.uniform(-largest, largest, count))
    return blocks


def random_rows(form: NormalForm, rows: int, blocks: int, seed: int = 0, largest: float = 0.01) -> np.ndarray:
    """Raw rows of such blocks: uint8 [rows, row bytes]."""
    made = random_blocks(form, rows * blocks, seed, largest)
    return form.rows(made.reshape(rows, blocks, -1))


def complete(form: NormalForm, raw: np.ndarray) -> np.ndarray:
    """Raw rows as complete blocks, uint8 [blocks of all rows, bytes]."""
    return form.completed(raw).reshape(-1, form.block_bytes + form.header_bytes)


def set_float(blocks: np.ndarray, field: FloatField, values: np.ndarray | float) -> None:
    """Write every float of a field of every block; in a type of one byte, the nearest that it has."""
    spread = np.broadcast_to(np.asarray(values, np.float32), (len(blocks),))
    if is_small(field.element):
        known = small_floats(field.element) * field.factor
        distance = np.abs(known[None, :] - np.abs(spread[:, None]))
        stored = np.nan_to_num(distance, nan=np.inf, posinf=np.inf).argmin(axis=1)
    else:
        raw = float_bytes(spread, field.element).reshape(len(blocks), field.bytes)
        stored = raw.view(f"<u{field.bytes}")[:, 0]
    field.source.store(blocks, np.repeat(stored[:, None], field.count, axis=1))


def set_codes(blocks: np.ndarray, form: NormalForm, highest: bool) -> None:
    """Write the largest codes, or the least; where codes are computed, ones or zeros into all their bits."""
    assert form.code is not None
    if isinstance(form.code, BitField):
        top = 1 << (form.code.width - 1)
        stored = 2 * top - 1 if highest else 0
        set_integers(blocks, form.code, stored ^ top if form.code.signed else stored)
        return
    every = BitField(tuple((bit,) for bit in sorted(set(bit_sources(form.code)))))
    set_integers(blocks, every, int(highest))


def set_integers(blocks: np.ndarray, field: BitField, stored: int) -> None:
    """Write the same bits into every integer of a field of every block."""
    for source in field.sources:
        for position, bit in enumerate(source):
            if bit != ZERO:
                mask = 1 << (bit & 7)
                blocks[:, bit >> 3] &= ~mask & 255
                blocks[:, bit >> 3] |= (stored >> position & 1) * mask
