"""Every operation's reference against plain numpy, written out a second time."""

from __future__ import annotations

import numpy as np
import pytest

from lumen_core.ir import DEFINITIONS, QuantizedArray, interpret, parse_module

F = np.float32
RANDOM = np.random.default_rng(7)


def run(line: str, *arrays, results: int = 1, formats=None, **types: str):
    """Run one operation on arguments named as in `line`; `types` declares them."""
    names = ", ".join(f"%{name}: {type}" for name, type in types.items())
    result = line.rsplit(" : ", 1)[1]
    text = f"func @f({names}) -> ({result}) {{\n  %r = {line}\n  return %r\n}}"
    (found,) = interpret(parse_module(text)["f"], arrays, formats)
    return found


def vector(size: int, element: str = "f32") -> str:
    return f"tensor<{element}, [{size}]>"


X = F([-3.5, -1, -0.0, 0.5, 2, 80])
Y = F([2, -0.25, 3, 7, 0.125, 5])

UNARY = {
    "neg": -X, "abs": np.abs(X), "sign": np.sign(X), "exp": np.exp(X), "silu": X / (1 + np.exp(-X)),
    "tanh": np.tanh(X),
}  # fmt: skip


@pytest.mark.parametrize("name", UNARY)
def test_unary(name):
    np.testing.assert_allclose(UNARY[name], run(f"{name} %x : {vector(6)}", X, x=vector(6)), rtol=1e-6)


def test_roots():
    x = np.abs(Y)
    np.testing.assert_array_equal(np.sqrt(x), run(f"sqrt %x : {vector(6)}", x, x=vector(6)))
    np.testing.assert_allclose(x**-0.5, run(f"rsqrt %x : {vector(6)}", x, x=vector(6)), rtol=1e-6)


BINARY = {
    "add": X + Y, "sub": X - Y, "mul": X * Y, "div": X / Y, "rem": np.mod(X, Y), "minimum": np.minimum(X, Y),
    "maximum": np.maximum(X, Y),
}  # fmt: skip


@pytest.mark.parametrize("name", BINARY)
def test_binary(name):
    found = run(f"{name} %x, %y : {vector(6)}", X, Y, x=vector(6), y=vector(6))
    np.testing.assert_array_equal(BINARY[name], found)


def test_broadcast_over_trailing_axes():
    x, y = RANDOM.random((3, 4, 5), F), RANDOM.random((4, 1), F)
    type = "tensor<f32, [3, 4, 5]>"
    np.testing.assert_array_equal(x + y, run(f"add %x, %y : {type}", x, y, x=type, y="tensor<f32, [4, 1]>"))


INTEGER = {
    ("bitand", "u8"): ([12, 255], [10, 15], [8, 15]),
    ("bitor", "u8"): ([12, 128], [10, 1], [14, 129]),
    ("bitxor", "i8"): ([12, -1], [10, 1], [6, -2]),
    ("shl", "u8"): ([255, 1], [4, 7], [240, 128]),
    ("shr", "u8"): ([255, 128], [4, 7], [15, 1]),
    ("shr", "i8"): ([-128, -1], [4, 7], [-8, -1]),
    ("add", "i8"): ([127, -128], [1, -1], [-128, 127]),
    ("mul", "i32"): ([65536, -3], [65536, 5], [0, -15]),
    ("div", "i32"): ([7, -7], [2, 2], [3, -4]),
}


@pytest.mark.parametrize(("name", "element"), INTEGER)
def test_integers_wrap(name, element):
    x, y, expected = INTEGER[name, element]
    type = vector(2, element)
    assert expected == run(f"{name} %x, %y : {type}", x, y, x=type, y=type).tolist()


def test_bitnot():
    assert run(f"bitnot %x : {vector(2, 'u8')}", [0, 255], x=vector(2, "u8")).tolist() == [255, 0]


@pytest.mark.parametrize(
    ("element", "expected"),
    [("i8", [-128, -5, 127]), ("u8", [0, 0, 255]), ("i16", [-32768, -5, 32767]), ("u64", [0, 0, 70000])],
)
def test_saturate(element, expected):
    line = f'saturate %x {{element = "{element}"}} : {vector(3, element)}'
    assert expected == run(line, [-70000, -5, 70000], x=vector(3, "i32")).tolist()


