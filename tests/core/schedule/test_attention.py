"""Compiled attention over paged keys and values against the interpreter."""

from __future__ import annotations

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
  %a = attention %q, %k, %v {{scale = {scale}}} : tensor<f32, [T, {H}, {E}]>
  return %a
}}
"""


def filled(
    layout: CacheLayout, keys: np.ndarray, values: np.ndarray, pages: np.ndarray, layer: int, layers: int
) -> np.ndarray:
    """Return a pool of pages that holds a sequence's keys and values in one layer; the rest is NaN."""
    pool = np.full(((int(pages.max()) + 1) * layers * layout.layer_bytes) // 2, np.nan, np.float16)
    elements = np.arange(layout.size)
    for token in range(len(keys)):
        page, slot = divmod(token, layout.page)
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
    function = next(iter(parse_module(TEXT.format(H=heads, G=groups, E=size, scale=size**-0.5))))
    operation = function.operations[0]
    random = np.random.default_rng(tokens * 1000 + position)
    total = position + tokens
    q = 3 * random.standard_normal((tokens, heads, size)).astype(np.float32)
    k, v = (random.standard_normal((total, groups, size)).astype(np.float16) for _ in range(2))
    (wanted,) = interpret(function, [q, k, v])
    layout = CacheLayout(groups, size, target.lanes)
    pages = random.permutation(5)[: -(-total // layout.page)].astype(np.int32)
    pool = filled(layout, k, v, pages, 1, 2)
    part = pool[layout.layer_bytes // 2 :]
    for block in {1, attention_block(operation, target)}:
        items = groups * -(-tokens // block)
        call = compiled(build_attention(operation, target, block), target)
        out = np.full_like(q, np.nan)
        stride = 4 * heads * size
        arguments = (q, out, stride, part, 2 * layout.layer_bytes, pages, position, tokens)
        call(*arguments, 0, items // 2)
        call(*arguments, items // 2, items)
        np.testing.assert_allclose(out, wanted, rtol=2e-5, atol=1e-5)
