"""The kit for authors: sound declarations pass every derived test, and a wrong derivation is caught."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from lumen_core.codegen.objects import host_features
from lumen_core.dsl import ast
from lumen_core.dsl.parse import parse
from lumen_core.engine import format_quality
from lumen_core.engine.format_check import check
from lumen_core.engine.format_quality import neighbours, quality, speed
from lumen_core.engine.kernel_check import Difference, check_overflow
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse
from lumen_core.quant.normal_form import BitField
from lumen_core.schedule.weights import DotPlan
from lumen_core.source import Source
from lumen_core.target import Target

REGISTRY = Registry.load()
SOUND = {
    "mine_sub": """format mine_sub : block 128 {
        d: f16    scales: u8[4]    qs: u8[64]
        value = d * scales * (bits(qs, 4, run=16) - 8)
    }""",
    "mine_outliers": """format mine_outliers : block 64 {
        d: f16    codes: u8[32]    far: u8[8]
        let levels = [-42, -34, -27, -21, -16, -11, -7, -3, 0, 4, 8, 13, 18, 23, 30, 38]
        value = d * levels[bits(codes, 4, run=32)] * (1 + 2 * bits(far, 1, run=8))
    }""",
    "mine_signs": """format mine_signs : block 128 {
        d: f16    s: u8[2]    t: u8[1]    signs: u8[16]    low: u8[32]
        let scale = (bits(s, 4, run=1) + 8) * (2 * bits(t, 2, run=1) + 1)
        value = d * scale * (1 - 2 * bits(signs, 1, run=8)) * (bits(low, 2, run=32) + 1)
    }""",
    "mine_other_ways": """format mine_other_ways : block 64 {
        low: u8    high: u8    qs: u8[32]
        let d = reinterpret(low | high << 8, bf16)
        value = d * ((bits(qs, 4, run=16) ^ 5) - 8)
    }""",
    "mine_halves": """format mine_halves : block 64 {
        d: f16    signs: u8[8]    index: u8[16]
        let below = bits(signs, 1, run=8)
        let levels = [1, 1, 2, 3, 3, 5, 7, 9]
        value = d * (1 - 2 * below) * levels[bits(index, 2, run=16) | below << 2]
    }""",
}


def targets() -> list[Target]:
    import platform

    found = [
        target
        for entry in REGISTRY.backends.values()
        for target in entry.value.usable(platform.machine(), host_features())
    ]
    return found[:1] + found[-1:]


def declared(name: str) -> ast.Format:
    return parse(Source("mine.lum", SOUND[name])).formats[0] if name in SOUND else REGISTRY.format(name)


KINDS = [*SOUND, "q4_k", "q6_k", "q5_1", "q8_0", "bf16", "iq4_xs", "mxfp4", "q2_k", "nvfp4", "q1_0"]


@pytest.mark.parametrize("name", KINDS)
def test_sound_formats_pass(name: str) -> None:
    declaration = declared(name)
    findings = list(check(declaration, analyse(declaration), targets()))
    assert [finding for finding in findings if not finding.passed] == []
    assert len(findings) == 3 + 4 * len(targets())


def test_a_wrong_normal_form_is_caught() -> None:
    """Two bits of one code exchanged, another zero point: not what the declaration says."""
    declaration = declared("q4_k")
    form = analyse(declaration)
    assert isinstance(form.code, BitField)
    turned = (form.code.sources[0][::-1], *form.code.sources[1:])
    for wrong in (replace(form, code=replace(form.code, sources=turned)), replace(form, zero=1)):
        findings = list(check(declaration, wrong, []))
        assert not findings[0].passed
        assert "the declaration gives" in findings[0].detail


def test_a_chain_of_sums_that_can_overflow_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """One pair of products more than 16 bits hold."""
    form = analyse(declared("q4_0"))
    target = next(target for target in targets() if DotPlan.choose(form, target).chain)
    plan = DotPlan.choose(form, target)
    monkeypatch.setattr(DotPlan, "choose", lambda form, target: replace(plan, chain=plan.chain + 1))
    with pytest.raises(Difference, match="pairs of products"):
        check_overflow(form, target)


def test_quality_and_speed_stand_beside_neighbours(monkeypatch: pytest.MonkeyPatch) -> None:
    form = analyse(declared("mine_sub"))
    installed = {name: analyse(entry.value) for name, entry in REGISTRY.formats.items()}
    near = neighbours(form, installed)
    assert len(near) == 4
    assert all(abs(other.bits_per_weight - form.bits_per_weight) <= 1 for other in near)
    found = quality(form, targets()[0])
    assert found.gaussian is not None
    assert found.heavy_tailed is not None
    assert 0.06 < found.gaussian < 0.1 < found.heavy_tailed < 0.2
    monkeypatch.setattr(format_quality, "_READ", 1 << 20)
    measured = speed(form, targets()[0])
    assert measured.gemv_bytes_per_second > 1e8
    assert 0 < measured.of_int8_peak < 2
    assert np.isfinite(measured.of_bandwidth)