def test_convert():
    x = F([1.9, -1.9, 3e38, 1 / 3])
    assert run(f'convert %x {{element = "i32"}} : {vector(2, "i32")}', x[:2], x=vector(2)).tolist() == [1, -1]
    half = run(f'convert %x {{element = "f16"}} : {vector(4, "f16")}', x, x=vector(4))
    assert half.dtype == np.float16
    assert np.isinf(half[2])
    brain = run(f'convert %x {{element = "bf16"}} : {vector(4, "bf16")}', x, x=vector(4))
    assert np.count_nonzero(brain.view(np.uint32) & 0xFFFF) == 0
    assert brain[3] == F(0.333984375)


def test_compare_and_select():
    line = f'compare %x, %y {{predicate = "lt"}} : {vector(6, "i1")}'
    condition = run(line, X, Y, x=vector(6), y=vector(6))
    np.testing.assert_array_equal(X < Y, condition)
    found = run(
        f"select %c, %x, %y : {vector(6)}", condition, X, Y, c=vector(6, "i1"), x=vector(6), y=vector(6)
    )
    np.testing.assert_array_equal(np.minimum(X, Y), found)


@pytest.mark.parametrize("name", ["sum", "mean", "max"])
def test_reductions_keep_the_axis(name):
    x = RANDOM.random((3, 5), F)
    found = run(f"{name} %x : tensor<f32, [3, 1]>", x, x="tensor<f32, [3, 5]>")
    np.testing.assert_allclose(getattr(np, name)(x, axis=1, keepdims=True), found, rtol=1e-6)


def test_sum_of_integers_wraps():
    found = run(f"sum %x : {vector(1, 'i32')}", [2**31 - 1, 1], x=vector(2, "i32"))
    assert found.tolist() == [-(2**31)]


def test_constants():
    assert run("constant {value = 0.5} : tensor<f32, []>") == 0.5
    assert run('constant {value = [1, 2], element = "u8"} : tensor<u8, [2]>').tolist() == [1, 2]


def test_reshape_concat_slice():
    x = np.arange(6, dtype=F)
    found = run("reshape %x {shape = [2, 3]} : tensor<f32, [2, 3]>", x, x=vector(6))
    np.testing.assert_array_equal(x.reshape(2, 3), found)
    found = run(f"concat %x, %y : {vector(8)}", x, x[:2], x=vector(6), y=vector(2))
    np.testing.assert_array_equal([*x, 0, 1], found)
    found = run(f"slice %x {{start = 1, stop = 4}} : {vector(3)}", x, x=vector(6))
    np.testing.assert_array_equal([1, 2, 3], found)


def test_rows():
    table, ids = RANDOM.random((5, 4), F), [3, 0, 3]
    types = {"table": "tensor<f32, [5, 4]>", "ids": "tensor<i32, [T]>"}
    np.testing.assert_array_equal(
        table[ids], run("rows %table, %ids : tensor<f32, [T, 4]>", table, ids, **types)
    )


@pytest.mark.parametrize("pairs", ["half", "interleaved"])
def test_rope(pairs):
    """Each pair is a complex number that is turned; the rest of the head passes."""
    x, positions, factors = RANDOM.random((3, 2, 10), F), np.array([0, 5, 900]), F([1, 2, 0.5, 1])
    line = f'rope %x, %p, %f {{theta = 10000.0, pairs = "{pairs}"}} : tensor<f32, [T, 2, 10]>'
    types = {"x": "tensor<f32, [T, 2, 10]>", "p": "tensor<i32, [T]>", "f": "tensor<f32, [4]>"}
    found = run(line, x, positions, factors, **types)
    for t, h, i in np.ndindex(3, 2, 4):
        a, b = (i, i + 4) if pairs == "half" else (2 * i, 2 * i + 1)
        angle = positions[t] * 10000.0 ** (-2 * i / 8) / factors[i]
        turned = complex(x[t, h, a], x[t, h, b]) * np.exp(1j * angle)
        assert abs(turned - complex(found[t, h, a], found[t, h, b])) < 1e-6
    np.testing.assert_array_equal(x[..., 8:], found[..., 8:])


