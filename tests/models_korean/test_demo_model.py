"""The demo model on the machine's own kernels: the numbers that `transformers` finds in its file."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import lumen_core as lumen

DEMO = Path(__file__).parents[2] / "demo"
sys.path.insert(0, str(DEMO))

import heldout  # noqa: E402  (the demo folder is no package)

CLEAR = 0.3  # a greedy choice that leads by this much stands whatever rounds the activations


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    return dict(np.load(Path(__file__).parent / "data" / "demo_reference.npz"))


@pytest.fixture(scope="module")
def model() -> Iterator[lumen.Model]:
    with lumen.load("demo", threads=1) as loaded:
        yield loaded


@pytest.mark.parametrize("number", range(5))
def test_logits_and_greedy_choices(model: lumen.Model, reference: dict[str, np.ndarray], number: int) -> None:
    ids, greedy = reference[f"ids_{number}"].tolist(), reference[f"greedy_{number}"]
    expected = reference[f"logits_{number}"]
    found = np.asarray(model.logits(ids + greedy[:-1].tolist()))
    at_prompt = found[len(ids) - len(expected) : len(ids)]
    assert np.abs(at_prompt - expected).max() < 0.02 * np.abs(expected).max()
    clear = reference[f"margin_{number}"] > CLEAR
    assert clear.sum() > 20
    np.testing.assert_array_equal(found[len(ids) - 1 :].argmax(-1)[clear], greedy[clear])


def test_prompts_give_the_recorded_ids(model: lumen.Model, reference: dict[str, np.ndarray]) -> None:
    for number in range(5):
        prompt = str(reference[f"prompt_{number}"])
        assert list(model.tokenizer.encode(prompt, parse_special=True)) == reference[f"ids_{number}"].tolist()


def test_held_out_text_is_as_likely(model: lumen.Model, reference: dict[str, np.ndarray]) -> None:
    nats, tokens = 0.0, 0
    for document in heldout.read()[:40]:
        ids = list(model.tokenizer.encode(document + "<|endoftext|>", parse_special=True))
        logits = np.asarray(model.logits(ids[:-1]), dtype=np.float64)
        logits -= logits.max(-1, keepdims=True)
        likelihood = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        nats -= likelihood[np.arange(len(ids) - 1), ids[1:]].sum()
        tokens += len(ids) - 1
    assert nats / tokens == pytest.approx(float(reference["held_out_nats"]), abs=0.01)
