"""Models of a plugin, each one page and one spec: they run from a file and from a checkpoint directory."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
from kit import tiny_checkpoints, tiny_models
from kit.engines import Engine, oracle, token_ids

import lumen_core as lumen
from lumen_core.engine.convert import convert
from lumen_core.plugins.registry import Registry
from lumen_core.weights.model_file import TensorPlan
from lumen_quant_gguf.writer import create

WIDTH, INNER, ROWS, LAYERS = 64, 96, 64, 2


def bag(path: Path) -> Path:
    shapes: dict[str, tuple[int, ...]] = {"token_embd.weight": (ROWS, WIDTH), "output_norm.weight": (WIDTH,)}
    for layer in range(LAYERS):
        shapes |= {
            f"blk.{layer}.ffn_norm.weight": (WIDTH,),
            f"blk.{layer}.ffn_gate.weight": (INNER, WIDTH),
            f"blk.{layer}.ffn_up.weight": (INNER, WIDTH),
            f"blk.{layer}.ffn_down.weight": (WIDTH, INNER),
        }
    keys: dict[str, object] = {
        "general.architecture": "example-bag", "example-bag.embedding_length": WIDTH,
        "example-bag.block_count": LAYERS, "example-bag.feed_forward_length": INNER,
        "example-bag.context_length": 64, "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [chr(0x100 + index) for index in range(ROWS)], "tokenizer.ggml.merges": [],
        "tokenizer.ggml.token_type": np.ones(ROWS, np.int32), "tokenizer.ggml.eos_token_id": 0,
    }  # fmt: skip
    writer = create(path, keys, [TensorPlan(name, "f32", shape) for name, shape in shapes.items()])
    random = np.random.default_rng(0)
    for shape in shapes.values():
        writer.write(random.standard_normal(shape).astype(np.float32).view(np.uint8).reshape(-1))
    writer.close()
    return path


def test_a_model_without_attention(tmp_path: Path, installed: Registry, objects: Path) -> None:
    path, ids = bag(tmp_path / "bag.gguf"), token_ids(20, ROWS)
    with Engine(installed, path, objects, threads=2, context=64) as model:
        found, decoded = model.prefill(ids), model.decode(ids)
        wanted = oracle(model.session).step(ids)
    for logits in (found, decoded):
        np.testing.assert_allclose(logits, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def twin(directory: Path, second: bool) -> Path:
    """A checkpoint of qwen3 with second feed-forward networks: of random weights, or of zeros."""
    case = tiny_models.CASES["qwen3"]
    arrays = tiny_models.tensors(case)
    more = {}
    for layer in range(case.layers):
        for name in ("gate", "up", "down"):
            shape = arrays[f"blk.{layer}.ffn_{name}.weight"].shape
            random = np.random.default_rng([layer, len(name)])
            values = random.standard_normal(shape).astype(np.float32) * np.float32(0.1 * second)
            more[f"model.layers.{layer}.second_mlp.{name}_proj.weight"] = values
    tiny_checkpoints.write(replace(case, architecture="example_twin"), directory, more=more)
    return directory


def test_a_page_that_is_like_one_of_another_package(tmp_path: Path) -> None:
    ids = tiny_models.token_ids(tiny_models.CASES["qwen3"])[:50]
    folders = {name: tmp_path / name for name in ("plain", "zeros", "random")}
    for folder in folders.values():
        folder.mkdir()
    tiny_checkpoints.write(tiny_models.CASES["qwen3"], folders["plain"])
    twin(folders["zeros"], second=False)
    twin(folders["random"], second=True)
    logits = {}
    for name, folder in folders.items():
        with lumen.load(folder, context=64, threads=1) as model:
            logits[name] = model.logits(ids)
    np.testing.assert_allclose(logits["zeros"], logits["plain"], rtol=1e-4, atol=1e-5)
    assert np.abs(logits["random"] - logits["plain"]).max() > 0.1
    convert(folders["random"], tmp_path / "m.gguf")
    with lumen.load(tmp_path / "m.gguf", context=64, threads=1) as model:
        np.testing.assert_array_equal(model.logits(ids), logits["random"])
    config = json.loads((folders["zeros"] / "config.json").read_text())
    assert config["model_type"] == "example_twin"