def test_append_rounds_to_the_cache():
    cache, x = RANDOM.random((2, 1, 3)).astype(np.float16), RANDOM.random((4, 1, 3), F)
    types = {"c": "tensor<f16, [P, 1, 3]>", "x": "tensor<f32, [T, 1, 3]>"}
    found = run("append %c, %x : tensor<f16, [P + T, 1, 3]>", cache, x, **types)
    np.testing.assert_array_equal(np.concatenate([cache, x.astype(np.float16)]), found)


def test_attention_is_causal_and_shares_heads():
    tokens, count, heads, groups, size = 3, 5, 4, 2, 6
    q = RANDOM.standard_normal((tokens, heads, size)).astype(F)
    keys, values = RANDOM.standard_normal((2, count, groups, size)).astype(np.float16)
    cache = "tensor<f16, [C, 2, 6]>"
    types = {"q": "tensor<f32, [T, 4, 6]>", "k": cache, "v": cache}
    found = run("attention %q, %k, %v {scale = 0.3} : tensor<f32, [T, 4, 6]>", q, keys, values, **types)
    for t, h in np.ndindex(tokens, heads):
        seen = count - tokens + t + 1
        scores = np.array([q[t, h] @ keys[c, h // 2].astype(F) * 0.3 for c in range(seen)])
        weights = np.exp(scores) / np.exp(scores).sum()
        np.testing.assert_allclose(
            weights @ values[:seen, h // 2].astype(F), found[t, h], rtol=1e-4, atol=1e-5
        )


def test_quantize():
    x = RANDOM.standard_normal((2, 64)).astype(F)
    x[1, 32:] = 0
    type = "tensor<f32, [T, 64]>"
    found = run('quantize %x {activation = "i8g32"} : tensor<i8g32, [T, 64]>', x, x=type)
    assert isinstance(found, QuantizedArray)
    scales = np.abs(x.reshape(2, 2, 32)).max(-1) / F(127)
    np.testing.assert_array_equal(scales, found.scales)
    assert np.abs(found.codes).max() == 127
    assert not found.codes[1, 32:].any()
    np.testing.assert_array_equal(found.codes.reshape(2, 4, 16).sum(-1), found.sums)
    back = run(f"dequantize %x : {type}", found, x="tensor<i8g32, [T, 64]>")
    assert np.abs(back - x).max() <= scales.max() / 2 * 1.0001


def test_quantize_rounds_half_to_even():
    x = np.zeros((1, 32), F)
    x[0, :5] = [127, 0.5, 1.5, -0.5, -2.5]
    found = run('quantize %x {activation = "i8g32"} : tensor<i8g32, [1, 32]>', x, x="tensor<f32, [1, 32]>")
    assert found.codes[0, :5].tolist() == [127, 0, 2, 0, -2]


class Doubled:
    """A format of one byte per weight, worth twice the byte."""

    activation = "i8g32"

    @staticmethod
    def decode(rows):
        return rows.astype(F) * 2


def test_matmul_steps_equal_the_fused_one():
    x, bytes = RANDOM.standard_normal((3, 32)).astype(F), RANDOM.integers(0, 255, (4, 32), np.uint8)
    accumulate = RANDOM.standard_normal((3, 4)).astype(F)
    text = """
    func @f(%x: tensor<f32, [T, 32]>, %w: tensor<twice, [4, 32]>, %a: tensor<f32, [T, 4]>)
        -> (tensor<f32, [T, 4]>, tensor<f32, [T, 4]>, tensor<f32, [T, 4]>) {
      %q = quantize %x {activation = "i8g32"} : tensor<i8g32, [T, 32]>
      %d = dequantize %q : tensor<f32, [T, 32]>
      %u = unpack %w : tensor<unpacked<twice>, [4, 32]>
      %e = dequantize %u : tensor<f32, [4, 32]>
      %0 = matmul %d, %e : tensor<f32, [T, 4]>
      %1 = fused_matmul %q, %w : tensor<f32, [T, 4]>
      %2 = fused_matmul %q, %w, %a : tensor<f32, [T, 4]>
      return %0, %1, %2
    }"""
    steps, fused, added = interpret(parse_module(text)["f"], [x, bytes, accumulate], {"twice": Doubled})
    np.testing.assert_array_equal(steps, fused)
    np.testing.assert_array_equal(steps + accumulate, added)
    np.testing.assert_allclose(x @ (bytes * F(2)).T, steps, rtol=0.05, atol=20)


def test_fused_rows():
    bytes = RANDOM.integers(0, 255, (5, 8), np.uint8)
    types = {"table": "tensor<twice, [5, 8]>", "ids": "tensor<i32, [T]>"}
    found = run(
        "fused_rows %table, %ids : tensor<f32, [T, 8]>", bytes, [4, 4, 1], formats={"twice": Doubled}, **types
    )
    np.testing.assert_array_equal(bytes[[4, 4, 1]] * F(2), found)


def test_reorder():
    x, order = RANDOM.standard_normal((3, 8), F), RANDOM.permutation(8).astype(np.int32)
    types = {"x": "tensor<f32, [T, 8]>", "order": "tensor<i32, [8]>"}
    found = run("reorder %x, %order : tensor<f32, [T, 8]>", x, order, **types)
    np.testing.assert_array_equal(x[:, order], found)


def test_every_definition_says_what_it_is():
    for definition in DEFINITIONS.values():
        assert definition.summary, definition.name


def test_top_k_takes_the_first_of_equals():
    scores = F([[0, 3, 3, 1], [2, 2, 2, 2]])
    line = "top_k %s {k = 2} : tensor<i32, [T, 2]>"
    assert run(line, scores, s="tensor<f32, [T, 4]>").tolist() == [[1, 2], [0, 1]]


def test_top_k_keeps_the_groups_whose_two_greatest_sum_to_most():
    scores = F([[9, 0, 5, 5, 4, 3]])  # 9, 10 and 7
    line = "top_k %s {k = 2, groups = 3, kept = 1} : tensor<i32, [T, 2]>"
    assert run(line, scores, s="tensor<f32, [T, 6]>").tolist() == [[2, 3]]
    line = "top_k %s {k = 3, groups = 3, kept = 2} : tensor<i32, [T, 3]>"
    assert run(line, scores, s="tensor<f32, [T, 6]>").tolist() == [[0, 2, 3]]


def test_pick():
    x, chosen = RANDOM.random((2, 4), F), np.array([[3, 0], [1, 1]], np.int32)
    types = {"x": "tensor<f32, [T, 4]>", "c": "tensor<i32, [T, 2]>"}
    found = run("pick %x, %c : tensor<f32, [T, 2]>", x, chosen, **types)
    np.testing.assert_array_equal(found, [x[0, [3, 0]], x[1, [1, 1]]])


def test_products_of_experts_have_a_row_for_every_choice():
    chosen = np.array([[2, 0], [1, 2], [0, 0]], np.int32)
    x, bytes = RANDOM.standard_normal((3, 8)).astype(F), RANDOM.integers(0, 255, (3, 4, 8), np.uint8)
    types = {"c": "tensor<i32, [T, 2]>", "x": "tensor<f32, [T, 8]>", "w": "tensor<twice, [3, 4, 8]>"}
    line = "fused_expert_matmul %c, %x, %w : tensor<f32, [2*T, 4]>"
    found = run(line, chosen, x, bytes, formats={"twice": Doubled}, **types)
    wanted = [bytes[expert] * F(2) @ x[token] for token in range(3) for expert in chosen[token]]
    np.testing.assert_allclose(found, wanted, rtol=1e-5)
    line = "expert_matmul %c, %x, %w : tensor<f32, [2*T, 4]>"
    types |= {"x": "tensor<f32, [2*T, 8]>", "w": "tensor<f32, [3, 4, 8]>"}
    rows = np.repeat(x, 2, axis=0)
    np.testing.assert_allclose(run(line, chosen, rows, bytes * F(2), **types), wanted, rtol=1e-5)


def test_blend():
    shares, x = RANDOM.random((2, 3), F), RANDOM.random((6, 4), F)
    before = RANDOM.random((2, 4), F)
    types = {"s": "tensor<f32, [T, 3]>", "x": "tensor<f32, [3*T, 4]>", "a": "tensor<f32, [T, 4]>"}
    wanted = np.einsum("tk,tkd->td", shares, x.reshape(2, 3, 4))
    found = run("blend %s, %x, %a : tensor<f32, [T, 4]>", shares, x, before, **types)
    np.testing.assert_allclose(found, wanted + before, rtol=1e-6)
