"""The derived quantizer: how much it loses, what it refuses, that what it wrote reads back."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from kit.forms import declarations, encodable
from kit.weights import KINDS, relative_error, sample

from lumen_core.dsl.parse import parse
from lumen_core.errors import UnsupportedFormatError
from lumen_core.quant.alphabet import alphabet
from lumen_core.quant.analyse import analyse
from lumen_core.quant.codebook import Codebook
from lumen_core.quant.encode import Encoder, encode
from lumen_core.quant.floats import is_small
from lumen_core.quant.integers import BitField
from lumen_core.quant.normal_form import FloatField, NormalForm
from lumen_core.quant.store import store_bits
from lumen_core.quant.stored_floats import held, nearest
from lumen_core.source import Source

LLAMA = json.loads(Path(__file__).with_name("llama_quantizer.json").read_text())


def coarse(form: NormalForm) -> bool:
    """Few values, or scales of a byte: what they hold of a number is rough."""
    scales = [scale for scale in (form.scale, form.offset) if scale is not None]
    small = any(is_small(field.element) for scale in scales for field in scale.floats)
    return form.kind != "float" and (form.bits < 4 or small)


FORMS = {name: form for name, item in declarations().items() if encodable(form := analyse(item))}
SLOW = {name for name, form in FORMS.items() if form.kind != "float" and isinstance(alphabet(form), Codebook)}
SEARCHED = {name: FORMS.pop(name) for name in sorted(SLOW)}  # `test_code_books`, and `formats check`
BLOCKED = [name for name, form in FORMS.items() if form.kind != "float"]


def loss(form: NormalForm, rows: np.ndarray) -> float:
    return relative_error(form.decode(encode(form, rows)), rows)


@pytest.mark.parametrize("name", sorted(FORMS.keys() & LLAMA.keys()))
@pytest.mark.parametrize("kind", KINDS)
def test_it_loses_no_more_than_llama_cpp(name: str, kind: str) -> None:
    found, theirs = loss(FORMS[name], sample(kind)), LLAMA[name][kind]
    assert found <= theirs * (1 + 1e-6), f"{name} on {kind}: {found:.6f}, llama.cpp {theirs:.6f}"


@pytest.mark.parametrize("name", BLOCKED)
def test_what_was_quantized_is_found_again(name: str) -> None:
    form, rows = FORMS[name], sample("gaussian")
    once = form.decode(encode(form, rows))
    again = form.decode(encode(form, once))
    assert relative_error(again, once) <= 0.2 * relative_error(once, rows)
    if not coarse(form) and form.row is None and form.scale is not None and form.scale.integer is None:
        assert np.mean(again == once) > 0.995


@pytest.mark.parametrize("name", BLOCKED)
def test_importance_moves_the_error_to_where_it_matters_less(name: str) -> None:
    form, rows = FORMS[name], sample("student5")
    if form.kind == "integer" and not form.scale.floats and form.scale.integer is None:
        pytest.skip("the nearest codes are all there is to choose")
    importance = np.where(np.arange(rows.shape[1]) % 4 == 0, 50, 1).astype(np.float32)
    plain = form.decode(encode(form, rows)) - rows
    weighted = form.decode(encode(form, rows, importance)) - rows
    assert np.mean(importance * weighted**2) < np.mean(importance * plain**2)
    unseen = encode(form, rows[:2], np.zeros(rows.shape[1], np.float32))
    assert np.array_equal(unseen, encode(form, rows[:2], np.ones(rows.shape[1], np.float32)))


@pytest.mark.parametrize("name", FORMS)
def test_pieces_change_nothing(name: str) -> None:
    form, rows = FORMS[name], np.concatenate([sample("gaussian")] * 6)
    parts = [encode(form, part) for part in np.split(rows, 3)]
    assert np.array_equal(encode(form, rows), np.concatenate(parts))


@pytest.mark.parametrize("name", FORMS)
def test_plain_blocks(name: str) -> None:
    form = FORMS[name]
    width = max(form.block, 32)
    for value in (0.0, -0.0, 1.0, -1.0, 0.37, -1000.0):
        rows = np.full((1, width), value, np.float32)
        bound = 0.1 if coarse(form) else 2**-5
        assert np.allclose(form.decode(encode(form, rows)), rows, rtol=bound, atol=0), value
    if not coarse(form):
        single = np.zeros((1, width), np.float32)
        single[0, 5] = -3.0
        found = form.decode(encode(form, single))
        assert abs(found[0, 5] + 3.0) < 0.1
        assert np.abs(np.delete(found, 5)).max() < 0.03


@pytest.mark.parametrize("name", FORMS)
@given(data=st.data())
@settings(max_examples=15)
def test_any_finite_weights(name: str, data: st.DataObject) -> None:
    """Huge, tiny and mixed magnitudes: nothing but finite numbers, and no error beyond the largest weight."""
    form = FORMS[name]
    width = max(form.block, 32)
    exponent = data.draw(st.integers(-45, 4))
    values = data.draw(arrays(np.float32, (1, width), elements=st.floats(-1, 1, width=32)))
    with np.errstate(under="ignore"):
        rows = (values * 10.0**exponent).astype(np.float32)
    if np.abs(rows).max() > Encoder(form).limit:
        return
    found = form.decode(encode(form, rows))
    top = float(np.abs(rows).max())
    assert np.isfinite(found).all()
    assert np.abs(found.astype(np.float64) - rows).max() <= 1.01 * top + 1e-7


@pytest.mark.parametrize("name", FORMS)
def test_steps_too_small_for_the_scale(name: str) -> None:
    """Where a block's scale would be less than its float can hold, no weight is worse off than as zero."""
    form = FORMS[name]
    rows = np.full((1, max(form.block, 32)), 1e-6, np.float32)
    rows[0, 0] = -5e-7
    assert np.abs(form.decode(encode(form, rows)) - rows).max() <= 1e-6 + 1e-7


