"""`lumen quantize` from the command line: tables, JSON, and whole runs on a tiny model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lumen_core.engine.synth import synthesize


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return synthesize("qwen3-tiny", tmp_path / "in.gguf", "f16", vocabulary=None)


def test_a_dry_run_writes_nothing(source: Path, tmp_path: Path, lumen: Any) -> None:
    done = lumen("quantize", str(source), str(tmp_path / "out.gguf"), "-f", "q4_k_m", "--dry-run")
    assert done.code == 0
    assert "blk.0.attn_q.weight" in done.out
    assert "not written" in done.err
    assert list(tmp_path.iterdir()) == [source]


def test_a_whole_run_with_its_check(source: Path, tmp_path: Path, lumen: Any) -> None:
    out = tmp_path / "out.gguf"
    done = lumen(
        "quantize", str(source), str(out), "-f", "q8_0", "--tensor", "ffn=q4_0", "--verify", "--json"
    )
    assert done.code == 0, done.err
    facts = json.loads(done.out)
    assert facts["file_bytes"] == out.stat().st_size
    assert {item["to"] for item in facts["tensors"]} == {"q8_0", "q4_0", "f32"}
    errors = {item["name"]: item["error"] for item in facts["verified"]["tensors"]}
    assert 0 < errors["blk.0.attn_q.weight"] < 0.006 < errors["blk.0.ffn_up.weight"] < 0.09
    model = facts["verified"]["model"]
    assert 0 < model["kl_mean"] < 0.1
    assert model["tokens"] == 128


def test_mistakes_are_said_plainly(source: Path, tmp_path: Path, lumen: Any) -> None:
    for arguments, message in (
        (("in.gguf", "in.gguf"), "the file that is read"),
        (("in.gguf", "out.gguf", "--tensor", "q8_0"), "REGEX=FORMAT"),
        (("in.gguf", "out.gguf", "-f", "nope"), "'nope'"),
        (("none.gguf", "out.gguf"), "no such file"),
        (("in.gguf", "out.gguf", "--imatrix", "in.gguf"), "importance"),
    ):
        files = [str(tmp_path / item) if item.endswith(".gguf") else item for item in arguments]
        done = lumen("quantize", *files)
        assert done.code == 1, done.err
        assert message in done.err
        assert "Traceback" not in done.err
    assert list(tmp_path.iterdir()) == [source]


def test_formats_check_of_a_file(tmp_path: Path, lumen: Any) -> None:
    path = tmp_path / "mine.lum"
    path.write_text("format mine : block 64 { qs: u8[32]  d: f16  value = d * (bits(qs, 4, run=32) - 8) }")
    done = lumen("formats", "check", str(path), "--no-speed", "--json")
    assert done.code == 0, done.err
    (report,) = json.loads(done.out)
    assert report["name"] == "mine"
    assert all(finding["passed"] for finding in report["findings"])
    assert len(report["quality"]) == 5
    path.write_text(
        "format mine : block 64 { qs: u8[32]  d: f16  value = d * qs * bits(qs, 4, run=32) * qs }"
    )
    done = lumen("formats", "check", str(path))
    assert done.code == 1
    assert "mine.lum" in done.err


def test_formats_check_of_a_family(tmp_path: Path, lumen: Any) -> None:
    path = tmp_path / "mine.lum"
    path.write_text(
        "format any[G] : block G { q: i8[G] from weight[N, K]  d: f16 from s[K / G, N]  value = d * q }"
    )
    done = lumen("formats", "check", str(path))
    assert done.code == 1
    assert "formats of a family go by name once it is installed: any_G" in done.err
    done = lumen("formats", "show", "gptq")
    assert done.code == 1
    assert "`gptq` is a family of formats" in done.err


def test_formats_show_of_a_file(tmp_path: Path, lumen: Any) -> None:
    """A declaration can be looked at before it is installed."""
    path = tmp_path / "mine.lum"
    path.write_text(
        "format one : block 64 { qs: u8[32]  d: f16  value = d * (bits(qs, 4, run=32) - 8) }\n"
        "format two : block 64 { qs: u8[16]  d: f16  value = d * (bits(qs, 2, run=16) - 2) }\n"
    )
    done = lumen("formats", "show", str(path))
    assert done.code == 0, done.err
    assert "normal form of one" in done.out and "normal form of two" in done.out
    assert "not installed" in done.out
    first, second = json.loads(lumen("formats", "show", str(path), "--json").out)
    assert (first["name"], second["bits_per_weight"]) == ("one", 2.25)


def test_formats_check_says_everything_about_a_file(tmp_path: Path, lumen: Any) -> None:
    """Mistakes of every kind and format in one run, each at its place."""
    path = tmp_path / "mine.lum"
    path.write_text(
        "format a : block 64 { qs: u8[32]  d: f16  value = d * bits(q, 4, run=32) }\n"
        "format b : block 64 { qs: u8[32]  d: f16  value = bits(qs, 4, run=32) - 8 }\n"
        "format c : block 64 { qs: u8[32]  d: f16  value = d * bits(qs, 4, run=32) - 8 }\n"
    )
    done = lumen("formats", "check", str(path))
    assert done.code == 1
    places = [line.split("mine.lum")[1] for line in done.err.splitlines() if "-->" in line]
    assert places == [":1:60", ":2:35", ":3:51"]
