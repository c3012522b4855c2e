"""Whole models whose keys and values are kept in formats of the user's choice."""

from __future__ import annotations

import numpy as np
import pytest
from kit.engines import token_ids

from lumen_core.errors import LumenError, UnsupportedFormatError

BIG = {"head": 64, "width": 128, "heads": 4, "kv_heads": 2}


@pytest.mark.parametrize(("kept", "bound"), [("q8_0", 0.06), ("bf16", 0.06), ("q8_0:q4_0", 0.4)])
def test_prefill_and_decode_agree_and_are_near_f16(kept, bound, tiny, engine) -> None:
    """To the bit with each other, for any number of threads; as near f16 as the format is fine."""
    path, ids = tiny("qwen3-tiny", "q8_0", **BIG), token_ids(90, seed=3)
    with engine(path) as model:
        plain = model.prefill(ids)
        size = model.memory.cache_bytes
    with engine(path, kv_format=kept) as model:
        found = model.prefill(ids)
        assert model.memory.cache_bytes <= size
    with engine(path, kv_format=kept, threads=3) as model:
        np.testing.assert_array_equal(model.decode(ids, before=70), found[70:])
    errors = np.linalg.norm(found - plain, axis=-1) / np.linalg.norm(plain, axis=-1)
    assert 0 < errors.mean() < bound


def test_formats_of_256(tiny, engine) -> None:
    """Scales that are scaled, in heads as long as their blocks."""
    path, ids = tiny("qwen3-tiny", "q8_0", **(BIG | {"head": 256, "kv_heads": 1})), token_ids(40, seed=3)
    with engine(path) as model:
        plain = model.prefill(ids)
    with engine(path, kv_format="q6_k:q4_k") as model:
        found = model.prefill(ids)
        np.testing.assert_array_equal(model.decode(ids, before=30), found[30:])
    errors = np.linalg.norm(found - plain, axis=-1) / np.linalg.norm(plain, axis=-1)
    assert 0 < errors.mean() < 0.3


def test_formats_that_do_not_fit_are_refused(tiny, opened) -> None:
    path = tiny("qwen3-tiny", "q8_0", **BIG)
    with pytest.raises(UnsupportedFormatError, match="keys cannot be kept as q4_k: its blocks of 256"):
        opened(path, kv_format="q4_k")
    with pytest.raises(UnsupportedFormatError, match="values cannot be kept as q4_k"):
        opened(path, kv_format="f16:q4_k")
    with pytest.raises(UnsupportedFormatError, match="no installed package declares the format `q9`"):
        opened(path, kv_format="q9")
    for wrong in ("q8_0:q8_0:q8_0", ":q8_0", ""):
        with pytest.raises(LumenError, match="one name, or two with a colon"):
            opened(path, kv_format=wrong)
