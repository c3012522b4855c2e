"""The `Before:` and `After:` of a pass's docstring are true."""

from __future__ import annotations

import inspect
import textwrap

import pytest

from lumen_core.ir import parse_module, print_module, verify
from lumen_core.passes.dead_code import DeadCode
from lumen_core.passes.pipeline import PIPELINE


def example(text: str, title: str) -> str:
    lines = inspect.cleandoc(text).split("\n")
    start = lines.index(f"{title}:") + 1
    ends = (
        number for number in range(start, len(lines)) if lines[number] and not lines[number].startswith(" ")
    )
    stop = next(ends, len(lines))
    return textwrap.dedent("\n".join(lines[start:stop]))


@pytest.mark.parametrize(
    "step", sorted(set(PIPELINE), key=lambda step: step.name), ids=lambda step: step.name
)
def test_the_example_of_a_pass(step):
    text = type(step).__doc__
    assert "Requires:" in text
    assert "Establishes:" in text
    before, after = parse_module(example(text, "Before")), parse_module(example(text, "After"))
    found = DeadCode().run(step.run(before))
    verify(found)
    assert print_module(after) == print_module(found)
    assert after == found
