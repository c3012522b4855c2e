"""The pages with the numbers of real models have exactly as many parameters as those models."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

import lumen_models_korean
from lumen_core.dsl import configure, load
from lumen_core.engine.shapes import SHAPES

PAGES = Path(lumen_models_korean.__file__).parent
# as published, or as the shapes that reproduce what is published
KNOWN = {
    "exaone-3.5-2.4b": 2_405_327_360,
    "exaone-3.5-7.8b": 7_818_448_896,
    "exaone-4.0-1.2b": 1_279_391_488,
    "exaone-4.0-32b": 32_003_216_384,
    "hyperclova-x-seed-0.5b": 566_281_216,
    "hyperclova-x-seed-1.5b": 1_585_547_264,
    "hyperclova-x-seed-think-14b": 14_748_112_896,
    "kanana-1.5-2.1b": 2_316_824_832,
    "kanana-1.5-8b": 8_030_285_824,
    "kanana-2-1.3b": 1_291_478_272,
    "kanana-2-3b": 3_508_972_032,
    "midm-2.0-mini": 2_305_517_312,
    "midm-2.0-base": 11_545_743_360,
    "a.x-3.1-light": 7_264_800_768,
    "a.x-4.0-light": 7_259_624_960,
    "solar-10.7b": 10_731_524_096,
    "qwen2.5-0.5b": 494_032_768,
    "qwen3-0.6b": 596_049_920,
    "qwen3-8b": 8_190_735_360,
}


@pytest.mark.parametrize("name", KNOWN)
def test_parameters(name: str) -> None:
    shape = SHAPES[name]
    model = load(PAGES / f"{shape.architecture}.lum").models[shape.architecture]
    numbers = {**shape.metadata(), "vocab_size": shape.vocabulary}
    sizes = configure(model, numbers.get).sizes
    assert sizes["L"] == shape.layers
    total = 0
    for weight in model.weights.values():
        separate = weight.otherwise is None or (weight.otherwise != "ones" and not shape.tied)
        total += separate * math.prod(weight.type.substitute(sizes).sizes)
    for weight in model.layer_weights.values():
        total += shape.layers * math.prod(weight.type.substitute(sizes).sizes)
    assert total == KNOWN[name]
