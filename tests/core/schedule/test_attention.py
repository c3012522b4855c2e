"""Compiled attention over paged keys and values against the interpreter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
import pytest

from lumen_core.ir import interpret, parse_module
from lumen_core.ir.operations.values import round_bf16
from lumen_core.quant.cache_layout import CacheLayout
from lumen_core.schedule.attention import (
    PART,
    attention_block,
    attention_items,
    build_attention,
    partial_bytes,
)
from lumen_core.schedule.cache import score_tiles
from lumen_core.schedule.math import LOG2_E
from lumen_core.schedule.segments import TOGETHER
from lumen_core.target import Target

from .caches import fill, float_layout, pairs
from .compiled import TARGETS, compiled

each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)

TEXT = """
func @f(%q: tensor<f32, [T, {H}, {E}]>, %k: tensor<f16, [C, {G}, {E}]>, %v: tensor<f16, [C, {G}, {E}]>)
    -> (tensor<f32, [T, {H}, {E}]>) {{
  %a = attention %q, %k, %v {{scale = {scale}{window}}} : tensor<f32, [T, {H}, {E}]>
  return %a
}}
"""


SHAPES = [(4, 2, 64), (7, 1, 64), (14, 2, 64), (2, 2, 128), (3, 1, 24), (32, 2, 16)]


@each_target
@pytest.mark.parametrize(("heads", "groups", "size"), SHAPES)
@pytest.mark.parametrize(("tokens", "position"), [(1, 0), (1, 130), (21, 0), (13, 58), (70, 70)])
def test_attention(target: Target, heads: int, groups: int, size: int, tokens: int, position: int) -> None:
    check(target, heads, groups, size, 0, (tokens, position))


@each_target
@pytest.mark.parametrize(
    ("heads", "groups", "size", "window"), [(4, 2, 64, 100), (3, 1, 24, 5), (2, 2, 32, 1)]
)
def test_attention_in_a_window(target: Target, heads: int, groups: int, size: int, window: int) -> None:
    for tokens, position in [(1, 0), (1, 130), (1, 191), (13, 58), (70, 70), (100, 150)]:
        check(target, heads, groups, size, window, (tokens, position))


@each_target
@pytest.mark.parametrize("window", [0, 40])
def test_attention_of_several_sequences(target: Target, window: int) -> None:
    check(target, 6, 2, 32, window, (1, 130), (1, 0), (5, 62), (17, 3), (1, 64))


@each_target
def test_attention_over_parts(target: Target) -> None:
    """Long caches are read in parts; those of a single token by whoever comes, the last merges them."""
    check(target, 4, 2, 32, 0, (1, 1300), (1, 511), (1, 512), (3, 1022))
    check(target, 4, 2, 32, 0, (1, PART * TOGETHER), (1, PART * (TOGETHER - 1)), (1, PART * TOGETHER - 1))
    check(target, 4, 2, 32, 700, (1, 1300), (1, 698), (1, 699), (2, 1500))


@each_target
@pytest.mark.parametrize(("heads", "groups", "size"), [(14, 2, 64), (3, 1, 24)])
@pytest.mark.parametrize("element", ["f32", "bf16"])
def test_attention_over_other_floats(
    target: Target, heads: int, groups: int, size: int, element: str
) -> None:
    check(target, heads, groups, size, 0, (1, 130), (21, 60), element=element)


@pytest.mark.parametrize("target", list(filter(pairs, TARGETS)), ids=lambda target: target.name)
@pytest.mark.parametrize(("heads", "groups", "size"), [(4, 2, 64), (14, 2, 64), (2, 2, 128)])
@pytest.mark.parametrize("element", ["f16", "bf16"])
def test_products_of_pairs(target: Target, heads: int, groups: int, size: int, element: str) -> None:
    """Factors rounded to bf16."""
    for parts in [(1, 0), (1, 130), (21, 0), (13, 58)], [(1, 700), (5, 600)]:
        check(target, heads, groups, size, 0, *parts, element=element, group=2)
    check(target, heads, groups, size, 90, (1, 200), (33, 150), element=element, group=2)


@lru_cache(maxsize=4)
def kernel(text: str, layout: CacheLayout, target: Target, block: int) -> Callable[..., object]:
    operation = next(iter(parse_module(text))).operations[0]
    return compiled(build_attention(operation, layout, target, block), target)


def check(target: Target, heads: int, groups: int, size: int, window: int, *parts: tuple[int, int],
          element: str = "f16", group: int = 1) -> None:  # fmt: skip
    """Compare a step of segments, each (tokens, tokens before them), with the interpreter's answers."""
    shown = f", window = {window}" if window else ""
    text = TEXT.format(H=heads, G=groups, E=size, scale=size**-0.5, window=shown)
    function = next(iter(parse_module(text)))
    random = np.random.default_rng(sum(tokens * 1000 + position for tokens, position in parts))
    layout = float_layout(groups, size, target, element, group, score_tiles(heads // groups, target))
    counts = [-(-(tokens + position) // layout.page) for tokens, position in parts]
    free = random.permutation(sum(counts) + 1).astype(np.int32)
    pool = np.full(len(free) * layout.page_bytes, 0xFF, np.uint8)  # NaN
    staging = np.full((sum(counts) + 1) * layout.page_bytes, 0xFF, np.uint8)
    queries, wanted, bounds, tables = [], [], [], []
    for (tokens, position), count in zip(parts, counts, strict=True):
        total = position + tokens
        q = 3 * random.standard_normal((tokens, heads, size)).astype(np.float32)
        k, v = (random.standard_normal((total, groups, size)).astype(np.float16) for _ in range(2))
        if element == "bf16":
            k, v = (round_bf16(x.astype(np.float32)).astype(np.float16) for x in (k, v))
        queries.append(q)
        if group == 2:  # as the factors of products are rounded; weights are, too
            factor = np.float32(size**-0.5 * LOG2_E)
            q, k, v = (round_bf16(x.astype(np.float32)) for x in (q * factor, k, v))
            q, k, v = q / factor, k.astype(np.float16), v.astype(np.float16)
        wanted.append(interpret(function, [q, k, v])[0])
        bounds.append(interpret(function, [q, k, np.abs(v)])[0])
        pages, free = free[:count].copy(), free[count:]
        gone = max(0, position + 1 - window) // layout.page if window else 0
        fill(pool, layout, k.astype(np.float32), v.astype(np.float32), pages, gone)
        pages[:gone] = 1 << 20  # pages before every window are not looked at
        if window:
            stage(pool, staging, layout, pages, position // layout.page + 1)
        tables.append(pages)
    found = attend(text, layout, target, np.concatenate(queries), pool, tables, parts, staging)
    if group == 1:
        np.testing.assert_allclose(found, np.concatenate(wanted), rtol=2e-5, atol=1e-5)
    else:
        assert (np.abs(found - np.concatenate(wanted)) < 2.0**-8 * np.concatenate(bounds)).all()


def stage(pool: np.ndarray, staging: np.ndarray, layout: CacheLayout, pages: np.ndarray, first: int) -> None:
    """Move the pages of a sequence from number `first` on to staging."""
    rows, own = (memory.reshape(-1, layout.page_bytes) for memory in (staging, pool))
    rows = rows[:-1]  # the end must be an address, too
    free = int((rows == 0xFF).all(-1).sum())
    for number in range(first, len(pages)):
        place = free + first - number - 1  # from the end
        rows[place] = own[pages[number]]
        own[pages[number]] = 0xFF
        pages[number] = place - len(rows)


def attend(text: str, layout: CacheLayout, target: Target, q: np.ndarray, pool: np.ndarray,
           tables: list[np.ndarray], parts: Sequence[tuple[int, int]],
           staging: np.ndarray | None = None) -> np.ndarray:  # fmt: skip
    """Run both kernels of a step, each item range as two threads would."""
    operation = next(iter(parse_module(text))).operations[0]
    out = np.full_like(q, np.nan)
    starts = np.cumsum([0, *(tokens for tokens, _ in parts)])
    segments = np.array([(start, *part) for start, part in zip(starts, parts, strict=False)], np.int64)
    most = max(-(-sum(part) // PART) for part in parts)
    partials = np.full(len(q) * most * partial_bytes(operation, target), 0xFF, np.uint8)
    arrivals = np.zeros(len(q) * layout.heads, np.int64)
    stride = 4 * q.shape[1] * q.shape[2]
    for block in (1, attention_block(operation, 256)):
        items = attention_items(operation, block)
        count = 0
        for tokens, position in parts:
            if (tokens == 1) == (block == 1):
                first = max(position + 1 - items.window, 0) // PART if items.window else 0
                shares = -(-(position + tokens) // PART) - first if block == 1 else 1
                heads = 1 if block == 1 and shares >= TOGETHER else layout.heads
                count += -(-tokens // block) * heads * shares
        call = kernel(text, layout, target, block)
        end = None if staging is None else staging[len(staging) - layout.page_bytes :]
        arguments = (q, out, stride, pool, end, tables, partials, most, arrivals)
        call(*arguments, segments, len(parts), count // 2, count)
        call(*arguments, segments, len(parts), 0, count // 2)
    assert not arrivals.any()
    return out
