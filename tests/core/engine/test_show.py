"""Every level can be shown of everything that has it."""

from __future__ import annotations

from pathlib import Path

import pytest

from lumen_core.dsl.library import STANDARD
from lumen_core.engine.show import LEVELS, show
from lumen_core.errors import LumenError, SourceError
from lumen_core.plugins.registry import Registry

SIGN = {
    "ast": "",
    "typed": "",
    "tensor": "matmul",
    "fused": "fused_matmul",
    "kernel": "kernel @",
    "llvm": "define ",
    "asm": ".globl",
}


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("what", ["q4_k", "example_q4", "example_bag"])
def test_every_level_of_a_format_and_a_model(what: str, level: str) -> None:
    text = show(what, level, format="q8_0")
    assert SIGN[level] in text
    assert text.strip()


def test_the_passes_are_visible() -> None:
    before, after = show("q4_0", "tensor"), show("q4_0", "fused")
    for step in ("unpack", "dequantize", "quantize"):
        assert f" {step} " in before
    assert "fused_matmul" not in before
    assert " unpack " not in after


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "my.lum"
    path.write_text("fn twice[*B, N](x: f32[*B, N]) -> f32[*B, N] { x + x }\n")
    assert "func @twice(%x: tensor<f32, [T, N]>)" in show(str(path), "tensor")
    with pytest.raises(LumenError, match="no kernels"):
        show(str(path), "kernel")
    path.write_text("fn twice[N](x: f32[N]) -> f32[N] { x + y }\n")
    assert "x + y" in show(str(path), "ast")
    with pytest.raises(SourceError, match=r"my\.lum:1:"):
        show(str(path), "typed")


def test_a_family_is_shown_but_for_kernels(tmp_path: Path) -> None:
    path = tmp_path / "my.lum"
    path.write_text(
        "format any[G] : block G { q: i8[G] from weight[N, K]  d: f16 from s[K / G, N]  value = d * q }\n"
    )
    assert "format any[G]" in show(str(path), "ast")
    with pytest.raises(LumenError, match="no kernels"):
        show(str(path), "kernel")


@pytest.mark.parametrize("name", sorted(Registry.load().models))
def test_every_page_is_shown(name: str) -> None:
    assert "func @head" in show(name, "fused")


def test_a_model_is_shown_with_any_format() -> None:
    """Of the shapes of its kind one is taken whose rows are whole blocks."""
    assert "q4_k weights" in show("qwen3", "kernel", format="q4_k", only="pack")


def test_a_model_without_layers_says_so(tmp_path: Path) -> None:
    path = tmp_path / "my.lum"
    path.write_text("model flat { config { V: size = vocab_size } }\n")
    with pytest.raises(LumenError):
        show(str(path), "tensor")


def test_a_size_that_has_no_number(tmp_path: Path) -> None:
    path = tmp_path / "my.lum"
    path.write_text("fn f[N](x: f32[N], heads: size) -> f32[N] { x * heads }\n")
    with pytest.raises(SourceError, match="the size heads has no number here"):
        show(str(path), "tensor")


def test_names_that_are_nothing() -> None:
    with pytest.raises(LumenError, match=r"known: .*qwen3.*q4_k"):
        show("nosuch", "ast")
    with pytest.raises(LumenError, match="no level is named"):
        show("q4_k", "nosuch")


def test_kernels_are_listed_with_what_they_do_and_can_be_chosen() -> None:
    text = show("q4_k", "llvm", only="pack")
    assert "; pack_q4_k" in text
    assert "q4_k weights x i8g256 activations, 1 token at a time" in text
    assert text.count("define ") == 1
    with pytest.raises(LumenError, match="no kernel's name begins with nosuch"):
        show("q4_k", "kernel", only="nosuch")
    assert show("qwen3", "fused", only="embed").count("func @") == 1


def test_the_standard_library_shows_itself() -> None:
    assert "fn linear" in show("standard", "typed")
    assert "func @swiglu" in show(str(STANDARD), "tensor")
