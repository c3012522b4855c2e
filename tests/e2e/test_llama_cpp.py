"""Beside llama.cpp (package llama-cpp-python): the same files give the same tokens, and numbers no worse.

pip install llama-cpp-python
pytest -m llama_cpp --slow -s        # prints the figures
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from kit import tiny_checkpoints, tiny_models
from kit.engines import EXACT, token_ids
from kit.llama import FILE_TYPES, Llama, divergence, library, plain, quantize

import lumen_core as lumen
from lumen_core.engine.convert import convert
from lumen_core.engine.quantize import plan, write
from lumen_core.engine.synth import synthesize
from lumen_core.engine.targets import choose_target
from lumen_core.plugins.registry import Registry

pytestmark = [pytest.mark.llama_cpp, pytest.mark.slow]
DEMO = Path(__file__).parents[2] / "demo"
SHAPES = {"qwen2": "qwen2.5-0.5b", "qwen3": "qwen3-0.6b", "llama": "llama-8b"}
STEPS = 64
NOISE = 0.02  # of a row's spread: what rounding activations to other neighbours moves
# Both engines round activations, each with its own luck: on one model the divergences differ by up to 3 %,
# to either side; on all models together by less than 1 %.
ONE, ALL = 1.03, 1.01


@pytest.fixture(autouse=True)
def installed() -> None:
    library()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Return f32 models of a few layers by architecture."""
    folder = tmp_path_factory.mktemp("sources")
    sizes = {
        "layers": 4,
        "width": 512,
        "heads": 8,
        "kv_heads": 2,
        "head": 64,
        "hidden": 1024,
        "vocabulary": 1024,
    }

    def path(architecture: str) -> Path:
        file = folder / f"{architecture}.gguf"
        return file if file.exists() else synthesize(SHAPES[architecture], file, "f32", overrides=sizes)

    return path


# --------------------------------------------------------------------------- tokens


def follows(path: Path, ids: list[int]) -> tuple[int, int]:
    """Compare the greedy choices of both along llama.cpp's text; return equal ones, and all.

    Where we choose otherwise, the two best tokens must be as good as equal.
    """
    with Llama(path) as other:
        tokens, rows = other.greedy(ids, STEPS)
    with lumen.load(path, target=EXACT) as model:
        logits = model.logits([*ids, *tokens[:-1]])[len(ids) - 1 :]
    ours = logits.argmax(axis=-1)
    for step in np.flatnonzero(ours != tokens):
        margin = rows[step].max() - rows[step][ours[step]]
        assert margin < 6 * NOISE * rows[step].std(), (step, margin)
    return int((ours == tokens).sum()), len(tokens)


@pytest.mark.parametrize("format", ["f32", "f16", "q8_0", "q4_0", "q4_k_m"])
@pytest.mark.parametrize("shape", ["qwen2-tiny", "qwen3-tiny", "llama-tiny"])
def test_greedy_tokens_of_tiny_models(shape: str, format: str, tmp_path: Path) -> None:
    path = synthesize(shape, tmp_path / "m.gguf", format)
    ids = token_ids(20)
    same, steps = follows(path, ids)
    print(f"{shape} {format}: {same} of {steps} greedy tokens are the same")
    assert same >= steps - 3
    if format == "f32":
        with Llama(path) as other, lumen.load(path) as model:
            tokens, _ = other.greedy(ids, STEPS)
            found = model.generate(ids, max_tokens=STEPS, temperature=0, ignore_end=True)
            assert list(found.tokens) == tokens


@pytest.mark.parametrize(("shape", "layers"), [("exaone-tiny", 2), ("exaone4-tiny", 64)])
def test_greedy_tokens_behind_a_window(shape: str, layers: int, tmp_path: Path) -> None:
    """llama.cpp takes a window for EXAONE 4 only where there are 64 layers; the prompt is longer than it."""
    path = synthesize(shape, tmp_path / "m.gguf", "f32", overrides={"layers": layers})
    same, steps = follows(path, token_ids(100))
    print(f"{shape}: {same} of {steps} greedy tokens are the same")
    assert same >= steps - 1


# architectures that llama.cpp has at this size; it makes the shares of every qwen3moe sum to 1
CONVERTED = ["llama-yarn", "llama-linear", "exaone", "qwen3-yarn", "qwen3moe", "exaone-moe", "solar-open",
             "glm4moe"]  # fmt: skip


@pytest.mark.parametrize("name", CONVERTED)
def test_greedy_tokens_of_converted_checkpoints(name: str, tmp_path: Path) -> None:
    """What `lumen convert` writes has the names and settings that llama.cpp reads."""
    case = tiny_models.CASES[name]
    convert(tiny_checkpoints.write(case, tmp_path), tmp_path / "m.gguf")
    same, steps = follows(tmp_path / "m.gguf", tiny_models.token_ids(case)[:100])
    print(f"{name}: {same} of {steps} greedy tokens are the same")
    assert same >= steps - 1


