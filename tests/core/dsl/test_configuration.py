"""A model's settings against a file's metadata."""

from __future__ import annotations

from pathlib import Path

import pytest

from lumen_core.dsl import configure, load
from lumen_core.errors import ModelError

ROOT = Path(__file__).parents[3]
QWEN3 = load(ROOT / "lumen-models-korean/lumen_models_korean/qwen3.lum").models["qwen3"]
METADATA = {
    "embedding_length": 1024,
    "block_count": 28,
    "attention.head_count": 16,
    "attention.head_count_kv": 8,
    "attention.key_length": 128,
    "feed_forward_length": 3072,
    "vocab_size": 151936,
    "rope.freq_base": 1e6,
    "attention.layer_norm_rms_epsilon": 1e-6,
}


def test_settings_come_from_the_file():
    found = configure(QWEN3, METADATA.get)
    assert found.scalars == {"eps": 1e-6, "theta": 1e6}
    assert found.sizes == {
        "D": 1024, "L": 28, "H": 16, "G": 8, "E": 128, "F": 3072, "V": 151936, "R": 128, "R/2": 64,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("key", "setting", "value"),
    [
        ("attention.head_count_kv", "G", 16),
        ("attention.key_length", "E", 64),
        ("rope.freq_base", "theta", 10000.0),
    ],
)
def test_defaults_stand_in_for_missing_keys(key, setting, value):
    found = configure(QWEN3, {name: given for name, given in METADATA.items() if name != key}.get)
    assert {**found.sizes, **found.scalars}[setting] == value


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("block_count", None, "model qwen3: the file has no metadata key `block_count`"),
        ("block_count", 0, "`L` (metadata key `block_count`) must be between 1 and"),
        ("block_count", 2**63, "must be between 1 and"),
        ("block_count", -1, "must be between 1 and"),
        ("block_count", True, "must be between 1 and"),
        ("block_count", 1.5, "must be one whole number, found 1.5"),
        ("block_count", "many", "must be one whole number, found 'many'"),
        ("block_count", [1] * 100, "must be one whole number, found [1, 1"),
        ("rope.freq_base", float("nan"), "must be finite, found nan"),
        ("rope.freq_base", "x", "must be one number, found 'x'"),
        (
            "rope.dimension_count",
            63,
            "model qwen3: R / 2 (R: metadata key `rope.dimension_count`, or E): 63 is not a multiple of 2",
        ),
    ],
)
def test_wrong_settings_are_named(key, value, message):
    with pytest.raises(ModelError) as caught:
        configure(QWEN3, {**METADATA, key: value}.get)
    assert message in str(caught.value)
    assert len(str(caught.value)) < 200


def test_a_default_that_does_not_divide_is_reported():
    metadata = {**METADATA, "attention.head_count": 15}
    del metadata["attention.key_length"]
    with pytest.raises(ModelError, match="`E`: 1024 is not a multiple of 15"):
        configure(QWEN3, metadata.get)
