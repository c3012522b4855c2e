"""Layouts of the cache, and pools of pages filled by hand or by the compiled append."""

from __future__ import annotations

from functools import cache

import numpy as np

from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse
from lumen_core.quant.cache_layout import CacheLayout
from lumen_core.quant.normal_form import NormalForm
from lumen_core.target import Target


@cache
def form(name: str) -> NormalForm:
    return analyse(Registry.load().format(name))


def pairs(target: Target) -> bool:
    """Tell whether the target multiplies pairs of bf16."""
    return target.find("dot2_bf16") is not None


def float_layout(heads: int, size: int, target: Target, element: str = "f16", group: int = 1,
                 tiles: int = 1) -> CacheLayout:  # fmt: skip
    kept = form(element)
    return CacheLayout(heads, size, tiles * target.lanes, kept, kept, group, group)


def as_stored(numbers: np.ndarray, element: str) -> np.ndarray:
    """f32 numbers as a float format stores them: unsigned integers of its size."""
    if element == "bf16":
        bits = numbers.astype(np.float32).view(np.uint32)
        return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype(np.uint16)
    return numbers.astype("<f2").view(np.uint16) if element == "f16" else numbers.view(np.uint32)


def fill(
    pool: np.ndarray, layout: CacheLayout, keys: np.ndarray, values: np.ndarray, pages: np.ndarray, gone: int
) -> None:
    """Write a sequence's keys and values into its pages, but for the first."""
    size, elements = layout.keys.block_bytes, np.arange(layout.size)
    numbers = pool.view(f"<u{size}")
    keys, values = (as_stored(x, layout.keys.element) for x in (keys, values))
    for token in range(gone * layout.page, len(keys)):
        page, slot = divmod(token, layout.page)
        base = int(pages[page]) * layout.page_bytes
        for head in range(layout.heads):
            key = base + np.array([layout.key(head, slot, int(e)) for e in elements])
            value = base + np.array([layout.value(head, slot, int(e)) for e in elements])
            numbers[key // size], numbers[value // size] = keys[token, head], values[token, head]
            if slot % layout.value_group == 0 and layout.value_group == 2:  # the append clears the next one
                numbers[value // size + 1] = 0
