"""Laws of every pass, on generated functions: what comes out verifies, parses back and means the same."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from kit.modules import arrays, modules

from lumen_core.errors import LumenBug
from lumen_core.ir import Function, Module, interpret, parse_module, print_module, verify
from lumen_core.passes.base import Pass
from lumen_core.passes.fuse_rowwise import space_of
from lumen_core.passes.pipeline import PIPELINE, run


def means(module: Module) -> list[np.ndarray]:
    return interpret(module["f"], arrays())


@pytest.mark.parametrize(
    "step", sorted(set(PIPELINE), key=lambda step: step.name), ids=lambda step: step.name
)
@settings(max_examples=40)
@given(module=modules())
def test_a_pass_keeps_the_meaning(step, module):
    text = print_module(module)
    after = step.run(module)
    assert print_module(module) == text, "the pass changed what it was given"
    assert parse_module(print_module(after)) == after
    for expected, found in zip(means(module), means(after), strict=True):
        np.testing.assert_array_equal(expected, found)


@settings(max_examples=60)
@given(module=modules())
def test_the_pipeline_keeps_the_meaning_and_is_stable(module):
    verify(module)
    assert parse_module(print_module(module)) == module
    after = run(module)
    for expected, found in zip(means(module), means(after), strict=True):
        np.testing.assert_array_equal(expected, found)
    # everything that goes row by row is in a region
    assert not [operation for operation in after["f"].operations if space_of(operation)]
    assert run(after) == after


def test_a_broken_pass_is_reported_with_what_it_was_given():
    class Broken(Pass):
        name = "broken"

        def apply(self, function: Function) -> Function:
            function.operations.reverse()
            return function

    text = "func @f(%x: tensor<f32, [T]>) -> (tensor<f32, [T]>) {\n"
    text += "  %0 = neg %x : tensor<f32, [T]>\n  %1 = abs %0 : tensor<f32, [T]>\n  return %1\n}\n"
    with pytest.raises(LumenBug, match="the pass broken broke @f"):
        Broken().run(parse_module(text))
