"""A profiled model: the same tokens as without, and shares that name every kind of work."""

from __future__ import annotations

from pathlib import Path

import pytest

from lumen_core.engine.loading import load
from lumen_core.engine.synth import synthesize
from lumen_core.errors import LumenError


def test_a_profile_accounts_for_the_whole_step(tmp_path: Path) -> None:
    path = synthesize("qwen3-tiny", tmp_path / "tiny.gguf", format="q8_0")
    prompt = list(range(40))
    with load(path, threads=2) as plain, load(path, threads=2, profile=True) as measured:
        wanted = plain.generate(prompt, max_tokens=8, temperature=0, ignore_end=True).tokens
        assert wanted == measured.generate(prompt, max_tokens=8, temperature=0, ignore_end=True).tokens
        shares = measured.profile()
        assert {"attention", "rowwise", "ffn_down", "output", "sample", "waiting"} <= set(shares)
        assert sum(shares.values()) == pytest.approx(1)
        assert sum(measured.profile().values()) == 0
        with pytest.raises(LumenError, match="profile=True"):
            plain.profile()