@pytest.mark.parametrize("prompt", ["옛날 옛적에", "오늘 아침에", "저는"])
def test_the_demo_model_writes_the_same_text(prompt: str) -> None:
    """On its own file, without any teacher: 64 tokens."""
    with lumen.load("demo") as model:
        ids = model.tokenizer.encode(prompt)
        done = model.generate(ids, max_tokens=STEPS, temperature=0, ignore_end=True)
        path = model.path
    with Llama(path) as other:
        tokens, rows = other.greedy(ids, STEPS)
    first = next((step for step in range(STEPS) if tokens[step] != done.tokens[step]), STEPS)
    print(f"{prompt}: {first} of {STEPS} tokens are the same; {done.text!r}")
    if first < STEPS:  # only where two tokens are as good as equal
        best = np.sort(rows[first])[::-1]
        assert best[0] - rows[first][done.tokens[first]] < NOISE * rows[first].std()


@pytest.mark.parametrize(
    "mixture",
    ["q2_k", "q3_k_m", "q4_k_s", "q5_k_m", "iq2_m", "iq3_xs", "iq4_nl", "tq2_0", "pure-mxfp4", "pure-iq1_m"],
)
def test_what_we_quantize_runs_there(mixture: str, tmp_path: Path) -> None:
    """The demo model in a mixture: llama.cpp reads the same text from the file as we do."""
    registry, source = Registry.load(), DEMO / "demo-f16.gguf"
    with registry.reader(source).open(source) as file:
        path = tmp_path / "m.gguf"
        write(plan(file, mixture, registry=registry), path, choose_target(registry, None), 2)
    with lumen.load(path) as model:
        ids = model.tokenizer.encode("옛날 옛적에 호랑이가 살았습니다. 어느 날 호랑이는 토끼를 만났습니다.")
        ours = model.logits(ids)
    with Llama(path) as other:
        apart = divergence(other.logits(ids), ours)
    print(f"{mixture}: KL {apart.mean():.6f} nats between the engines")
    assert apart.mean() < 2e-3


# --------------------------------------------------------------------- divergence


def test_f32_files_give_the_same_logits(source: Callable[[str], Path]) -> None:
    ids = token_ids(300)
    for architecture in SHAPES:
        path = source(architecture)
        with Llama(path) as other, lumen.load(path) as model:
            theirs, ours = other.logits(ids), model.logits(ids)
        error = np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)
        print(f"{architecture} f32: relative difference {error:.1e}")
        assert error < 5e-4


@pytest.mark.parametrize("kind", FILE_TYPES)
def test_divergence_from_f32(kind: str, source: Callable[[str], Path], tmp_path: Path) -> None:
    """KL divergence of a quantized file's logits to the f32 model's, on the same files."""
    sums = np.zeros(2)
    for architecture in SHAPES:
        ids = token_ids(400, seed=len(architecture))
        path = quantize(source(architecture), tmp_path / "q.gguf", kind)
        with Llama(source(architecture)) as other:
            reference = other.logits(ids)
        with Llama(path) as other, lumen.load(path) as model:
            theirs = divergence(reference, other.logits(ids)).mean()
            ours = divergence(reference, model.logits(ids)).mean()
        print(f"{architecture} {kind}: llama.cpp {theirs:.6f}, lumen {ours:.6f}, ratio {ours / theirs:.4f}")
        assert ours < ONE * theirs
        sums += ours, theirs
    assert sums[0] < ALL * sums[1]


@pytest.mark.parametrize("kind", FILE_TYPES)
def test_divergence_of_the_demo_model(kind: str, tmp_path: Path) -> None:
    """The same on Korean text that the demo model has not seen."""
    sys.path.insert(0, str(DEMO))
    heldout = pytest.importorskip("heldout")
    with lumen.load("demo") as model:
        exact = plain(model.path, tmp_path / "plain.gguf")
        limit = min(model.context, 512)
        texts = [model.tokenizer.encode(text)[:limit] for text in heldout.read()[:24]]
    path = quantize(exact, tmp_path / "q.gguf", kind)
    with Llama(exact) as other:
        references = [other.logits(ids) for ids in texts]
    with Llama(path) as other, lumen.load(path) as model:
        pairs = list(zip(references, texts, strict=True))
        theirs = np.concatenate([divergence(reference, other.logits(ids)) for reference, ids in pairs]).mean()
        ours = np.concatenate([divergence(reference, model.logits(ids)) for reference, ids in pairs]).mean()
    print(f"demo {kind}: llama.cpp {theirs:.6f}, lumen {ours:.6f}, ratio {ours / theirs:.4f}")
    assert ours < ONE * theirs
