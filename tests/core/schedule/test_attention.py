"""Compiled attention over paged keys and values against the interpreter."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import pytest

from lumen_core.ir import interpret, parse_module
from lumen_core.quant.layout import CacheLayout
from lumen_core.schedule.attention import attention_block, build_attention
from lumen_core.target import Target

from .compiled import TARGETS, compiled

each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)

TEXT = """
func @f(%q: tensor<f32, [T, {H}, {E}]>, %k: tensor<f16, [C, {G}, {E}]>, %v: tensor<f16, [C, {G}, {E}]>)
    -> (tensor<f32, [T, {H}, {E}]>) {{
  %a = attention %q, %k, %v {{scale = {scale}{window}}} : tensor<f32, [T, {H}, {E}]>
  return %a
}}
"""


def fill(
    pool: np.ndarray, layout: CacheLayout, keys: np.ndarray, values: np.ndarray, pages: np.ndarray, gone: int
) -> None:
    """Write a sequence's keys and values into the second of two layers, but for the first pages."""
    elements = np.arange(layout.size)
    for token in range(gone * layout.page, len(keys)):
        page, slot = divmod(token, layout.page)
        base = (2 * int(pages[page]) + 1) * layout.layer_bytes
        for head in range(layout.heads):
            key = base + np.array([layout.key(head, slot, int(e)) for e in elements])
            value = base + np.array([layout.value(head, slot, int(e)) for e in elements])
            pool[key // 2], pool[value // 2] = keys[token, head], values[token, head]


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


@lru_cache(maxsize=4)
def kernel(text: str, target: Target, block: int) -> Callable[..., object]:
    operation = next(iter(parse_module(text))).operations[0]
    return compiled(build_attention(operation, target, block), target)


def check(target: Target, heads: int, groups: int, size: int, window: int, *parts: tuple[int, int]) -> None:
    """Compare a step of segments, each (tokens, tokens before them), with the interpreter's answers."""
    shown = f", window = {window}" if window else ""
    text = TEXT.format(H=heads, G=groups, E=size, scale=size**-0.5, window=shown)
    function = next(iter(parse_module(text)))
    operation = function.operations[0]
    random = np.random.default_rng(sum(tokens * 1000 + position for tokens, position in parts))
    layout = CacheLayout(groups, size, target.lanes)
    counts = [-(-(tokens + position) // layout.page) for tokens, position in parts]
    free = random.permutation(sum(counts) + 1).astype(np.int32)
    pool = np.full(len(free) * 2 * layout.layer_bytes // 2, np.nan, np.float16)
    queries, wanted, tables = [], [], []
    for (tokens, position), count in zip(parts, counts, strict=True):
        total = position + tokens
        q = 3 * random.standard_normal((tokens, heads, size)).astype(np.float32)
        k, v = (random.standard_normal((total, groups, size)).astype(np.float16) for _ in range(2))
        wanted.append(interpret(function, [q, k, v])[0])
        queries.append(q)
        pages, free = free[:count].copy(), free[count:]
        gone = max(0, position + 1 - window) // layout.page if window else 0
        fill(pool, layout, k, v, pages, gone)
        pages[:gone] = 1 << 20  # pages before every window are not looked at
        tables.append(pages)
    q = np.concatenate(queries)
    out = np.full_like(q, np.nan)
    starts = np.cumsum([0, *(tokens for tokens, _ in parts)])
    segments = np.array([(start, *part) for start, part in zip(starts, parts, strict=False)], np.int64)
    layer = pool[layout.layer_bytes // 2 :]  # the second of two
    for block in {1, attention_block(operation, target)}:
        items = groups * sum(-(-tokens // block) for tokens, _ in parts)
        call = kernel(text, target, block)
        out[:] = np.nan
        arguments = (q, out, 4 * heads * size, layer, 2 * layout.layer_bytes, tables, segments, len(parts))
        call(*arguments, 0, items // 2)
        call(*arguments, items // 2, items)
        np.testing.assert_allclose(out, np.concatenate(wanted), rtol=2e-5, atol=1e-5)
