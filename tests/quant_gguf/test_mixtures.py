"""Which format each tensor gets, by the rules of published files."""

from __future__ import annotations

import pytest

from lumen_core.errors import UnsupportedFormatError
from lumen_quant_gguf.mixtures import resolve


def shapes(width: int, hidden: int, layers: int, tied: bool) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {"token_embd.weight": (1000, width), "output_norm.weight": (width,)}
    for layer in range(layers):
        for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up"):
            found[f"blk.{layer}.{name}.weight"] = (width, width)
        found[f"blk.{layer}.ffn_down.weight"] = (width, hidden)
        found[f"blk.{layer}.attn_norm.weight"] = (width,)
    return found if tied else found | {"output.weight": (1000, width)}


def test_q4_k_m_of_24_layers() -> None:
    formats = resolve("q4_k_m", shapes(1024, 3072, 24, True), 24)
    better = [layer for layer in range(24) if formats[f"blk.{layer}.ffn_down.weight"] == "q6_k"]
    assert better == [0, 1, 2, 5, 8, 11, 14, 17, 20, 21, 22, 23]
    assert better == [layer for layer in range(24) if formats[f"blk.{layer}.attn_v.weight"] == "q6_k"]
    assert formats["token_embd.weight"] == "q6_k"
    assert formats["blk.7.attn_q.weight"] == "q4_k"
    assert formats["blk.7.attn_norm.weight"] == "f32"


def test_rows_that_do_not_fill_a_block() -> None:
    formats = resolve("q4_k_m", shapes(896, 4864, 24, True), 24)
    assert formats["token_embd.weight"] == formats["blk.0.attn_v.weight"] == "q8_0"
    assert formats["blk.5.attn_q.weight"] == "q5_0"
    assert formats["blk.3.ffn_down.weight"] == "q4_k"
    assert resolve("q4_0", {"a.weight": (3, 33)}, 1) == {"a.weight": "f16"}


def test_the_output_of_a_plain_type() -> None:
    assert resolve("q4_0", shapes(1024, 3072, 2, False), 2)["output.weight"] == "q6_k"
    assert resolve("q4_0", shapes(1024, 3072, 2, False), 2)["token_embd.weight"] == "q4_0"
    for name in ("f32", "f16", "bf16", "q8_0"):
        matrices = {key for key, shape in shapes(1024, 3072, 2, True).items() if len(shape) > 1}
        formats = resolve(name, shapes(1024, 3072, 2, True), 2)
        assert {formats[key] for key in matrices} == {name}
    assert set(resolve("pure-q4_0", shapes(1024, 3072, 2, True), 2).values()) == {"q4_0", "f32"}


def test_unknown() -> None:
    with pytest.raises(UnsupportedFormatError, match="q4_x"):
        resolve("q4_x", {}, 1)
