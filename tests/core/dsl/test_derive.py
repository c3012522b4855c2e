"""`model x like y`: what is taken over, replaced, added and left out; settings of layers, scaling."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from lumen_core.dsl import configure, load
from lumen_core.dsl.configuration import Scaling
from lumen_core.dsl.typed import TypedModel
from lumen_core.errors import ModelError, SourceError

BASE = """
model base {
    config {
        blocks: i32 = block_count
        L: size else blocks
        D: size = width
        E: size = width
        window: i32 = window else 0
        stretch: scaling = rope.scaling
    }
    weights {
        table: f32[D, D]
        factors: f32[D / 2] else ones
    }
    layer {
        norm: f32[D]
        extra: f32[D]
    }
    cache {
        keys: f16[1, D]
        values: f16[1, D]
    }
    fn embed(ids: i32[T]) -> f32[T, D] { rows(table, ids) }
    fn shift(x: f32[T, D]) -> f32[T, D] { x + extra }
    fn block(x: f32[T, D], positions: i32[T]) -> f32[T, D] {
        let h = split(shift(x) * norm, 1)
        let k = append(keys, rope(h, positions, factors, 10000.0, stretch, pairs=half))
        let v = append(values, h)
        x + merge(attention(h, k, v, 1.0))
    }
    fn head(x: f32[T, D]) -> f32[T, D] { x }
}
"""
NUMBERS = {"block_count": 6, "width": 8, "context_length": 100}


@pytest.fixture
def model(tmp_path: Path):
    def loaded(text: str) -> TypedModel:
        (tmp_path / "base.lum").write_text(BASE)
        (tmp_path / "own.lum").write_text(text)
        return load(tmp_path / "own.lum").models["own"]

    return loaded


def test_entries_are_taken_over_replaced_and_left_out(model):
    found = model("""
    model own like base {
        config {
            fewer: i32 = fewer else 2
            L: size else blocks - fewer
        }
        layer { bias: f32[D] = "norm.bias" }
        without { extra }
        unused { "blk.{beyond}.*" }
        fn shift(x: f32[T, D]) -> f32[T, D] { x + bias }
    }
    """)
    assert [entry.name for entry in found.config][:3] == ["blocks", "fewer", "L"]
    assert configure(found, NUMBERS.get).sizes["L"] == 4
    assert list(found.layer_weights) == ["norm", "bias"]
    assert found.layer_weights["bias"].tensor == "blk.{layer}.norm.bias"
    assert list(found.functions) == ["embed", "shift", "block", "head"]
    assert found.unused == ("blk.{beyond}.*",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model own like other { }", "is like `other`, which has no page"),
        ("model own like own { }", "is like itself"),
        ("model own like base { without { wight } }", "`base` has no `wight` to leave out"),
        ("model own like base { without { extra } }", "unknown name `extra`"),
        ("model a like own { }\nmodel own like a { }", "is like itself"),
    ],
)
def test_wrong_bases_are_reported(text, message, model):
    with pytest.raises(SourceError, match=message):
        model(text)


def test_a_setting_that_is_one_of_a_few(model):
    found = model("model own like base { config { kind: i32 = kind in 1, 3 else 3 } }")
    assert configure(found, NUMBERS.get).scalars["kind"] == 3
    assert configure(found, {**NUMBERS, "kind": 1}.get).scalars["kind"] == 1
    with pytest.raises(
        ModelError, match=r"`kind` \(metadata key `kind`\) is 2; the page computes only 1 or 3"
    ):
        configure(found, {**NUMBERS, "kind": 2}.get)


def test_settings_of_layers(model):
    found = model("""
    model own like base {
        config {
            local: i1[L] = pattern else layer % 3 != 2
            any: i1 else window > 0
        }
    }
    """)
    plain = configure(found, {**NUMBERS, "window": 4}.get)
    assert plain.layers == {"local": (1, 1, 0, 1, 1, 0)}
    assert plain.of_layer(2) == {"local": 0}
    assert plain.scalars["any"] == 1
    assert configure(found, {**NUMBERS, "pattern": [True, False] * 4}.get).layers["local"] == (1, 0) * 3
    assert configure(found, {**NUMBERS, "pattern": False}.get).layers["local"] == (0,) * 6
    for wrong, message in ((5, "true or false, found 5"), ([1], "has 1 values for 6 layers")):
        with pytest.raises(ModelError, match=message):
            configure(found, {**NUMBERS, "pattern": wrong}.get)


@pytest.mark.parametrize(
    ("keys", "wanted"),
    [
        ({}, Scaling()),
        ({"type": "none", "factor": 4.0}, Scaling()),
        ({"factor": 4.0}, Scaling(4.0)),
        ({"type": "linear", "factor": 4.0}, Scaling(4.0)),
        ({"type": "yarn", "factor": 4.0}, Scaling(4.0, 100.0, 32.0, 1.0, 0.1 * math.log(4) + 1)),
        (
            {"type": "yarn", "factor": 4.4, "original_context_length": 50, "yarn_beta_fast": 64.0,
             "yarn_beta_slow": 2.0, "yarn_attn_factor": 2.0},
            Scaling(4.4, 50.0, 64.0, 2.0, 2 * (0.1 * math.log(4.4) + 1)),
        ),
    ],
)  # fmt: skip
def test_scaling_is_read_from_its_keys(keys, wanted, model):
    found = configure(model("model own like base { }"), {
        **NUMBERS, **{f"rope.scaling.{key}": value for key, value in keys.items()}
    }.get)  # fmt: skip
    assert found.scalings == {"stretch": wanted}
    assert (wanted == Scaling()) == (wanted.attributes() == {})


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("a: f32[L] = a", "a setting per layer is i1, not f32"),
        ("a: scaling = a else 1.0", "a scaling has a metadata key and no default"),
        ("a: f32 else layer", "unknown setting `layer`"),
        ("a: i1[D] = a", "expected `L`, the number of layers"),
        ("a: f32 = a in 1, 2", "only an i32 can be `in` a list of numbers, not f32"),
        ("a: i32 = a in b", "a number that the setting may be"),
    ],
)
def test_wrong_settings_are_reported(entry, message, model):
    with pytest.raises(SourceError, match=message):
        model(f"model own like base {{\n config {{\n {entry}\n }}\n }}")


PARTS = """
part second {
    config { flag: i1[L] = flags else layer > 0 }
    layer { extra: f32[D] if flag }
    fn shift(x: f32[T, D]) -> f32[T, D] { select(flag, x + extra, x) }
}
part third {
    layer { third: f32[D] }
    without { factors }
    unused { "more.*" }
}
"""


def test_parts_are_changes_before_the_models_own(model, tmp_path):
    (tmp_path / "third.lum").write_text(PARTS)
    found = model("""
    model own like base with third, second {
        layer { third: f32[D] = "other.weight" }
        weights { factors: f32[D / 2] else ones }
    }
    part second {
        config { flag: i1[L] = flags else layer > 0 }
        layer { extra: f32[D] if flag }
        fn shift(x: f32[T, D]) -> f32[T, D] { select(flag, x + extra, x) }
    }
    """)
    assert list(found.layer_weights) == ["norm", "extra", "third"]
    assert found.layer_weights["third"].tensor == "blk.{layer}.other.weight"
    assert found.layer_weights["extra"].condition == "flag"
    assert found.unused == ("more.*",)
    assert configure(found, NUMBERS.get).layers == {"flag": (0, 1, 1, 1, 1, 1)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model own like base with fourth { }", "is with `fourth`, which is no part"),
        ("model own like base with base { }", "is with `base`, which is no part"),
        ("part p like base { }", "expected `{` to open the part `p`"),
        ("part p { without { wight } }\nmodel own like base with p { }", "has no `wight` to leave out"),
        ("model own like base { layer { a: f32[D] if window } }", "`window` is no setting per layer"),
        ("model own like base { layer { a: f32[D] if flag } }", "`flag` is no setting per layer"),
        (
            "model own like base { weights { a: f32[D] if flag } }",
            "only a weight of a layer can depend on one",
        ),
    ],
)
def test_wrong_parts_are_reported(text, message, model):
    with pytest.raises(SourceError, match=re.escape(message)):
        model(text)
