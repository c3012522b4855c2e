"""Formats that no package here knows, the example plugin's, against their written definition."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from core.schedule.compiled import TARGETS
from core.schedule.matrices import multiply, packed, random_activations
from core.schedule.test_matmul import magnitudes
from kit.forms import complete, random_rows

from lumen_core.dsl.parse import parse
from lumen_core.quant.analyse import analyse
from lumen_core.quant.direct import evaluate
from lumen_core.schedule.blocking import tile_columns
from lumen_core.source import Source
from lumen_core.target import Target

FILE = Path(__file__).parents[2] / "plugin_example" / "lumen_plugin_example" / "formats.lum"
DECLARED = {item.name: item for item in parse(Source.read(FILE)).formats}
ROWS, BLOCKS = 21, 3


def q6_0(block: np.ndarray) -> list[float]:
    scale, upper, lower = float(block[:2].view("<f2")[0]), block[2:10], block[10:]
    found = [0.0] * 32
    for j in range(16):
        h = int(upper[j % 8]) >> 4 * (j // 8)
        found[j] = scale * ((int(lower[j]) & 15 | (h & 3) << 4) - 32)
        found[j + 16] = scale * ((int(lower[j]) >> 4 | (h >> 2 & 3) << 4) - 32)
    return found


def iq4_k(block: np.ndarray) -> list[float]:
    levels = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
    levels += [-123, -100, -79, -61, -45, -31, -18, -6, 5, 17, 29, 42, 57, 73, 93, 117]
    scale, extra = float(block[:2].view("<f2")[0]), int(block[2:4].view("<u2")[0])
    upper, lower, stored = block[4:8], block[8:16], block[16:]
    found = []
    for sub in range(16):
        s = int(lower[sub // 2]) >> 4 * (sub % 2) & 15 | (int(upper[sub // 4]) >> 2 * (sub % 4) & 3) << 4
        for j in range(16):
            code = int(stored[16 * (sub // 2) + j]) >> 4 * (sub % 2) & 15
            found.append(scale * (s - 32) * levels[code + 16 * (extra >> sub & 1)])
    return found


def iq4_ks(row: np.ndarray) -> list[float]:
    """A row of one block: the scale, then eight sub-scales, then the codes."""
    levels = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113]
    levels += [-123, -100, -79, -61, -45, -31, -18, -6, 5, 17, 29, 42, 57, 73, 93, 117]
    scale, sub_scales, stored = row[:4].view("<f4")[0], row[4:12], row[12:]
    found = []
    for sub in range(8):
        s, above = int(sub_scales[sub]) & 254, int(sub_scales[sub]) & 1
        for j in range(32):
            code = int(stored[16 * sub + j % 16]) >> 4 * (j // 16) & 15
            found.append(scale * np.float32(s - 127) * np.float32(levels[code + 16 * above]))
    return found


@pytest.mark.parametrize("definition", [q6_0, iq4_k, iq4_ks], ids=lambda item: item.__name__)
def test_decode_is_what_its_author_defines(definition) -> None:
    form = analyse(DECLARED[definition.__name__])
    rows = random_rows(form, 60, 1)
    found, wanted = form.decode(rows), np.array([definition(row) for row in rows], np.float32)
    # a shift of the table is a term of its own: one rounding more
    np.testing.assert_allclose(found, wanted, rtol=2**-22 if form.row is not None else 0)


def test_a_table_chosen_per_sub_block_stays_four_bits() -> None:
    form = analyse(DECLARED["iq4_k"])
    assert form.bits == 4
    assert form.offset is not None


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
@pytest.mark.parametrize("name", sorted(DECLARED))
def test_kernels(name: str, target: Target) -> None:
    form = analyse(DECLARED[name])
    raw = random_rows(form, ROWS, BLOCKS)
    weights = evaluate(DECLARED[name], complete(form, raw), np.float64).reshape(ROWS, -1)
    matrix, length = packed(form, target, raw), BLOCKS * form.block
    for tokens, columns in ((1, 1), (3, tile_columns(target)), (17, tile_columns(target))):
        activations = random_activations(form, tokens, length)
        found, x = multiply(form, target, matrix, ROWS, activations, columns), activations.values
        bound = (length + 8) * 2.0**-24 * (np.abs(x) @ magnitudes(form, raw).T)
        assert (np.abs(found - x @ weights.T) <= bound).all()
