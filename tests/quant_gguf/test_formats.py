"""Every block format of the container is declared, and its size is the container's."""

from __future__ import annotations

import pytest
from kit.forms import form

from lumen_core.quant.integers import BitField, Lookup
from lumen_quant_gguf.type_ids import TENSOR_TYPES_BY_NAME

NO_WEIGHTS = {"q8_1", "q8_k", "i8", "i16", "i32", "i64", "f64"}  # activations and indices


@pytest.mark.parametrize("name", sorted(TENSOR_TYPES_BY_NAME.keys() - NO_WEIGHTS))
def test_blocks_have_the_size_that_the_container_says(name: str) -> None:
    kind, normal = TENSOR_TYPES_BY_NAME[name], form(name)
    assert (normal.block, normal.block_bytes) == (kind.block, kind.block_bytes)


def test_code_books_become_few_bits() -> None:
    """Vectors of a code book are evaluated when weights are packed; kernels see at most 16 values."""
    bits = {
        "iq2_xxs": 3,
        "iq2_xs": 3,
        "iq2_s": 3,
        "iq3_xxs": 4,
        "iq3_s": 4,
        "iq1_s": 3,
        "iq1_m": 3,
        "tq1_0": 2,
    }
    assert {name: form(name).bits for name in bits} == bits
    assert isinstance(form("iq2_xs").code, Lookup)
    assert form("iq2_xs").alphabet == (-43, -25, -8, 8, 25, 43)
    assert form("iq1_m").alphabet == (-9, -7, -1, 1, 7, 9)
    for name in ("iq4_nl", "iq4_xs", "mxfp4", "nvfp4"):  # a table over bits that lie in the block
        assert isinstance(form(name).code, BitField)
        assert len(form(name).table or ()) == 16
