"""Synthetic models: right tensors, sane spread, the same bytes for the same seed, files that others read."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import pytest
from kit.vocabularies import byte_level

import lumen_core as lumen
from lumen_core.engine.random_weights import RandomBlocks
from lumen_core.engine.shapes import SHAPES, shape
from lumen_core.engine.synth import synthesize
from lumen_core.errors import LumenError, ModelError
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse
from lumen_core.quant.store import float_bytes
from lumen_core.text.tokenizer import build
from lumen_quant_gguf.container import open_file
from lumen_quant_gguf.writer import create


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


@pytest.mark.parametrize("name", ["llama-tiny", "qwen2-tiny", "qwen3-tiny"])
@pytest.mark.parametrize("format", ["f32", "f16", "bf16", "q8_0", "q4_0", "q4_k_m"])
def test_tiny_models(name: str, format: str, tmp_path: Path, registry: Registry) -> None:
    path = synthesize(name, tmp_path / "m.gguf", format, registry=registry)
    oracle = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    with open_file(path) as file:
        assert oracle.keys() == file.tensors.keys()
        assert ("output.weight" in file.tensors) == (name == "llama-tiny")
        assert ("blk.0.attn_q.bias" in file.tensors) == (name == "qwen2-tiny")
        assert ("blk.1.attn_q_norm.weight" in file.tensors) == (name == "qwen3-tiny")
        for tensor in file.tensors.values():
            values = gguf.dequantize(oracle[tensor.name].data, oracle[tensor.name].tensor_type)
            assert values.shape == tensor.shape
            assert np.isfinite(values).all()
            if len(tensor.shape) == 2:
                wanted = tensor.shape[1] ** -0.5
                assert abs(values.std() / wanted - 1) < 0.1, (tensor.name, tensor.format)
                assert abs(values.mean()) < 0.05 * wanted, (tensor.name, tensor.format)
        tokenizer = build(file.metadata)
        assert tokenizer.decode(tokenizer.encode("안녕 hello")) == "안녕 hello"


def test_the_same_seed_gives_the_same_file(tmp_path: Path, registry: Registry) -> None:
    path = tmp_path / "m.gguf"
    files = [
        synthesize("qwen3-tiny", path, "q4_0", seed=seed, registry=registry).read_bytes()
        for seed in (1, 1, 2)
    ]
    assert files[0] == files[1] != files[2]


def test_a_vocabulary_is_taken_and_filled_up(tmp_path: Path, registry: Registry) -> None:
    words = byte_level()
    create(tmp_path / "v.gguf", {"general.architecture": "llama", **words}, []).close()
    path = synthesize("qwen3-tiny", tmp_path / "m.gguf", "q8_0", tmp_path / "v.gguf",
                      overrides={"vocabulary": 600, "layers": 1}, registry=registry)  # fmt: skip
    with open_file(path) as file:
        tokens = file.metadata["tokenizer.ggml.tokens"].tolist()
        count = len(words["tokenizer.ggml.tokens"])  # type: ignore[arg-type]
        assert tokens[:count] == words["tokenizer.ggml.tokens"]
        assert tokens[count:] == [f"[PAD{index}]" for index in range(count, 600)]
        assert file.tensors["token_embd.weight"].shape == (600, 256)
        assert build(file.metadata).encode("the dog") == build(words).encode("the dog")
        assert file.metadata["qwen3.block_count"] == 1


def test_scaled_frequencies(tmp_path: Path, registry: Registry) -> None:
    changes = {"layers": 1, "width": 64, "heads": 1, "kv_heads": 1, "hidden": 64, "vocabulary": 0}
    path = synthesize("llama-2.4b", tmp_path / "m.gguf", "q4_0", overrides=changes, registry=registry)
    with open_file(path) as file:
        factors = file.tensors["rope_freqs.weight"].data.view("<f4")
        assert factors.shape == (40,)
        assert factors[0] == 1
        assert factors[-1] == 8
        assert (np.diff(factors) >= 0).all()
        assert "output.weight" not in file.tensors


@pytest.mark.parametrize("format", ["example_q3", "gptq_f16_4_128+z", "ct_nvfp4", "fp8_e4m3_f32_128_128"])
def test_formats_that_the_container_has_no_number_for(
    format: str, tmp_path: Path, registry: Registry
) -> None:
    """Those of plugins, and of checkpoint directories, as blocks."""
    path = synthesize("qwen3-tiny", tmp_path / "m.gguf", format, registry=registry)
    with open_file(path) as file:
        tensor = file.tensors["blk.0.ffn_up.weight"]
        assert tensor.format == format
        values = analyse(registry.format(format)).decode(tensor.data.reshape(tensor.shape[0], -1))
        assert 0.5 < values.std() * tensor.shape[1] ** 0.5 < 2
    with lumen.load(path, context=32, threads=1) as model:
        assert np.isfinite(model.logits([1, 2, 3])).all()


@pytest.mark.parametrize("name", ["q4_1", "q5_0", "q5_1", "q5_k", "q6_k"])
def test_other_formats(name: str, registry: Registry) -> None:
    form = analyse(registry.format(name))
    generator = np.random.default_rng(0)
    data = np.concatenate(list(RandomBlocks(form).rows(generator, 64, 512, 0.02)))
    values = form.decode(data.reshape(64, -1))
    assert abs(values.std() / 0.02 - 1) < 0.05
    assert abs(values.mean()) < 0.001


def test_rounding() -> None:
    values = np.array([1.0, 1.0 + 2**-8, 1.0 + 3 * 2**-8, -0.0], np.float32)
    assert float_bytes(values, "bf16").view("<u2").tolist() == [0x3F80, 0x3F80, 0x3F82, 0x8000]


def test_errors(tmp_path: Path, registry: Registry) -> None:
    for arguments, message in (
        (("gpt-9", tmp_path / "m.gguf"), "no shape is named 'gpt-9'"),
        (("qwen3-tiny", tmp_path / "m.gguf", "q9_9"), "q9_9"),
        (("qwen3-tiny", tmp_path / "no" / "m.gguf"), "cannot be written"),
        (("qwen3-tiny", tmp_path / "m.gguf", "q4_0", tmp_path / "v.gguf"), "no such file"),
    ):
        with pytest.raises(LumenError, match=message):
            synthesize(*arguments, registry=registry)
    with pytest.raises(ModelError, match="layers"):
        shape("qwen3-tiny", {"depth": 1})
    assert list(tmp_path.iterdir()) == []


def test_shapes_are_consistent() -> None:
    for name, entry in SHAPES.items():
        assert entry.heads % entry.kv_heads == 0, name
        assert entry.head % 2 == 0, name