@pytest.mark.parametrize("name", FORMS)
def test_numbers_that_cannot_be_held(name: str) -> None:
    form = FORMS[name]
    rows = np.zeros((3, max(form.block, 32)), np.float32)
    for value in (np.nan, np.inf, -np.inf):
        rows[2, 7] = value
        with pytest.raises(UnsupportedFormatError, match="row 2, column 7"):
            encode(form, rows)
    rows[2, 7] = 3e38
    if Encoder(form).limit < 3e38:
        with pytest.raises(UnsupportedFormatError, match=f"does not fit the format {re.escape(name)}"):
            encode(form, rows)


UNENCODABLE = {
    "there is no scale to choose; let a stored float": "qs: u8[32]  value = bits(qs, 4, run=32) - 8",
    "d multiplies both codes and offsets; give the offsets a float of their own": "d: f16  s: u8[2]  m: u8[2]"
    "  qs: u8[32]  value = d * s * bits(qs, 4, run=32) - d * m",
    "store both alike": "d: f16  s: u8[2]  m: f16  qs: u8[32]  value = d * s * bits(qs, 4, run=32) - m",
    "e is a second scale of one byte": "d: f16  e: e8m0  qs: u8[32]  value = d * e * bits(qs, 4, run=32)",
    "d has 2 values for 2 sub-blocks; give it one": "d: f16[2]  s: u8[2]  qs: u8[32]"
    "  value = d * s * bits(qs, 4, run=32)",
    "3 fields decide the same weights, at most two can": "d: f16  a: u8[8]  b: u8[8]  c: u8[1]"
    "  let book = [1, 5]\n"
    "  value = d * book[bits(a, 1, run=8)] * (1 - 2 * bits(b, 1, run=8)) * (1 + bits(c, 1, run=1))",
}


@pytest.mark.parametrize("reason", UNENCODABLE)
def test_what_cannot_be_quantized_says_why(reason: str) -> None:
    (declaration,) = parse(Source("a.lum", f"format a : block 64 {{ {UNENCODABLE[reason]} }}")).formats
    with pytest.raises(UnsupportedFormatError, match=f"a: no quantizer is derived.*{reason}"):
        Encoder(analyse(declaration))


def test_refused_shapes() -> None:
    form = next(form for form in FORMS.values() if form.block == 256)
    with pytest.raises(UnsupportedFormatError, match="whole number"):
        encode(form, np.zeros((1, 255), np.float32))
    with pytest.raises(UnsupportedFormatError, match="importances"):
        encode(form, np.zeros((1, 256), np.float32), np.ones(255, np.float32))
    with pytest.raises(UnsupportedFormatError, match="not negative"):
        encode(form, np.zeros((1, 256), np.float32), -np.ones(256, np.float32))


@pytest.mark.parametrize("name", BLOCKED)
def test_storing_is_the_inverse_of_reading(name: str) -> None:
    form, generator = FORMS[name], np.random.default_rng(3)
    fields = [form.code, *(scale.integer for scale in (form.scale, form.offset) if scale is not None)]
    stored = np.zeros((form.block_bytes + form.header_bytes, 40), np.uint8)
    written = {}
    for field in fields:
        if isinstance(field, BitField):
            written[field] = generator.integers(field.low, field.high + 1, (field.count, 40))
            store_bits(field, written[field] - field.add & (1 << field.width) - 1, stored)
    for field, values in written.items():
        assert np.array_equal(field.decode(np.ascontiguousarray(stored.T)).T, values)


