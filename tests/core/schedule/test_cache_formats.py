"""Keys and values kept in quantized formats: the compiled encoder, and attention over what it wrote."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from math import lcm

import numpy as np
import pytest

from lumen_core.dsl.parse import parse
from lumen_core.errors import UnsupportedFormatError
from lumen_core.ir import interpret, parse_module
from lumen_core.ir.kernel import I32, I64, PTR, Kernel, Type
from lumen_core.ir.kernel_builder import Builder
from lumen_core.ir.operations.values import round_bf16
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse
from lumen_core.quant.cache_layout import CacheLayout, check_cache_format
from lumen_core.quant.encode import encode
from lumen_core.quant.normal_form import NormalForm
from lumen_core.runtime.memory import allocate
from lumen_core.schedule.cache import Append, emit_page, emit_slot
from lumen_core.schedule.encode_block import build_encode
from lumen_core.schedule.math import LOG2_E
from lumen_core.source import Source
from lumen_core.target import Target

from .caches import form, pairs
from .compiled import TARGETS, compiled
from .test_attention import TEXT, attend

HEADS, GROUPS, SIZE = 6, 2, 128
USUAL = ("ct_nvfp4", "q8_0", "q4_0", "q4_1", "iq4_nl", "mxfp4", "q4_k")


def _size(name: str) -> int:
    """Of a head that the format's blocks divide."""
    return lcm(SIZE, form(name).block)


def _suits(name: str) -> bool:
    try:
        check_cache_format(form(name), _size(name), "keys")
    except UnsupportedFormatError:
        return False
    return form(name).kind == "integer"


FORMATS = sorted(filter(_suits, Registry.load().formats))


def each_format(*usual: str) -> pytest.MarkDecorator:
    marks = {name: () if name in usual else pytest.mark.slow for name in FORMATS}
    return pytest.mark.parametrize("name", [pytest.param(name, marks=marks[name]) for name in FORMATS])


each_target = pytest.mark.parametrize(
    "target",
    [pytest.param(t, marks=() if t in (TARGETS[0], TARGETS[-1]) else pytest.mark.slow) for t in TARGETS],
    ids=lambda target: target.name,
)


def test_every_installed_format_suits_heads_that_its_blocks_divide() -> None:
    assert set(FORMATS) == {name for name in Registry.load().formats if form(name).kind == "integer"}
    for name in ("q4_k", "iq2_s"):
        with pytest.raises(UnsupportedFormatError, match="blocks of 256"):
            check_cache_format(form(name), SIZE, "keys")
    for name, why in (
        ("gptq_f16_8_all+z", "more than one factor"),
        ("gptq_f16_4_128+z", "not one stored number"),
    ):
        with pytest.raises(UnsupportedFormatError, match=why):
            check_cache_format(form(name), SIZE, "keys")


