"""What lowering builds on: instantiation of generics, static numbers, look-up of functions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lumen_core.dsl import load_text
from lumen_core.dsl.typed import Substitution, TypedExpr, TypedFunction, instantiate, static_value
from lumen_core.types import Dim, TensorType


def function(text: str) -> TypedFunction:
    return load_text(text).functions["f"]


def walk(typed: TypedExpr) -> Iterator[TypedExpr]:
    yield typed
    for arg in typed.args:
        yield from walk(arg)


def test_instantiate_replaces_sizes_packs_and_formats():
    module = load_text("")
    substitution = Substitution(
        {"N": Dim.of(8), "K": Dim.of("D")}, {"B": (Dim.of("T"), Dim.of(2))}, {"F": "weight<w>"}
    )
    linear = instantiate(module.functions["linear"], substitution)
    assert linear.parameters == (
        ("x", TensorType.of("f32", "T", 2, "D")),
        ("w", TensorType.of("weight<w>", 8, "D")),
    )
    assert linear.results == (TensorType.of("f32", "T", 2, 8),)
    types = {str(typed.type) for typed in walk(linear.value)}
    assert "tensor<unpacked<weight<w>>, [8, D]>" in types
    assert "tensor<activation<weight<w>>, [T, 2, D]>" in types
    bound = instantiate(linear, Substitution({"D": Dim.of(64)}, {}, {"weight<w>": "q4_0"}))
    assert "tensor<unpacked<q4_0>, [8, 64]>" in {str(typed.type) for typed in walk(bound.value)}


def test_calls_compose_substitutions():
    outer = function("fn f[*B, K, F](x: f32[*B, 2 * K], w: F[K, 2 * K]) -> f32[*B, K] { linear(x, w) }")
    inner = instantiate(outer, Substitution({"K": Dim.of(16)}, {"B": ()}, {"F": "q8_0"}))
    call = inner.value.attributes["substitution"]
    assert call == Substitution({"N": Dim.of(16), "K": Dim.of(32)}, {"B": ()}, {"F": "q8_0"})


def test_a_format_named_like_a_generic_is_replaced_once():
    substitution = Substitution({}, {}, {"F": "G", "G": "q4_0"})
    assert substitution.element("unpacked<F>") == "unpacked<G>"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1 / 8", 0.125),
        ("D ** -0.5", 0.125),
        ("-(2 * D + 1) / 2", -64.5),
        ("(D % 10) << 2", 16.0),
        ("7 - 2 ** 3", -1.0),
    ],
)
def test_static_numbers(text, value):
    product = function(f"fn f[D](x: f32[D]) -> f32[D] {{ x * ({text}) }}").value
    assert static_value(product.args[1], {"D": 64}, {}) == value
    assert product.args[1].type == TensorType("f32", ())


def test_static_numbers_do_not_depend_on_tensors():
    product = function("fn f[D](x: f32[D], s: f32) -> f32[D] { x * s }").value
    assert static_value(product.args[1], {}, {"s": 3.0}) == 3.0
    with pytest.raises(ValueError, match="local"):
        static_value(product.args[0], {}, {})
    with pytest.raises(ValueError, match="D is not known"):
        static_value(function("fn f[D](x: f32[D]) -> f32[D] { x * D }").value.args[1], {}, {})


def test_literals_are_folded_into_constants():
    value = function("fn f(x: u8[4]) -> u8[4] { x & (1 << 4) - 1 }").value
    assert (value.op, value.args[1].op, value.args[1].attributes["value"]) == ("bitand", "constant", 15)


def test_shadowed_names_are_unique():
    shadowed = function("fn f(x: f32) -> f32 {\nlet x = x + 1.0\nlet x = x * x\nx\n}")
    assert [let.names for let in shadowed.lets] == [("x.1",), ("x.2",)]
    assert shadowed.value.attributes["name"] == "x.2"


@pytest.mark.parametrize(
    ("signature", "arguments", "result"),
    [
        ("fn g[A, B](x: f32[A * B], A: size) -> f32[A, B]", "x, 4", "f32[4, 2*N]"),
        ("fn g[A, B](x: f32[A + B], y: f32[A]) -> f32[B]", "x, y", "f32[7*N]"),
        ("fn g[A](x: f32[4 * A]) -> f32[A]", "x", "f32[2*N]"),
        ("fn g[*B](x: f32[*B]) -> f32[*B, 1]", "x", "f32[8*N, 1]"),
        ("fn g[*B, A](x: f32[*B, A]) -> f32[A, 1]", "x", "f32[8*N, 1]"),
    ],
)
def test_generics_are_inferred(signature, arguments, result):
    text = f"{signature} {{ g0(x) }}\nfn f[N](x: f32[8 * N], y: f32[N]) -> {result} {{ g({arguments}) }}"
    with pytest.raises(Exception, match="unknown function `g0`") as caught:
        load_text(text)
    assert len(caught.value.diagnostics) == 1  # only the body of g is wrong
