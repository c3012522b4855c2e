"""The text form: what is printed parses back, and what is wrong is shown with its place."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lumen_core.errors import SourceError
from lumen_core.ir import Builder, Function, Module, interpret, parse_module, print_module, verify
from lumen_core.types import TensorType

SAMPLE = """\
func @norm(%x: tensor<f32, [T, 8]>, %w: tensor<f32, [8]>) -> (tensor<f32, [T, 8]>, tensor<f32, [T, 2, 4]>) {
  %0, %h = rowwise %x, %w {space = "token"} (%x, %w) {
    %0 = mul %x, %x : tensor<f32, [T, 8]>
    %1 = mean %0 : tensor<f32, [T, 1]>
    %2 = constant {value = 1e-06} : tensor<f32, []>
    %3 = add %1, %2 : tensor<f32, [T, 1]>
    %4 = rsqrt %3 : tensor<f32, [T, 1]>
    %5 = mul %x, %4 : tensor<f32, [T, 8]>
    yield %5, %3
  } : tensor<f32, [T, 8]>, tensor<f32, [T, 1]>
  %1 = reshape %0 {shape = ["T", 2, 4]} : tensor<f32, [T, 2, 4]>
  return %0, %1
}

func @empty() -> () {
  return
}
"""


def test_print_gives_back_the_text():
    module = parse_module(SAMPLE)
    verify(module)
    assert print_module(module) == SAMPLE
    assert parse_module(print_module(module)) == module


def test_comments_and_layout_do_not_matter():
    spread = SAMPLE.replace(" : ", "\n   :  # a comment\n")
    assert parse_module(spread) == parse_module(SAMPLE)


def test_names_of_results_do_not_matter_but_constants_do():
    assert parse_module(SAMPLE.replace("%h", "%other")) == parse_module(SAMPLE)
    assert parse_module(SAMPLE.replace("1e-06", "1e-05")) != parse_module(SAMPLE)
    assert parse_module(SAMPLE.replace("%w", "%weight")) != parse_module(SAMPLE)


@pytest.mark.parametrize(
    "value", [0, -1, 2.0, 1e300, -1e-5, float("inf"), float("-inf"), float("nan"), 2**40, (1, 2.5), ()]
)
def test_constants_survive(value):
    builder = Builder()
    element = "i64" if value == 2**40 else ""
    builder.block.results = [
        builder.emit("constant", value=value, **({"element": element} if element else {}))
    ]
    module = Module([Function("f", builder.block)])
    assert parse_module(print_module(module)) == module


def test_names_are_made_unique():
    builder = Builder()
    x = builder.argument(TensorType.of("f32", "T"), "x")
    y = builder.emit("neg", x, name="x")
    builder.block.results = [builder.emit("neg", y, name="x")]
    module = Module([Function("f", builder.block)])
    text = print_module(module)
    assert "%x_2 = neg %x_1" in text
    assert parse_module(text) == module


def test_sizes_are_polynomials():
    text = (
        "func @f(%x: tensor<f32, [P + T - 1, 2*H*E]>) -> (tensor<f32, [P + T - 1, 2*H*E]>) {\n return %x\n}"
    )
    module = parse_module(text)
    assert parse_module(print_module(module)) == module
    interpret(module["f"], [np.zeros((4, 12))], sizes={"P": 3, "T": 2, "H": 2, "E": 3})


WRONG = {
    "%0 = neg %y : tensor<f32, [T]>": "%y is not defined here",
    "%0 = negate %x : tensor<f32, [T]>": "unknown operation `negate`",
    "%0 = neg %x : tensor<f32, [P]>": "neg gives tensor<f32, [T]>, declared as tensor<f32, [P]>",
    "%0 = neg %x, %x : tensor<f32, [T]>": "neg takes 1 operands, found 2",
    "%0 = add %x, %i : tensor<f32, [T]>": "element mismatch in add: f32 is not i32",
    "%0 = add %x, %z : tensor<f32, [T]>": "shape mismatch in add: T is not 3",
    "%0 = neg %x {theta = 1} : tensor<f32, [T]>": "neg has no attribute `theta`",
    "%0 = reshape %x : tensor<f32, [T]>": "reshape needs the attribute `shape`",
    '%0 = reshape %x {shape = ["T", 2]} : tensor<f32, [T, 2]>': "reshape of T elements to 2*T",
    '%0 = reshape %x {shape = ["T/2"]} : tensor<f32, [T, 2]>': "`T/2` is not a size",
    "%0, %1 = neg %x : tensor<f32, [T]>": "neg has 1 results, found 2 names",
    "%x = neg %x : tensor<f32, [T]>": "%x is defined twice",
    "%0 = neg %x tensor<f32, [T]>": "expected `:` and the types of the results",
    "%0 = neg %x : tensor<f32, [T": "expected `,`, found `return`",
    "%0 = neg %x : tensor<f32, [T]> ?": "unexpected character `?`",
    "%0 = constant {value = 300, element = \"u8\"} : tensor<u8, []>": "constant 300 does not fit u8",
    '%0 = quantize %x {activation = "i4"} : tensor<i4, [T]>': "`i4` is not an activation format",
    '%0 = rowwise %x {space = "token"} () { yield } : tensor<f32, [T]>': "for a region that takes 0",
    '%0 = rowwise %x {space = "token"} (%a) { yield %x } : tensor<f32, [T]>': "%x is not defined here",
    '%0 = rowwise %x {space = "page"} (%a) { yield %a } : tensor<f32, [T]>': "spaces are token and head",
    '%0 = rowwise %x {space = "token"} : tensor<f32, [T]>': "rowwise needs a region",
    "%0 = neg %x (%a) { yield %a } : tensor<f32, [T]>": "neg takes no region",
}  # fmt: skip


@pytest.mark.parametrize("line", WRONG)
def test_wrong_text_is_shown_with_its_place(line):
    expected = WRONG[line]
    arguments = "%x: tensor<f32, [T]>, %i: tensor<i32, [T]>, %z: tensor<f32, [3]>"
    text = f"func @f({arguments}) -> () {{\n  {line}\n  return\n}}"
    with pytest.raises(SourceError) as caught:
        parse_module(text)
    assert expected in str(caught.value)
    assert " --> <text>:" in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "func @f(%x: tensor<" + "a<" * 5000,
        "func @f() -> () { %0 = constant {value = " + "[" * 5000,
        "func @f() -> () { " + 'rowwise {space = "token"} () { ' * 5000,
        "func @f() -> () { %0 = constant {value = " + "9" * 5000,
        "func @f(%x: tensor<f32, [" + "T*" * 5000,
        "func @f(%x: tensor<f32, [" + "A + B, " * 40 + "1]>) -> () { return }",
        "func @f(%x: tensor<f32, [" + " + ".join(f"A{n}" for n in range(5000)) + "]>) -> () { return }",
        "func @f() -> () { return } func @f() -> () { return }",
    ],
)
def test_hostile_text_is_refused(text):
    with pytest.raises(SourceError):
        parse_module(text)


@settings(max_examples=300)
@given(data=st.data())
def test_mutated_text_parses_or_is_refused(data):
    text = SAMPLE
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(text)))
        stop = data.draw(st.integers(place, min(len(text), place + 12)))
        inserted = data.draw(
            st.sampled_from(["", "%0", ",", "[", "{", "1.5", '"T"', '["T*T", -1]', "add", "f16", "\0"])
        )
        text = text[:place] + inserted + text[stop:]
    try:
        module = parse_module(text)
    except SourceError:
        return
    verify(module)
    assert parse_module(print_module(module)) == module


@pytest.mark.parametrize(
    "line",
    [
        "reshape %x {shape = [1.5]}",
        'reshape %x {shape = ["' + "T*" * 5000 + 'T"]}',
        'reshape %x {shape = ["' + "9" * 5000 + '"]}',
        "reshape %x {shape = [" + "1, " * 5000 + '"T"]}',
        'reshape %x {shape = "T"}',
        'quantize %x {activation = "i8g' + "9" * 5000 + '"}',
        "quantize %x {activation = 8}",
        'constant {value = "one"}',
        "constant {value = 1, element = [2]}",
        "convert %x {element = 16}",
    ],
)
def test_attributes_of_the_wrong_kind_are_refused(line):
    with pytest.raises(SourceError):
        parse_module(
            f"func @f(%x: tensor<f32, [T]>) -> () {{\n  %0 = {line} : tensor<f32, [T]>\n  return\n}}"
        )
