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


def filled(
    layout: CacheLayout, keys: np.ndarray, values: np.ndarray, pages: np.ndarray, layer: int, layers: int
) -> np.ndarray:
    """Return a pool of pages that holds a sequence's keys and values in one layer; the rest is NaN."""
    pool = np.full((5 * layers * layout.layer_bytes) // 2, np.nan, np.float16)
    elements = np.arange(layout.size)
    for token in range(len(keys)):
        page, slot = divmod(token, layout.page)
        if pages[page] >= 5:
            continue
        base = (int(pages[page]) * layers + layer) * layout.layer_bytes
        for head in range(layout.heads):
            key = base + np.array([layout.key(head, slot, int(e)) for e in elements])
            value = base + np.array([layout.value(head, slot, int(e)) for e in elements])
            pool[key // 2], pool[value // 2] = keys[token, head], values[token, head]
    return pool


SHAPES = [(4, 2, 64), (7, 1, 64), (14, 2, 64), (2, 2, 128), (3, 1, 24), (32, 2, 16)]


@each_target
@pytest.mark.parametrize(("heads", "groups", "size"), SHAPES)
@pytest.mark.parametrize(("tokens", "position"), [(1, 0), (1, 130), (21, 0), (13, 58), (70, 70)])
def test_attention(target: Target, heads: int, groups: int, size: int, tokens: int, position: int) -> None:
    check(target, heads, groups, size, tokens, position, 0)


@each_target
@pytest.mark.parametrize(
    ("heads", "groups", "size", "window"), [(4, 2, 64, 100), (3, 1, 24, 5), (2, 2, 32, 1)]
)
def test_attention_in_a_window(target: Target, heads: int, groups: int, size: int, window: int) -> None:
    for tokens, position in [(1, 0), (1, 130), (1, 191), (13, 58), (70, 70), (100, 150)]:
        check(target, heads, groups, size, tokens, position, window)


@lru_cache(maxsize=4)
def kernel(text: str, target: Target, block: int) -> Callable[..., object]:
    operation = next(iter(parse_module(text))).operations[0]
    return compiled(build_attention(operation, target, block), target)


def check(
    target: Target, heads: int, groups: int, size: int, tokens: int, position: int, window: int
) -> None:
    shown = f", window = {window}" if window else ""
    text = TEXT.format(H=heads, G=groups, E=size, scale=size**-0.5, window=shown)
    function = next(iter(parse_module(text)))
    operation = function.operations[0]
    random = np.random.default_rng(tokens * 1000 + position)
    total = position + tokens
    q = 3 * random.standard_normal((tokens, heads, size)).astype(np.float32)
    k, v = (random.standard_normal((total, groups, size)).astype(np.float16) for _ in range(2))
    (wanted,) = interpret(function, [q, k, v])
    layout = CacheLayout(groups, size, target.lanes)
    pages = random.permutation(5)[: -(-total // layout.page)].astype(np.int32)
    gone = max(0, position + 1 - window) // layout.page if window else 0
    pages[:gone] = 1 << 20  # pages before every window are not looked at
    pool = filled(layout, k, v, pages, 1, 2)
    part = pool[layout.layer_bytes // 2 :]
    for block in {1, attention_block(operation, target)}:
        items = groups * -(-tokens // block)
        call = kernel(text, target, block)
        out = np.full_like(q, np.nan)
        stride = 4 * heads * size
        arguments = (q, out, stride, part, 2 * layout.layer_bytes, pages, position, tokens)
        call(*arguments, 0, items // 2)
        call(*arguments, items // 2, items)
        np.testing.assert_allclose(out, wanted, rtol=2e-5, atol=1e-5)
