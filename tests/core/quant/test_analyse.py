"""What analysis finds in a declaration: the normal form, its decode, and errors at the guilty place."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import gguf
import numpy as np
import pytest
from kit.forms import SCHEMES, complete, declarations, form, random_blocks

from lumen_core.dsl.parse import parse
from lumen_core.errors import SourceError
from lumen_core.quant.analyse import analyse
from lumen_core.quant.describe import normal_form_text
from lumen_core.quant.direct import block_bytes, evaluate
from lumen_core.quant.floats import is_small
from lumen_core.quant.integers import BitField
from lumen_core.quant.normal_form import NormalForm
from lumen_core.source import Source

FOLDER = Path(__file__).parent
EVERY = pytest.mark.parametrize("name", sorted(declarations()))
BLOCKS = pytest.mark.parametrize("name", [n for n in sorted(declarations()) if form(n).kind == "integer"])
OF_GGUF = [n for n in sorted(declarations()) if "+" not in n and not n.startswith(SCHEMES)]
IN_THE_WAY = [0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x3C00, 0x7BFF, 0x7C00, 0xFC00, 0x7E00, 0xFE01, 0x7C01]


def decode(form: NormalForm, rows: np.ndarray) -> np.ndarray:
    with np.errstate(all="ignore"):
        return form.decode(rows)


def same(found: np.ndarray, wanted: np.ndarray) -> None:
    """Equal to the bit, but for the payload of a NaN."""
    assert found.dtype == wanted.dtype == np.float32
    nan = np.isnan(wanted)
    np.testing.assert_array_equal(np.isnan(found), nan)
    np.testing.assert_array_equal(found[~nan].view(np.uint32), wanted[~nan].view(np.uint32))


def test_normal_forms(golden) -> None:
    wanted = "\n\n".join(normal_form_text(form(name)) for name in declarations())
    golden(FOLDER / "forms" / "shipped.lum", "normal forms", lambda source: wanted)


@pytest.mark.parametrize("path", sorted((FOLDER / "errors").glob("*.lum")), ids=lambda path: path.stem)
def test_bad_declarations(path: Path, golden) -> None:
    def reports(source: str) -> str:
        found = []
        for declaration in parse(Source(path.name, source)).formats:
            with pytest.raises(SourceError) as caught:
                analyse(declaration)
            assert caught.value.diagnostics
            found.append(str(caught.value))
        return "\n\n".join(found)

    golden(path, "reports", reports)


# ---------------------------------------------------------------- reference decode


def _few_bits(blocks: np.ndarray, bits: int, value: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Blocks of one f16 scale and then codes from the lowest bits of each byte up."""
    scale = np.ascontiguousarray(blocks[..., :2]).view("<f2").astype(np.float32)
    codes = blocks[..., 2:, None] >> np.arange(0, 8, bits, dtype=np.uint8) & ((1 << bits) - 1)
    with np.errstate(all="ignore"):
        return scale * value(codes.reshape(*blocks.shape[:-1], -1).astype(np.float32))


# Types that the package does not decode, written from their definition.
PLAIN: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "q1_0": lambda blocks: _few_bits(
        blocks, 1, lambda code: np.where(code > 0, np.float32(1), np.float32(-1))
    ),
    "q2_0": lambda blocks: _few_bits(blocks, 2, lambda code: code - 1),
}


def oracle(name: str, rows: np.ndarray) -> np.ndarray:
    if name == "f32":
        return rows.view("<f4")
    if name in PLAIN:
        return PLAIN[name](rows.reshape(*rows.shape[:-1], -1, form(name).block_bytes)).reshape(
            *rows.shape[:-1], -1
        )
    with np.errstate(all="ignore"):
        return gguf.quants.dequantize(rows, gguf.GGMLQuantizationType[name.upper()])


@pytest.mark.parametrize("name", OF_GGUF)
def test_decode_is_that_of_the_gguf_package(name: str) -> None:
    random = np.random.default_rng(1)
    blocks = 4096 if form(name).block == 1 else 256
    rows = random.integers(0, 256, (16, blocks * form(name).block_bytes), dtype=np.uint8)
    found = decode(form(name), rows)
    small = form(name).kind == "integer" and all(is_small(field.element) for field in form(name).floats)
    assert np.isnan(found).any() != small  # random scales hold infinities and NaNs too
    same(found, oracle(name, rows))


