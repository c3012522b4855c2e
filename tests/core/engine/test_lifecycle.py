"""Models come and go: several at once, from several threads, closed, dropped, broken; nothing stays."""

from __future__ import annotations

import gc
import os
import pickle
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gguf
import numpy as np
import pytest
from kit.engines import token_ids

from lumen_core.errors import LumenError, TargetError
from lumen_core.runtime.cache import default_directory

GREEDY = {"temperature": 0, "ignore_end": True, "max_tokens": 8}


def native_threads() -> int:
    return sum(thread.name.startswith("lumen") for thread in threading.enumerate())


def settled(count: int) -> bool:
    """True when that many of our threads are left, at the latest in two seconds."""
    deadline = time.monotonic() + 2
    while native_threads() != count and time.monotonic() < deadline:
        time.sleep(0.01)
    return native_threads() == count


@pytest.fixture
def path(tiny: Callable[..., Path]) -> Path:
    return tiny("qwen3-tiny", "q8_0")


# --------------------------------------------------------------------- several models


def test_several_models_take_turns(tiny, opened) -> None:
    with (
        opened(tiny("qwen3-tiny", "q8_0"), threads=2) as one,
        opened(tiny("llama-tiny", "q4_0"), threads=2) as two,
    ):
        first, second = one.generate("a", **GREEDY).tokens, two.generate("a", **GREEDY).tokens
        streams = [one.stream("a", **GREEDY), two.stream("a", **GREEDY)]
        texts = ["", ""]
        for _ in range(8):  # token by token in turn
            for number, stream in enumerate(streams):
                texts[number] += next(stream, "")
        for stream in streams:
            stream.close()
        assert one.generate("a", **GREEDY).tokens == first
        assert two.generate("a", **GREEDY).tokens == second
        assert texts[0] == one.generate("a", **GREEDY).text[: len(texts[0])]


def test_many_threads_and_models(tiny, opened) -> None:
    """Eight threads over three models, four times as many generations: each is what it is alone."""
    with (
        opened(tiny("qwen3-tiny", "q8_0"), threads=2) as one,
        opened(tiny("qwen3-tiny", "q8_0"), threads=1) as same,
        opened(tiny("llama-tiny", "q4_0"), threads=2) as two,
    ):
        models = [one, same, two]
        prompts = [token_ids(length, seed=length) for length in (3, 40, 70, 12)]
        wanted = {
            (number, which): model.generate(prompt, **GREEDY).tokens
            for number, model in enumerate(models)
            for which, prompt in enumerate(prompts)
        }
        assert wanted[0, 1] == wanted[1, 1]
        jobs = [(number, which) for number, which in wanted for _ in range(3)]
        np.random.default_rng(0).shuffle(jobs)

        def work(job: np.ndarray) -> bool:
            number, which = int(job[0]), int(job[1])
            return models[number].generate(prompts[which], **GREEDY).tokens == wanted[number, which]

        with ThreadPoolExecutor(8) as pool:
            assert all(pool.map(work, jobs))


def test_loading_at_once(path, opened, tmp_path) -> None:
    """Several threads load a file with an empty cache: all compile, none disturbs another."""
    with ThreadPoolExecutor(4) as pool:
        models = list(pool.map(lambda _: opened(path, threads=2, cache=tmp_path / "objects"), range(4)))
    tokens = {model.generate("abc", **GREEDY).tokens for model in models}
    assert len(tokens) == 1
    for model in models:
        model.close()
    assert not list((tmp_path / "objects").glob("*.tmp"))


# -------------------------------------------------------------------------- the end


def test_a_closed_model_has_no_threads_and_answers_nothing(path, opened) -> None:
    before = native_threads()
    model = opened(path, threads=3)
    model.generate("a", **GREEDY)
    assert native_threads() == before + 2
    model.close()
    model.close()
    assert settled(before)
    for ask in (
        lambda: model.generate("a"),
        lambda: model.logits([1]),
        lambda: list(model.stream("a")),
        lambda: model.reset(),
        lambda: model.describe(),
        lambda: model.context,
    ):
        with pytest.raises(LumenError, match="is closed"):
            ask()


def test_a_dropped_model_has_no_threads(path, opened) -> None:
    before = native_threads()
    model = opened(path, threads=3)
    model.generate("a", **GREEDY)
    pieces = model.stream("a", **GREEDY)
    next(pieces)
    del model, pieces
    gc.collect()
    assert settled(before)


def test_closing_with_a_stream_open(path, opened) -> None:
    before = native_threads()
    with opened(path, threads=2) as model:
        pieces = model.stream("a", **GREEDY)
        next(pieces)
    with pytest.raises(LumenError, match="is closed"):
        list(pieces)
    assert settled(before)


def test_memory_is_given_back(tiny, opened) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")

    path = tiny("qwen2-tiny", "f32")
    sizes = []
    for _ in range(6):
        with opened(path, threads=1, context=1024) as model:
            model.generate(token_ids(100), **GREEDY)
        gc.collect()
        sizes.append(resident())
    assert sizes[-1] - sizes[2] < 8 << 20, sizes
    assert len(os.listdir("/proc/self/fd")) < 100


