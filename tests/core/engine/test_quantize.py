"""Whole files through the quantizer: what it writes, what it refuses, and that a kill leaves nothing half."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from lumen_core.engine.quantize import Job, plan, write
from lumen_core.engine.synth import synthesize
from lumen_core.engine.targets import choose_target
from lumen_core.engine.verify import tensor_errors
from lumen_core.errors import LumenError
from lumen_core.plugins.registry import Registry
from lumen_core.weights.model_file import Importance

REGISTRY = Registry.load()
TARGET = choose_target(REGISTRY, None)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("source") / "f32.gguf"
    return synthesize("qwen3-tiny", path, "f32", registry=REGISTRY, seed=3)


def planned(source: Path, mixture: str, *overrides: tuple[str, str], **options: object) -> Job:
    file = REGISTRY.reader(source).open(source)
    return plan(file, mixture, overrides, registry=REGISTRY, **options)  # type: ignore[arg-type]


def test_formats_errors_and_metadata(source: Path, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    job = planned(source, "q4_k_m", ("attn_v", "q8_0"), (r"^token_embd", "f16"))
    out = write(job, tmp_path / "out.gguf", TARGET, 2, lambda *step: seen.append(step))
    assert seen[-1][1] == seen[-1][2] == sum(change.elements for change in job.changes)
    assert list(tmp_path.iterdir()) == [out]
    with REGISTRY.reader(out).open(out) as result:
        assert result.size >= job.bytes
        assert result.tensors["token_embd.weight"].format == "f16"
        assert result.tensors["blk.0.attn_v.weight"].format == "q8_0"
        assert result.tensors["blk.0.attn_q.weight"].format == "q4_k"
        assert result.tensors["blk.0.attn_norm.weight"].format == "f32"
        assert result.metadata["general.file_type"] == 15
        assert result.metadata["general.quantization_version"] == 2
        for key, value in job.file.metadata.items():
            kept = result.metadata[key]
            assert np.array_equal(kept, value) if isinstance(value, np.ndarray) else (
                list(kept) == list(value) if hasattr(value, "tolist") else kept == value  # type: ignore[call-overload]
            )  # fmt: skip
        for error in tensor_errors(job.file, result, job.forms):
            limit = {"f32": 0.0, "f16": 3e-4, "q8_0": 0.006, "q6_k": 0.02, "q5_0": 0.045, "q4_k": 0.075}
            assert error.error <= limit[error.format], error


def test_a_tensor_that_keeps_its_format_keeps_its_bytes(tmp_path: Path) -> None:
    source = synthesize("qwen3-tiny", tmp_path / "q8_0.gguf", "q8_0", registry=REGISTRY)
    out = write(planned(source, "q8_0"), tmp_path / "again.gguf", TARGET)
    with REGISTRY.reader(source).open(source) as before, REGISTRY.reader(out).open(out) as after:
        for name, tensor in before.tensors.items():
            assert np.array_equal(tensor.data, after.tensors[name].data)


def test_rows_that_do_not_fill_a_block_fall_back(source: Path) -> None:
    job = planned(source, "q8_0", ("attn_output", "q4_k"))
    change = next(change for change in job.changes if change.tensor.name == "blk.0.attn_output.weight")
    assert change.tensor.shape[-1] % 256
    assert (change.format, change.fallback) == ("q5_0", "q4_k")


def test_what_is_refused(source: Path, tmp_path: Path) -> None:
    for arguments, message in (
        ((source, "q9_9"), r"(?s)no mixture 'q9_9' \(.*q4_k_m.* no installed package declares.* q4_k,"),
        ((source, "q4_0", ("no_such", "q8_0")), "no tensor's name matches 'no_such'"),
        ((source, "q4_0", ("(", "q8_0")), "not a regular expression"),
        ((source, "q4_0", ("attn", "q9_9")), "q9_9"),
    ):
        with pytest.raises(LumenError, match=message):
            planned(*arguments)  # type: ignore[arg-type]
    quantized = write(planned(source, "q8_0"), tmp_path / "q8_0.gguf", TARGET)
    with pytest.raises(LumenError, match="quantized already"):
        planned(quantized, "q4_0")
    assert planned(quantized, "q4_0", requantize=True).changes


def test_it_never_writes_over_its_input(source: Path, tmp_path: Path) -> None:
    original = source.read_bytes()
    copy = tmp_path / "in.gguf"
    copy.write_bytes(original)
    (tmp_path / "link.gguf").symlink_to(copy)
    os.link(copy, tmp_path / "hard.gguf")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling.gguf").symlink_to(tmp_path / "nothing.gguf")
    job = planned(copy, "q4_0")
    for name, message in (
        ("in.gguf", "the file that is read"),
        ("folder/../in.gguf", "the file that is read"),
        ("link.gguf", "the file that is read"),
        ("hard.gguf", "the file that is read"),
        ("folder", "is a directory"),
        ("dangling.gguf", "not a regular file"),
        ("missing/out.gguf", "does not exist"),
    ):
        with pytest.raises(LumenError, match=message):
            write(job, tmp_path / name, TARGET)
    through = planned(tmp_path / "link.gguf", "q4_0")
    with pytest.raises(LumenError, match="the file that is read"):
        write(through, copy, TARGET)
    assert copy.read_bytes() == original
    assert not list(tmp_path.glob(".*.partial"))


def test_a_weight_that_is_not_finite_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    source = synthesize("qwen3-tiny", tmp_path / "bad.gguf", "f32", registry=REGISTRY)
    raw = bytearray(source.read_bytes())
    with REGISTRY.reader(source).open(source) as file:
        tensor = file.tensors["blk.1.ffn_up.weight"]
        start = raw.index(tensor.data[:64].tobytes())
    raw[start : start + 4] = np.float32(np.nan).tobytes()
    source.write_bytes(raw)
    with pytest.raises(LumenError, match=r"blk\.1\.ffn_up\.weight.*nan"):
        write(planned(source, "q4_0"), tmp_path / "out.gguf", TARGET)
    assert list(tmp_path.iterdir()) == [source]


def test_importance_of_another_model_is_refused(source: Path) -> None:
    def given(name: str, columns: int) -> Importance:
        return Importance({name: np.ones((1, columns), np.float32)}, {name: np.ones(1, np.float32)}, 1, 512)

    with pytest.raises(LumenError, match="names none of"):
        planned(source, "q4_0", importance=given("other", 4))
    with pytest.raises(LumenError, match="columns"):
        planned(source, "q4_0", importance=given("blk.0.attn_q.weight", 4))


def test_a_full_disk_leaves_nothing(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = planned(source, "q8_0")
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1000))
    with pytest.raises(LumenError, match="its disk has"):
        write(job, tmp_path / "out.gguf", TARGET)
    assert list(tmp_path.iterdir()) == []
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no right to mount a small file system")
    try:  # room enough was announced, but others took it
        monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=1 << 40))
        (tmp_path / "old.gguf").write_bytes(b"what was here")
        with pytest.raises((LumenError, OSError), match="space"):
            write(job, tmp_path / "old.gguf", TARGET)
        assert [item.name for item in tmp_path.iterdir()] == ["old.gguf"]
        assert (tmp_path / "old.gguf").read_bytes() == b"what was here"
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_memory_stays_at_some_pieces(tmp_path: Path) -> None:
    """A tensor of 64 MiB is never in memory at once, neither as it was nor as it becomes."""
    sizes = {"layers": 1, "width": 1024, "hidden": 16384, "heads": 4, "kv_heads": 1, "head": 64}
    source = synthesize("qwen3-tiny", tmp_path / "in.gguf", "f32", registry=REGISTRY, overrides=sizes)
    job = planned(source, "q4_0")
    write(job, tmp_path / "first.gguf", TARGET)  # what is compiled and imported once
    tracemalloc.start()
    write(job, tmp_path / "out.gguf", TARGET, threads=2)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 20


PROGRAM = """
import sys
from pathlib import Path
from lumen_core.engine.quantize import plan, write
from lumen_core.engine.targets import choose_target
from lumen_core.plugins.registry import Registry
registry = Registry.load()
target = choose_target(registry, None)
source = Path(sys.argv[1])
job = plan(registry.reader(source).open(source), "q4_0", registry=registry)
print("ready", flush=True)
for _ in range(50):
    write(job, sys.argv[2], target)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_kill_leaves_the_old_file_or_the_whole_new_one(number: int, source: Path, tmp_path: Path) -> None:
    complete = write(planned(source, "q4_0"), tmp_path / "complete.gguf", TARGET).read_bytes()
    out = tmp_path / "out.gguf"
    generator = random.Random(5)
    for attempt in range(4):
        before = b"what was here" if attempt % 2 else None
        if before is not None:
            out.write_bytes(before)
        else:
            out.unlink(missing_ok=True)
        command = [sys.executable, "-c", PROGRAM, str(source), str(out)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(generator.uniform(0, 0.4))
        process.send_signal(number)
        process.communicate()
        found = out.read_bytes() if out.exists() else None
        assert found in (complete, before)
    assert source.exists()
