"""Whole tiny models from quantized directories: the numbers of their decoded weights, by every program."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kit import checkpoints, quantized
from kit.engines import EXACT, oracle

import lumen_core as lumen

IDS = np.random.default_rng(3).integers(0, 256, 40).tolist()


def errors(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The error of every row, relative to the row's length."""
    return np.linalg.norm(found - wanted, axis=-1) / np.linalg.norm(wanted, axis=-1)


@pytest.mark.parametrize("name", quantized.SCHEMES)
def test_logits_are_those_of_the_decoded_weights(name: str, tmp_path: Path) -> None:
    scheme, floats = quantized.SCHEMES[name], name.startswith("fp8")
    kind = "llama" if name == "gptq_4_symmetric" else "qwen3"  # rows of llama's heads are put in pairs
    stored, plain = quantized.quantized(checkpoints.weights(kind), scheme)
    directory = quantized.write(tmp_path / "quantized", kind, stored, scheme.config)
    exact = quantized.write(tmp_path / "plain", kind, {n: (a, "F32") for n, a in plain.items()}, None)
    with lumen.load(directory, context=128, threads=2, target=EXACT) as model:
        found = model.logits(IDS)
        tokens = list(model.generate(IDS[:8], max_tokens=6, temperature=0.0, ignore_end=True).tokens)
        interpreted = oracle(model._session).step(IDS)
        again = model.logits([*IDS[:8], *tokens])[7:-1]
    # The same program on the interpreter: rounding alone, and activations that it puts into the next code,
    # or rounds to the other of two neighbours among 512.
    assert floats or errors(found, interpreted).min() < 1e-5
    assert errors(found, interpreted).max() < (1e-2 if floats else 4e-2)
    # f32 weights: activations of integer codes have 8 bits in a group, those of 8-bit floats are bf16.
    with lumen.load(exact, context=128, threads=1) as model:
        wanted = model.logits(IDS)
    assert np.median(errors(found, wanted)) < (1e-2 if floats else 4e-2)
    assert errors(found, wanted).max() < (3e-2 if floats else 0.2)
    # What decodes token by token is what reads a whole text.
    chosen = again[np.arange(len(tokens)), tokens]
    assert (again.max(-1) - chosen <= 1e-4 * np.abs(again).max()).all()


@pytest.mark.parametrize(("name", "count"), [("gptq_4_ordered", 7), ("gptq_4_alike", 4)])
def test_matrices_in_one_order_share_the_activations(name: str, count: int, tmp_path: Path) -> None:
    """Those of queries, keys and values, and both into the hidden layer: brought into that order once."""
    scheme = quantized.SCHEMES[name]
    stored, _ = quantized.quantized(checkpoints.weights("qwen3"), scheme)
    directory = quantized.write(tmp_path / "quantized", "qwen3", stored, scheme.config)
    with lumen.load(directory, context=64, threads=1, target=EXACT) as model:
        block = model._session.lowered.function("block")
    assert [operation.name for operation in block.operations].count("reorder") == count