def test_a_process_ends_with_models_open(path, objects) -> None:
    """No close, threads spinning or asleep, a stream half read: the interpreter still ends, with code 0."""
    code = (
        "import sys, time, lumen_core as lumen\n"
        "model = lumen.load(sys.argv[1], threads=3)\n"
        "pieces = model.stream('abc', max_tokens=50, ignore_end=True)\n"
        "next(pieces)\n"
        "time.sleep(float(sys.argv[2]))\n"
        "print('done')\n"
    )
    environment = {**os.environ, "LUMEN_CACHE_DIR": str(objects)}
    for pause in ("0", "0.05"):
        done = subprocess.run(
            [sys.executable, "-c", code, str(path), pause],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, "done\n", "")


def test_a_deleted_file_stays_readable(path, opened, tmp_path) -> None:
    """A model file may be replaced (a new file under its name) while it is in use."""
    copy = tmp_path / "model.gguf"
    copy.write_bytes(path.read_bytes())
    with opened(copy) as model:
        wanted = model.generate("a", **GREEDY).tokens
        (tmp_path / "new").write_bytes(b"something else")
        (tmp_path / "new").replace(copy)
        model.reset()
        assert model.generate("a", **GREEDY).tokens == wanted


def test_a_model_stays_in_its_process(path, opened) -> None:
    with opened(path) as model, pytest.raises(TypeError, match="load it from its path"):
        pickle.dumps(model)


# ------------------------------------------------------------------------ what fails


@pytest.mark.parametrize("threads", [0, -1, 1.5, 100_000])
def test_numbers_of_threads(path, opened, threads) -> None:
    with pytest.raises(LumenError, match="threads"):
        opened(path, threads=threads)


@pytest.mark.parametrize("name", [5, None, b"demo", ["demo"]])
def test_names_that_are_none(opened, name) -> None:
    with pytest.raises(LumenError, match="the name of a model is a text or a path"):
        opened(name)


def test_a_name_that_the_system_refuses(opened) -> None:
    with pytest.raises(LumenError, match="File name too long"):
        opened("a" * 300)


@pytest.mark.parametrize("context", [-1, 1.5, 40961, 1 << 60])
def test_contexts_that_cannot_be(path, opened, context) -> None:
    with pytest.raises(LumenError, match="context"):
        opened(path, context=context)


def test_targets_that_cannot_be(path, opened, monkeypatch) -> None:
    with pytest.raises(TargetError, match=r"unknown target pdp11; known: .*x86-avx2"):
        opened(path, target="pdp11")
    with pytest.raises(TargetError, match="given by its name, found 5"):
        opened(path, target=5)
    monkeypatch.setenv("LUMEN_TARGET", "vax")
    with pytest.raises(TargetError, match="unknown target vax"):
        opened(path)


def test_a_context_that_no_machine_holds(tiny, opened) -> None:
    """The keys and values of 2**40 tokens: an error with the number, not a crash."""
    path = tiny("qwen3-tiny", "q4_0", context=1 << 30)
    before = native_threads()
    limited = "import resource; resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))\n"
    code = limited + (
        "import sys, lumen_core as lumen\n"
        "try:\n"
        "    lumen.load(sys.argv[1], context=1 << 30)\n"
        "except lumen.OutOfMemoryError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True, timeout=60)
    assert "context of 1073741824 tokens" in done.stdout, done.stderr
    assert "MiB wanted" in done.stdout
    assert native_threads() == before


def spoiled(path: Path, copy: Path, tensor: str, value: float) -> Path:
    """A copy of a model file with one number of one f32 tensor replaced."""
    copy.write_bytes(path.read_bytes())
    reader = gguf.GGUFReader(copy, "r+")
    (found,) = [entry for entry in reader.tensors if entry.name == tensor]
    assert found.data.dtype == np.float32
    found.data.reshape(-1)[3] = value
    reader.data.flush()
    return copy


@pytest.mark.parametrize(
    ("tensor", "value"),
    [
        ("output_norm.weight", np.nan),
        ("blk.1.attn_norm.weight", np.nan),
        ("blk.1.attn_norm.weight", np.inf),
        ("token_embd.weight", np.nan),
    ],
)
def test_weights_that_are_no_numbers(tensor, value, tiny, opened, tmp_path) -> None:
    path = spoiled(tiny("qwen3-tiny", "f32"), tmp_path / "m.gguf", tensor, value)
    with opened(path, threads=2) as model:
        for options in (GREEDY, {"max_tokens": 5, "temperature": 1.0}):
            with pytest.raises(LumenError, match="not finite"):
                model.generate([0, 1, 2], **options)
        assert not np.isfinite(model.logits([0, 1])).all()  # scoring shows what there is


def test_default_cache(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("LUMEN_CACHE_DIR", str(tmp_path))
    assert default_directory() == tmp_path / "objects"
    monkeypatch.delenv("LUMEN_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert default_directory() == tmp_path / "x" / "lumen" / "objects"