@pytest.mark.parametrize("name", [name for name in OF_GGUF if form(name).kind == "integer"])
def test_decode_of_every_scale(name: str) -> None:
    """All 65536 patterns of each f16 scale, the other ones being special numbers in turn."""
    for field in form(name).floats:
        if is_small(field.element):
            blocks = random_blocks(form(name), 256)
            field.source.store(blocks, np.arange(256)[:, None].repeat(field.count, axis=1))
            same(decode(form(name), blocks), oracle(name, blocks))
            continue
        assert field.element == "f16"
        blocks = random_blocks(form(name), 65536, seed=field.offset)
        others = [other for other in form(name).floats if other != field]
        for other in others:
            special = np.resize(np.array(IN_THE_WAY, "<u2"), 65536).view(np.uint8).reshape(-1, 2)
            blocks[:, other.offset : other.offset + 2] = special
        field.source.store(blocks, np.arange(65536)[:, None])
        if form(name).block == 256:
            blocks = blocks[::7]  # prime to the length of the list: it still comes whole
        same(decode(form(name), blocks), oracle(name, blocks))


# ----------------------------------------------- against the declared expression itself


@EVERY
def test_decode_is_the_declared_expression(name: str) -> None:
    declaration = declarations()[name]
    normal = form(name)
    assert normal.block_bytes == block_bytes(declaration)
    rows = np.random.default_rng(2).integers(0, 256, (2048, normal.row_bytes(normal.block)), dtype=np.uint8)
    same(decode(normal, rows), evaluate(declaration, complete(normal, rows)))


@BLOCKS
def test_decode_of_every_value_of_every_byte(name: str) -> None:
    """Each byte of the block takes all its values, the rest being random (two fillings)."""
    declaration = declarations()[name]
    for seed in range(2):
        rest = random_blocks(form(name), 1, seed)
        for place in range(form(name).block_bytes):
            blocks = np.repeat(rest, 256, axis=0)
            blocks[:, place] = np.arange(256)
            same(decode(form(name), form(name).rows(blocks[:, None])), evaluate(declaration, blocks))


@BLOCKS
def test_decode_of_every_sub_scale(name: str) -> None:
    """Every value of every integer scale, whatever bytes its bits are scattered over."""
    declaration = declarations()[name]
    for scale in (form(name).scale, form(name).offset):
        if scale is None or scale.integer is None:
            continue
        integer = scale.integer
        assert isinstance(integer, BitField)
        for index, source in enumerate(integer.sources):
            stored = np.arange(1 << integer.width)
            blocks = np.repeat(random_blocks(form(name), 1, index), len(stored), axis=0)
            stored = np.array(
                sorted({code & sum(1 << p for p, bit in enumerate(source) if bit >= 0) for code in stored})
            )
            blocks = blocks[: len(stored)]
            for position, bit in enumerate(source):
                if bit < 0:
                    continue
                blocks[:, bit >> 3] &= 255 - (1 << (bit & 7))
                blocks[:, bit >> 3] |= ((stored >> position & 1) << (bit & 7)).astype(np.uint8)
            signed = integer.signed * (stored >> (integer.width - 1) << integer.width)
            assert (integer.decode(blocks)[:, index] == stored - signed + integer.add).all()
            same(decode(form(name), form(name).rows(blocks[:, None])), evaluate(declaration, blocks))


def test_small_formats_exhaustively() -> None:
    """All 65536 values of two bytes, the other two being functions of them."""
    source = """
    format signs : block 32 { qs: u8[4]  value = bits(qs, 1, run=2) * 3 - 1 }
    format turns : block 32 { qs: u8[4]  value = (bits(concat(qs[1], qs[2:4], qs[0]), 1, run=1) - 1) / 4 }
    """
    low, high = np.divmod(np.arange(65536), 256)
    every = np.stack([low, high, low * 7 + high, low ^ high], axis=-1).astype(np.uint8)
    for declaration in parse(Source("two.lum", source)).formats:
        same(decode(analyse(declaration), every), evaluate(declaration, every))


@pytest.mark.parametrize(("entries", "bits"), [(9, 4), (17, 5), (32, 5), (40, 6), (64, 6), (65, 8)])
def test_codes_of_uneven_values_have_as_many_bits_as_these_need(entries: int, bits: int) -> None:
    """Tables of up to 64 values are looked up by kernels; those of more are packed as bytes."""
    values = np.sort(np.random.default_rng(1).choice(255, entries, replace=False)) - 127
    levels = values[np.minimum(np.arange(256), entries - 1)].tolist()
    source = (
        f"format any : block 32 {{ d: f16  qs: u8[32]\n let levels = {levels}\n value = d * levels[qs] }}"
    )
    (declaration,) = parse(Source("any.lum", source)).formats
    found = analyse(declaration)
    assert found.bits == bits
    assert (found.table is not None) == (entries <= 64)
