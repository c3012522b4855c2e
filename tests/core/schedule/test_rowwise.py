"""Compiled `rowwise` regions against the interpreter."""

from __future__ import annotations

import numpy as np
import pytest

from lumen_core.ir import QuantizedArray, interpret, parse_module
from lumen_core.ir.core import Function, Operation
from lumen_core.quant.layout import ActivationLayout
from lumen_core.schedule.phases import Rotary
from lumen_core.schedule.pieces import Pieces
from lumen_core.schedule.rope import rope_tables
from lumen_core.schedule.rowwise import build_rowwise
from lumen_core.target import Target

from .caches import float_layout
from .compiled import TARGETS, compiled

each_target = pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)

NO_TABLES = (None,) * 4  # of angles and slots
NORM = """
func @f(%x: tensor<f32, [T, {D}]>, %y: tensor<f32, [T, {D}]>, %w: tensor<f32, [{D}]>)
    -> (tensor<f32, [T, {D}]>, tensor<{A}, [T, {D}]>) {{
  %a, %q = rowwise %x, %y, %w {{space = "token"}} (%x, %y, %w) {{
    %e = constant {{value = 1e-06}} : tensor<f32, []>
    %h = add %x, %y : tensor<f32, [T, {D}]>
    %s = mul %h, %h : tensor<f32, [T, {D}]>
    %m = mean %s : tensor<f32, [T, 1]>
    %v = add %m, %e : tensor<f32, [T, 1]>
    %r = rsqrt %v : tensor<f32, [T, 1]>
    %n = mul %h, %r : tensor<f32, [T, {D}]>
    %o = mul %n, %w : tensor<f32, [T, {D}]>
    %q = quantize %o {{activation = "{A}"}} : tensor<{A}, [T, {D}]>
    yield %h, %q
  }} : tensor<f32, [T, {D}]>, tensor<{A}, [T, {D}]>
  return %a, %q
}}
"""

HEADS = """
func @f(%x: tensor<f32, [T, {N}]>, %b: tensor<f32, [{N}]>, %w: tensor<f32, [{E}]>, %p: tensor<i32, [T]>,
        %c: tensor<f32, [{half}]>, %keys: tensor<f16, [P, {H}, {E}]>)
    -> (tensor<f32, [T, {H}, {E}]>, tensor<f16, [P + T, {H}, {E}]>) {{
  %a, %k = rowwise %x, %b, %w, %p, %c, %keys {{space = "head"}} (%x, %b, %w, %p, %c, %keys) {{
    %s = reshape %x {{shape = ["T", {H}, {E}]}} : tensor<f32, [T, {H}, {E}]>
    %t = reshape %b {{shape = [{H}, {E}]}} : tensor<f32, [{H}, {E}]>
    %h = add %s, %t : tensor<f32, [T, {H}, {E}]>
    %0 = mul %h, %h : tensor<f32, [T, {H}, {E}]>
    %1 = mean %0 : tensor<f32, [T, {H}, 1]>
    %2 = rsqrt %1 : tensor<f32, [T, {H}, 1]>
    %3 = mul %h, %2 : tensor<f32, [T, {H}, {E}]>
    %4 = mul %3, %w : tensor<f32, [T, {H}, {E}]>
    %5 = rope %4, %p, %c {{theta = 10000.0, pairs = "{pairs}"}} : tensor<f32, [T, {H}, {E}]>
    %6 = append %keys, %5 : tensor<f16, [P + T, {H}, {E}]>
    yield %5, %6
  }} : tensor<f32, [T, {H}, {E}]>, tensor<f16, [P + T, {H}, {E}]>
  return %a, %k
}}
"""


def parsed(text: str) -> tuple[Function, Operation]:
    module = parse_module(text)
    function = next(iter(module))
    return function, function.operations[0]