def encoded(name: str, target: Target, rows: np.ndarray) -> np.ndarray:
    """Return the bytes that the compiled encoder makes of rows."""
    kept = form(name)
    blocks = np.full((*rows.shape[:-1], kept.row_bytes(rows.shape[-1])), 0xFF, np.uint8)
    for row, made in zip(rows.reshape(-1, rows.shape[-1]), blocks.reshape(-1, blocks.shape[-1]), strict=True):
        _encoder(name, target)(np.ascontiguousarray(row), made, len(row) // kept.block)
    return blocks


@cache
def _encoder(name: str, target: Target) -> Callable[..., object]:
    return compiled(build_encode(form(name)), target)


@each_target
@each_format(*USUAL, "iq2_s", "iq1_m", "iq4_ks")
def test_the_encoder_comes_near_the_one_that_searches(name: str, target: Target) -> None:
    random = np.random.default_rng(1)
    rows = random.standard_normal((200, _size(name))).astype(np.float32)
    rows[0], rows[1], rows[2] = 0, 1.5, -3
    rows[3:6] *= np.array([[1e-4], [30], [1e-3]], np.float32)
    found, best = (form(name).decode(x) for x in (encoded(name, target, rows), encode(form(name), rows)))
    assert np.isfinite(found).all()
    np.testing.assert_array_equal(found[0], 0 if 0 in form(name).alphabet else found[0])
    errors = [np.linalg.norm(x - rows, axis=-1) for x in (found, best)]
    assert errors[0].mean() < 1.35 * errors[1].mean()
    limit = np.maximum(0.9 * np.linalg.norm(rows, axis=-1), 1.1 * errors[1])  # where scales are too coarse
    assert (errors[0] <= limit).all()


@pytest.mark.parametrize("scale", ["s: u8[1]", "s: i8[1]"], ids=["unsigned", "signed"])
@pytest.mark.parametrize("zero", [0, 4, 5, 6, 11, 15])
def test_the_encoder_cuts_nothing_off_where_values_reach_further_on_one_side(zero: int, scale: str) -> None:
    code = f"(bits(qs, 4, run=16) - {zero})"
    text = f"format any : block 32 {{ d: f32 {scale} qs: u8[16] value = d * s * {code} }}"
    (declaration,) = parse(Source("any.lum", text)).formats
    kept = analyse(declaration)
    rows = np.random.default_rng(1).standard_normal((200, 32)).astype(np.float32)
    blocks = np.zeros((200, kept.block_bytes), np.uint8)
    compiled(build_encode(kept), TARGETS[0])(rows, blocks, 200)
    errors = [np.linalg.norm(kept.decode(x) - rows) for x in (blocks, encode(kept, rows))]
    assert errors[0] < 1.35 * errors[1]


@each_target
@each_format(*USUAL)
def test_attention_over_quantized_keys_and_values(name: str, target: Target) -> None:
    """As over the decoded ones: what is rounded besides is stated."""
    for keys, values in ((name, name), (name, "f16"), ("f16", name)):
        for group in (1, 2) if pairs(target) else (1,):
            layout = CacheLayout(GROUPS, _size(name), target.lanes, form(keys), form(values), group, group)
            check(layout, target)


def ranges(kept: NormalForm, values: np.ndarray) -> np.ndarray:
    """What a value may be away from its offset: it is multiplied apart from that."""
    if kept.offset is None:
        return np.zeros_like(values)
    subs = values.reshape(*values.shape[:-1], -1, kept.sub)
    return np.repeat(np.ptp(subs, axis=-1), kept.sub, axis=-1)


def check(layout: CacheLayout, target: Target) -> None:
    parts = [(1, 70), (9, 60), (1, 0)]
    random = np.random.default_rng(7)
    size = layout.size
    text = TEXT.format(H=HEADS, G=GROUPS, E=size, scale=size**-0.5, window="").replace("f16", "f32")
    function = next(iter(parse_module(text)))
    counts = [-(-(tokens + position) // layout.page) for tokens, position in parts]
    free = random.permutation(sum(counts) + 1).astype(np.int32)
    pool = allocate(len(free) * layout.page_bytes, "pages")  # aligned as a model's
    pool[:] = 0xFF
    queries, wanted, bounds, tables = [], [], [], []
    for (tokens, position), count in zip(parts, counts, strict=True):
        q = 3 * random.standard_normal((tokens, HEADS, size)).astype(np.float32)
        k, v = random.standard_normal((2, position + tokens, GROUPS, size)).astype(np.float32)
        pages, free = free[:count].copy(), free[count:]
        tables.append(pages)
        queries.append(q)
        for kind, numbers in (("keys", k), ("values", v)):
            append(layout, target, kind, numbers, pool, pages)
        k, v = (
            form(kept.name).decode(encoded(kept.name, target, x)) if kept.kind == "integer"
            else x.astype(np.float16).astype(np.float32)
            for kept, x in ((layout.keys, k), (layout.values, v))
        )  # fmt: skip
        if layout.key_group == 2 and layout.keys.kind == "float":
            factor = np.float32(size**-0.5 * LOG2_E)
            q, k = round_bf16(q * factor) / factor, round_bf16(k)
        if layout.value_group == 2 and layout.values.kind == "float":
            v = round_bf16(v)
        wanted.append(interpret(function, [q, k, v])[0])
        bounds.append(interpret(function, [q, k, np.abs(v) + ranges(layout.values, v)])[0])
    found = attend(text, layout, target, np.concatenate(queries), pool, tables, parts)
    # Weights, times scales, may be rounded to bf16; a factor of scale and offset may be rounded once more or
    # less; queries that meet codes are words, of which the largest of a head has 15 bits.
    limit = 2.0**-8 if layout.value_group == 2 else 3e-5 if layout.keys.kind == "float" else 4e-4
    assert (np.abs(found - np.concatenate(wanted)) <= limit * np.concatenate(bounds)).all()


def append(
    layout: CacheLayout, target: Target, kind: str, numbers: np.ndarray, pool: np.ndarray, pages: np.ndarray
) -> None:
    """Let the compiled append write tokens' keys or values."""
    slots = (pages[np.arange(len(numbers)) // layout.page] * layout.page).astype(np.int32)
    slots += (np.arange(len(numbers)) % layout.page).astype(np.int32)
    part = pool[layout.value_offset if kind == "values" else 0 :]
    _appender(layout, target, kind)(np.ascontiguousarray(numbers), part, slots, len(numbers))


@cache
def _appender(layout: CacheLayout, target: Target, kind: str) -> Callable[..., object]:
    kernel = Kernel("append", [("numbers", PTR), ("part", PTR), ("slots", PTR), ("tokens", I64)])
    b = Builder(kernel)
    numbers, part, slots, tokens = kernel.parameters
    writer = Append(b, layout, kind)
    vector = Type("f32", 8)
    with b.loop(0, tokens) as token, b.loop(0, layout.heads) as head:
        row = b.add(b.mul(token.index, layout.heads), head.index)
        here = b.offset(numbers, b.mul(row, 4 * layout.size))
        chunks = [b.load(vector, here, 4 * at, align=4) for at in range(0, layout.size, 8)]
        slot = b.convert(b.load(I32, slots, b.mul(token.index, 4), align=4), "i64")
        number, place = emit_slot(b, slot)
        writer.store(chunks, emit_page(b, layout, part, part, number), head.index, place)
    return compiled(kernel, target)