@pytest.mark.parametrize("name", sorted(SEARCHED))
def test_code_books(name: str) -> None:
    form, rows = SEARCHED[name], sample("gaussian")[:2]
    once = form.decode(encode(form, rows))
    assert relative_error(once, rows) <= 1.1 * LLAMA[name]["gaussian"]
    again = form.decode(encode(form, once))
    assert relative_error(again, once) <= 0.2 * relative_error(once, rows)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SEARCHED))
@pytest.mark.parametrize("kind", KINDS)
def test_code_books_lose_no_more_than_llama_cpp(name: str, kind: str) -> None:
    assert loss(SEARCHED[name], sample(kind)) <= LLAMA[name][kind] * (1 + 1e-6)


@pytest.mark.parametrize("zero", [0, 1, 3, 6, 8, 14])
@pytest.mark.parametrize("scale", ["s: u8[1]", "s: i8[1]", "s: f16[1]"], ids=["unsigned", "signed", "float"])
def test_values_that_reach_further_on_one_side(zero: int, scale: str) -> None:
    """Codes of 4 bits with any zero point: hardly another scale would lose less."""
    code = f"(bits(qs, 4, run=16) - {zero})"
    text = f"format any : block 32 {{ d: f32 {scale} qs: u8[16] value = d * s * {code} }}"
    (declaration,) = parse(Source("any.lum", text)).formats
    form, rows = analyse(declaration), sample("gaussian")[:8]
    x = rows.reshape(-1, 32).astype(np.float64)
    least = np.full(len(x), np.inf)
    signs = [1] if "u8" in scale else [1, -1]
    for share in np.geomspace(0.02, 2, 200):
        for step in (np.abs(x).max(1, keepdims=True) * share * sign for sign in signs):
            codes = np.clip(np.rint(x / step), -zero, 15 - zero)
            least = np.minimum(least, np.square(codes * step - x).sum(1))
    wanted = np.sqrt(least.sum() / np.square(x).sum())
    found = form.decode(encode(form, rows))
    assert relative_error(found, rows) <= 1.01 * wanted
    assert relative_error(form.decode(encode(form, found)), found) <= 0.1 * wanted


def _between_ends(rows: np.ndarray, group: int, bits: int, scale: str) -> np.ndarray:
    """Groups in steps from the least weight (or 0) to the largest: what such schemes do without data."""
    x = rows.reshape(-1, min(group, rows.shape[1])).astype(np.float64)
    low, high = np.minimum(x.min(1, keepdims=True), 0), np.maximum(x.max(1, keepdims=True), 0)
    step = ((high - low) / (2**bits - 1)).astype(scale).astype(np.float64)
    zero = np.rint(-low / step)
    return ((np.clip(np.rint(x / step) + zero, 0, 2**bits - 1) - zero) * step).reshape(rows.shape)


@pytest.mark.parametrize(
    ("name", "group", "bits", "scale"),
    [
        ("gptq_f16_4_128+z", 128, 4, "f2"),
        ("gptq_f16_8_all+z", 1 << 16, 8, "f2"),
        ("ct_int_f32_1_all+z", 1 << 16, 8, "f4"),
    ],
)
@pytest.mark.parametrize("kind", [*KINDS, "one side"])
def test_zero_points(name: str, group: int, bits: int, scale: str, kind: str) -> None:
    """No worse than from end to end, wherever the weights lie."""
    if kind == "one side" and name.startswith("gptq"):
        pytest.skip("its first layout stores the zero point less one, so that 0 is not there")
    rows = np.abs(sample("gaussian")) + np.float32(0.02) if kind == "one side" else sample(kind)
    wanted = relative_error(_between_ends(rows, group, bits, scale).astype(np.float32), rows)
    assert loss(FORMS[name], rows) <= wanted * (1 + 1e-6)


@pytest.mark.parametrize("element", ["e4m3", "e5m2"])
def test_nearest_small_floats(element: str) -> None:
    """The nearest number, and of two the one with the even code: every middle, and random numbers."""
    field = FloatField("w", element, BitField((tuple(range(8)),)))
    numbers, codes = held(element)
    middles = (numbers[1:].astype(np.float64) + numbers[:-1]) / 2
    wanted = np.concatenate([middles, numbers, np.random.default_rng(6).standard_normal(4000) * 8])
    found = nearest(field, wanted.astype(np.float32))
    distance = np.abs(numbers[None].astype(np.float64) - wanted.astype(np.float32)[:, None])
    assert np.array_equal(np.abs(found - wanted.astype(np.float32)), distance.min(1))
    chosen = codes[np.searchsorted(numbers, found[: len(middles)])]
    assert (chosen % 2 == 0).all()