def unpacked(buffer: np.ndarray, layout: ActivationLayout, tokens: int, length: int) -> QuantizedArray:
    """Read codes, scales and sums of 16 back out of panels; check the derived sums on the way."""
    groups = length // layout.group
    panel = layout.panel_bytes(length)
    codes = np.zeros((tokens, length), np.int8)
    scales = np.zeros((tokens, groups), np.float32)
    for token in range(tokens):
        number, column = divmod(token, layout.columns)
        for group in range(groups):
            block = buffer[number * panel + group * layout.block_bytes :][: layout.block_bytes]
            step = layout.columns
            words, reals = block.view(np.int32) if len(block) % 4 == 0 else None, block.view(np.float32)
            assert words is not None
            scales[token, group] = reals[layout.scale(column) // 4]
            for start in range(0, layout.group, 32):
                piece = block[[layout.code(column, start + n) for n in range(32)]].view(np.int8)
                codes[token, group * layout.group + start :][:32] = piece
                total = int(piece.astype(int).sum())
                where = layout.seeds32 // 4 + start // 32 * step + column
                assert words[where] == -128 * total
                found = reals[layout.sums32 // 4 + start // 32 * step + column]
                weight = scales[token, group] if layout.scaled_sums else 1.0
                np.testing.assert_allclose(found, total * weight, rtol=1e-6)
                if layout.group > 32:
                    halves = [int(piece[16 * half :][:16].astype(int).sum()) for half in range(2)]
                    for half in range(2):
                        where = layout.seeds16 // 4 + (start // 16 + half) * step + column
                        assert words[where] == -128 * halves[half]
                    digits = block.view(np.int8)
                    for sub, sums in ((32, [total]), (16, halves)):
                        for place, value in enumerate(sums, start // sub):
                            high, low = (
                                digits[layout.code(column, layout.digits(sub) + n)]
                                for n in (place, layout.group // sub + place)
                            )
                            assert 64 * int(high) + int(low) == value
                            assert 0 <= low < 64
    sums = codes.reshape(tokens, -1, 16).sum(axis=-1, dtype=np.int16)
    return QuantizedArray(codes, scales, sums)


@each_target
@pytest.mark.parametrize("columns", [1, 4])
@pytest.mark.parametrize(
    ("length", "activation"), [(96, "i8g32"), (512, "i8g256"), (768, "i8g256"), (896, "i8g32")]
)
def test_normalized_and_quantized_rows(target: Target, length: int, activation: str, columns: int) -> None:
    function, operation = parsed(NORM.format(D=length, A=activation))
    random = np.random.default_rng(length)
    tokens = 6
    x, y = (random.standard_normal((tokens, length)).astype(np.float32) for _ in range(2))
    x[2] = y[2] = 0
    w = random.standard_normal(length).astype(np.float32)
    wanted, quantized = interpret(function, [x, y, w])
    layout = ActivationLayout(activation, columns, target.depth)
    sums, panels = np.zeros_like(x), np.zeros(layout.bytes(tokens, length), np.uint8)
    kernel = build_rowwise(operation, target, columns)
    stride = 4 * length
    call = compiled(kernel, target)
    arguments = (
        x,
        stride,
        y,
        stride,
        w,
        0,
        sums,
        stride,
        panels,
        layout.panel_bytes(length),
        *NO_TABLES,
    )
    call(*arguments, 0, 4, 0, 0)
    call(*arguments, 4, tokens, 0, 0)
    np.testing.assert_array_equal(sums, wanted)
    found = unpacked(panels, layout, tokens, length)
    np.testing.assert_allclose(found.scales, quantized.scales, rtol=1e-6)
    difference = np.abs(found.codes.astype(int) - quantized.codes)
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


@each_target
@pytest.mark.parametrize("columns", [1, 4])
@pytest.mark.parametrize(("activation", "length"), [("f32", 64), ("bf16", 64), ("bf16", 63)])
def test_plain_rows_for_float_weights(target: Target, activation: str, length: int, columns: int) -> None:
    tokens, stride = 5, 4 * length
    function, operation = parsed(NORM.format(D=length, A=activation))
    shapes = [(tokens, length), (tokens, length), length]
    x, y, w = (np.random.default_rng(0).standard_normal(shape).astype("f4") for shape in shapes)
    x[3, 5] = np.nan
    layout = ActivationLayout(activation, columns)
    sums, panels = np.zeros_like(x), np.full(layout.bytes(tokens, length), 255, np.uint8)
    call = compiled(build_rowwise(operation, target, columns), target)
    call(
        x,
        stride,
        y,
        stride,
        w,
        0,
        sums,
        stride,
        panels,
        layout.panel_bytes(length),
        *NO_TABLES,
        0,
        tokens,
        0,
        0,
    )
    pairs = panels.reshape(-1, -(-length // layout.group), columns, layout.group, 4 // layout.group)
    stored = pairs.transpose(0, 2, 1, 3, 4).reshape(-1, layout.group * pairs.shape[1], 4 // layout.group)
    found = np.zeros((tokens, stored.shape[1], 4), np.uint8)
    found[..., 4 - 4 // layout.group :] = stored[:tokens]
    numbers = found.view(np.float32)[..., 0]
    wanted = interpret(function, [x, y, w])[1]
    tolerance = 2.0**-8 if activation == "bf16" else 1e-5  # a last bit
    np.testing.assert_allclose(numbers[:, :length], wanted, rtol=tolerance)
    assert activation == "f32" or (numbers[:, :length] == wanted).mean() > 0.7
    assert not numbers[:, length:].any()


@each_target
@pytest.mark.parametrize("pairs", ["half", "interleaved"])
@pytest.mark.parametrize(
    ("heads", "size", "half"),
    [
        (3, 64, 32),
        (2, 128, 64),
        (1, 64, 16),
        (2, 80, 40),
        (2, 24, 12),
        (2, 32, 1),
        (1, 30, 3),
        (2, 33, 2),
        (1, 6, 1),
    ],
)
def test_heads_are_turned_and_appended(target: Target, heads: int, size: int, half: int, pairs: str) -> None:
    text = HEADS.format(N=heads * size, H=heads, E=size, half=half, pairs=pairs)
    function, operation = parsed(text)
    random = np.random.default_rng(size)
    tokens, past = 5, 62  # crosses the border of a page
    x = random.standard_normal((tokens, heads * size)).astype(np.float32)
    bias = random.standard_normal(heads * size).astype(np.float32)
    w = random.standard_normal(size).astype(np.float32)
    factors = random.uniform(1, 2, half).astype(np.float32)
    positions = np.arange(past, past + tokens, dtype=np.int32)
    keys = np.zeros((past, heads, size), np.float16)
    wanted, cache = interpret(function, [x, bias, w, positions, factors, keys])
    cos, sin = rope_tables(Rotary(10000.0, "factors", len(factors)), factors, 80)
    layout = float_layout(heads, size, target)
    pages = np.array([3, -1], np.int32)  # the second lies in staging
    slots = pages[positions // layout.page] * layout.page + positions % layout.page
    stride = 4 * heads * size
    for kind in ("keys", "values"):
        pool = np.zeros(6 * layout.page_bytes // 2, np.float16)
        staging = pool[5 * layout.page_bytes // 2 :]  # behind its end
        part = pool[(layout.value_offset if kind == "values" else 0) // 2 :]
        out = np.zeros((tokens, heads, size), np.float32)
        call = compiled(build_rowwise(operation, target, 1, [kind], layout), target)
        operands = (x, stride, bias, 0, w, 0, positions, 0, None, 0, None, 0)
        results = (out, stride, part, layout.page_bytes)
        call(*operands, *results, cos, sin, slots, staging, 0, tokens, 0, 1)
        call(*operands, *results, cos, sin, slots, staging, 0, tokens, 1, heads)
        np.testing.assert_allclose(out, wanted, rtol=1e-4, atol=1e-5)
        place = layout.value if kind == "values" else layout.key
        for token in range(tokens):
            page, slot = divmod(past + token, layout.page)
            for head in range(heads):
                start = pages[page] % 5 * layout.page_bytes
                where = [start + place(head, slot, e) for e in range(size)]
                found = pool[np.array(where) // 2].astype(np.float32)
                np.testing.assert_allclose(found, cache[past + token, head], rtol=2e-3, atol=1e-3)


@each_target
def test_gate_times_up_of_merged_heads(target: Target) -> None:
    text = """
    func @f(%x: tensor<f32, [T, 4, 24]>, %y: tensor<f32, [T, 96]>) -> (tensor<f32, [T, 96]>) {
      %r = rowwise %x, %y {space = "token"} (%x, %y) {
        %a = reshape %x {shape = ["T", 96]} : tensor<f32, [T, 96]>
        %b = silu %a : tensor<f32, [T, 96]>
        %c = mul %b, %y : tensor<f32, [T, 96]>
        %d = max %c : tensor<f32, [T, 1]>
        %e = sub %c, %d : tensor<f32, [T, 96]>
        yield %e
      } : tensor<f32, [T, 96]>
      return %r
    }
    """
    function, operation = parsed(text)
    x = np.random.default_rng(1).standard_normal((3, 4, 24)).astype(np.float32)
    y = np.random.default_rng(2).standard_normal((3, 96)).astype(np.float32)
    out = np.zeros((3, 96), np.float32)
    call = compiled(build_rowwise(operation, target), target)
    call(x, 384, y, 384, out, 384, *NO_TABLES, 0, 3, 0, 0)
    np.testing.assert_allclose(out, interpret(function, [x, y])[0], rtol=1e-5, atol=1e-6)


@each_target
def test_one_region_serves_weights_of_every_kind(target: Target) -> None:
    text = """
    func @f(%x: tensor<f32, [T, 512]>)
        -> (tensor<i8g32, [T, 512]>, tensor<i8g256, [T, 512]>, tensor<f32, [T, 512]>) {
      %a, %b, %c = rowwise %x {space = "token"} (%x) {
        %h = neg %x : tensor<f32, [T, 512]>
        %a = quantize %h {activation = "i8g32"} : tensor<i8g32, [T, 512]>
        %b = quantize %h {activation = "i8g256"} : tensor<i8g256, [T, 512]>
        %c = quantize %h {activation = "f32"} : tensor<f32, [T, 512]>
        yield %a, %b, %c
      } : tensor<i8g32, [T, 512]>, tensor<i8g256, [T, 512]>, tensor<f32, [T, 512]>
      return %a, %b, %c
    }
    """
    function, operation = parsed(text)
    x = np.random.default_rng(3).standard_normal((3, 512)).astype(np.float32)
    layouts = [ActivationLayout(name, 4, target.depth) for name in ("i8g32", "i8g256", "f32")]
    panels = [np.zeros(layout.bytes(3, 512), np.uint8) for layout in layouts]
    pairs = [
        item for pair in zip(panels, (lay.panel_bytes(512) for lay in layouts), strict=True) for item in pair
    ]
    compiled(build_rowwise(operation, target, 4), target)(x, 2048, *pairs, *NO_TABLES, 0, 3, 0, 0)
    for layout, panel, wanted in zip(layouts[:2], panels, interpret(function, [x]), strict=False):
        found = unpacked(panel, layout, 3, 512)
        np.testing.assert_allclose(found.scales, wanted.scales, rtol=1e-6)
        assert np.abs(found.codes.astype(int) - wanted.codes).max() <= 1
    plain = panels[2].view(np.float32).reshape(-1, 512, 4).transpose(0, 2, 1).reshape(-1, 512)[:3]
    np.testing.assert_array_equal(plain, -x)


GATED = """
func @f(%x: tensor<{A}, [T, {K}]>, %g: tensor<f32, [{D}, {K}]>, %u: tensor<f32, [{D}, {K}]>)
    -> (tensor<{Q}, [T, {D}]>) {{
  %0 = fused_matmul %x, %g : tensor<f32, [T, {D}]>
  %1 = fused_matmul %x, %u : tensor<f32, [T, {D}]>
  %2 = rowwise %0, %1 {{space = "token"}} (%a, %b) {{
    %s = silu %a : tensor<f32, [T, {D}]>
    %m = mul %s, %b : tensor<f32, [T, {D}]>
    %q = quantize %m {{activation = "{Q}"}} : tensor<{Q}, [T, {D}]>
    yield %q
  }} : tensor<{Q}, [T, {D}]>
  return %2
}}
"""


@each_target
@pytest.mark.parametrize("activation", ["i8g32", "i8g256", "f32", "bf16"])
def test_pieces_of_rows_are_the_whole(activation: str, target: Target) -> None:
    """Pieces done one after the other, and out of order, leave the bytes that whole rows leave."""
    columns, tokens, length = 16, 21, 768
    function = next(iter(parse_module(GATED.format(A="f32", K=32, D=length, Q=activation))))
    operation = function.operations[-1]
    pieces = Pieces(function, columns, target.lanes, 3)
    layout = ActivationLayout(activation, columns, target.depth)
    piece = pieces.size(operation)
    assert piece == max(layout.group, target.lanes)
    first, second = function.operations[:2]
    assert pieces.behind(first.result) == piece
    assert pieces.partners(first.result) == [second.result]
    random = np.random.default_rng(4)
    gate, up = (random.standard_normal((tokens, length)).astype(np.float32) for _ in range(2))

    def made(size: int, parts: list[tuple[int, int]]) -> np.ndarray:
        kernel = compiled(build_rowwise(operation, target, columns, piece=size), target)
        buffer = np.zeros(layout.bytes(tokens, length), np.uint8)
        given = (gate, gate.strides[0], up, up.strides[0], buffer, layout.panel_bytes(length))
        for part in parts:
            kernel(*given, *NO_TABLES, 0, tokens, *part)
        return buffer

    whole, third = made(0, [(0, 1)]), length // piece // 3
    parts = [(2 * third, length // piece), (0, third), (third, 2 * third)]
    np.testing.assert_array_equal(made(piece, parts), whole)
    assert whole.any()


def test_what_needs_whole_rows_has_no_pieces() -> None:
    """One token, pieces for too few threads, a length that groups do not divide, and a sum over the row."""
    function = next(iter(parse_module(GATED.format(A="f32", K=32, D=768, Q="i8g256"))))
    assert Pieces(function, 16, 16, 3).size(function.operations[-1]) == 256
    assert Pieces(function, 1, 16, 3).size(function.operations[-1]) == 0
    assert Pieces(function, 16, 16, 4).size(function.operations[-1]) == 0
    odd = next(iter(parse_module(GATED.format(A="f32", K=32, D=776, Q="f32"))))
    assert Pieces(odd, 16, 16, 1).size(odd.operations[-1]) == 0
    _, norm = parsed(NORM.format(D=256, A="i8g32"))
    assert Pieces(function, 16, 16, 1).size(norm) == 0
