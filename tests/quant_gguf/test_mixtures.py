"""Which format each tensor gets: what llama.cpp chose for models of several shapes, recorded and live."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from kit.mixture_models import MIXTURES, SHAPES, Shape, shortened

from lumen_core.errors import UnsupportedFormatError
from lumen_quant_gguf.mixture_rules import FILE_TYPES
from lumen_quant_gguf.mixtures import resolve, want_importance

RECORDED = json.loads(Path(__file__).with_name("mixtures.json").read_text())


def chosen(shape: Shape, mixture: str, importance: bool) -> dict[str, str]:
    return resolve(mixture, shape.tensors(), shape.layers, importance)


@pytest.mark.parametrize("name", SHAPES)
def test_what_llama_cpp_chose(name: str) -> None:
    shape, table = SHAPES[name], RECORDED[name]
    for mixture in MIXTURES.split():
        for importance in (False, True):
            wanted = table.get(mixture + "+imatrix" * importance, table[mixture])
            assert shortened(chosen(shape, mixture, importance), shape) == wanted, (mixture, importance)


@pytest.mark.slow
@pytest.mark.llama_cpp
@pytest.mark.parametrize("name", SHAPES)
def test_what_llama_cpp_chooses(name: str) -> None:
    pytest.importorskip("llama_cpp", reason="needs llama-cpp-python")
    from kit.llama_mixtures import choices

    for mixture, types in choices(name).items():
        found = chosen(SHAPES[name], mixture.removesuffix("+imatrix"), mixture.endswith("+imatrix"))
        matrices = {tensor: kind for tensor, kind in types.items() if len(SHAPES[name].tensors()[tensor]) > 1}
        assert {tensor: found[tensor] for tensor in matrices} == matrices, mixture


def test_every_mixture_has_a_number() -> None:
    assert set(MIXTURES.split()) <= FILE_TYPES.keys()


@pytest.mark.parametrize("name", ["q4_0", "iq2_s", "iq2_xs"])  # the mixture iq2_s is mostly iq2_xs
def test_pure(name: str) -> None:
    shape = SHAPES["llama"]
    assert set(resolve(f"pure-{name}", shape.tensors(), shape.layers).values()) == {name, "f32"}


def test_coarse_formats_want_importances() -> None:
    shape = SHAPES["llama"]
    formats = chosen(shape, "iq2_xxs", False)
    wanting = want_importance("iq2_xxs", formats)
    assert "blk.3.attn_q.weight" in wanting
    assert "token_embd.weight" not in wanting
    assert want_importance("q4_k_m", chosen(shape, "q4_k_m", False)) == []
    assert want_importance("q2_k", chosen(shape, "q2_k", False)) == []
    assert want_importance("q2_k_s", chosen(shape, "q2_k_s", False)) != []


def test_unknown() -> None:
    with pytest.raises(UnsupportedFormatError, match="q4_x"):
        resolve("q4_x", {}, 1)
