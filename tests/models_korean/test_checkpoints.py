"""Checkpoint directories of every architecture: the recorded logits, and the same file after conversion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kit import checkpoints
from kit import tiny_models as tiny
from kit.tiny_checkpoints import CASES, write

import lumen_core as lumen
from lumen_core.engine.binding import bind, load_page
from lumen_core.engine.convert import convert
from lumen_core.engine.sources import open_model
from lumen_core.errors import LumenError
from lumen_core.plugins.registry import Registry
from lumen_core.weights.safetensors import open_safetensors

RECORDED = np.load(Path(__file__).with_name("references.npz"))
QUICK = ("llama-yarn", "exaone", "exaone4", "hyperclovax", "exaone-moe", "solar-open")


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in CASES]
)
def test_logits(name: str, tmp_path: Path) -> None:
    case = tiny.CASES[name]
    ids = tiny.token_ids(case)
    with lumen.load(write(case, tmp_path), context=512, threads=1) as model:
        found = model.logits(ids)
    reference = RECORDED[name]
    assert np.abs(found[list(tiny.RECORDED)] - reference).max() < 1e-3 * np.abs(reference).max()
    convert(tmp_path, tmp_path / "model.gguf")
    with lumen.load(tmp_path / "model.gguf", context=512, threads=1) as model:
        np.testing.assert_array_equal(model.logits(ids[:100]), found[:100])


def test_experts_in_one_tensor(tmp_path: Path) -> None:
    """Gate and up of all experts side by side, as `transformers` holds them."""
    case = tiny.CASES["qwen3moe"]
    one_by_one, together = (tmp_path / name for name in ("one", "all"))
    one_by_one.mkdir()
    together.mkdir()
    with (
        open_model(write(case, one_by_one), Registry.load()) as file,
        open_model(write(case, together, together=True), Registry.load()) as other,
    ):
        assert file.tensors.keys() == other.tensors.keys()
        for name, tensor in file.tensors.items():
            assert tensor.shape == other.tensors[name].shape
            np.testing.assert_array_equal(tensor.data, other.tensors[name].data)


@pytest.mark.parametrize(
    ("case", "change", "message"),
    [
        ("qwen3moe", {"num_experts": 9}, r"missing tensor\(s\): model\.layers\.0\.mlp\.experts\.8\."),
        ("qwen3moe", {"num_experts": 7}, r"no use for the tensor\(s\) model\.layers\.0\.mlp\.experts\.7\."),
        ("qwen3moe", {"decoder_sparse_step": 2}, "decoder_sparse_step is '2'; the model qwen3moe computes"),
        ("qwen3moe", {"moe_intermediate_size": 64}, r"blk\.0\.ffn_gate_exps.* has shape \[8, 48, 64\]"),
        ("exaone-moe", {"mlp_layer_types": ["sparse"] * 4}, r"blk\.0\.ffn_gate_inp\.weight is missing"),
        ("exaone-moe", {"mlp_layer_types": ["sparse", "dense", "sparse", "sparse"]}, "stand behind others"),
        ("glm4moe", {"use_qk_norm": True}, "use_qk_norm is 'True'"),
        ("glm4moe", {"num_hidden_layers": 1}, None),  # what is behind the last layer guesses further tokens
    ],
)
def test_what_does_not_fit_is_named(
    case: str, change: dict[str, Any], message: str | None, tmp_path: Path
) -> None:
    write(tiny.CASES[case], tmp_path)
    config = tmp_path / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    registry = Registry.load()

    def opened() -> int:
        with open_model(tmp_path, registry) as file:
            return len(bind(load_page(registry, file.architecture)[1], file).layers)

    if message is None:
        assert opened() == change["num_hidden_layers"]
        return
    with pytest.raises(LumenError, match=message):
        opened()


def test_the_text_part_of_a_model_that_also_sees(tmp_path: Path) -> None:
    """EXAONE 4.5: its settings are a section, its tensors have another prefix; eyes and guesses are left."""
    case = tiny.CASES["exaone4"]
    plain, seeing = tmp_path / "plain", tmp_path / "seeing"
    for folder in (plain, seeing):
        folder.mkdir()
    write(case, plain)
    names = {name: name.replace("model.", "model.language_model.", 1) for name in arrays_of(plain)}
    more = {name: np.zeros((4, 4), np.float32) for name in ("model.visual.merger.weight", "mtp.fc.weight")}
    stored = {names[name]: array for name, array in arrays_of(plain).items()}
    checkpoints.write_weights(seeing, {**stored, **more})
    config = json.loads((plain / "config.json").read_text())
    outer = {"model_type": "exaone4_5", "tie_word_embeddings": False, "vision_config": {"depth": 1},
             "text_config": config | {"model_type": "exaone4_5_text"}}  # fmt: skip
    (seeing / "config.json").write_text(json.dumps(outer))
    (seeing / "tokenizer.json").write_bytes((plain / "tokenizer.json").read_bytes())
    registry = Registry.load()
    with open_model(plain, registry) as file, open_model(seeing, registry) as other:
        bind(load_page(registry, other.architecture)[1], other)
        assert file.architecture == other.architecture == "exaone4"
        assert file.tensors.keys() == other.tensors.keys()
        for name, tensor in file.tensors.items():
            np.testing.assert_array_equal(tensor.data, other.tensors[name].data)
        settings = {key: value for key, value in file.metadata.items() if key.startswith("exaone4.")}
        assert settings.keys() == {key for key in other.metadata if key.startswith("exaone4.")}
        for key, value in settings.items():
            np.testing.assert_array_equal(value, other.metadata[key])


def arrays_of(directory: Path) -> dict[str, np.ndarray]:
    found, _ = open_safetensors(directory)
    return {name: tensor.data.view("<f4").reshape(tensor.shape).copy() for name, tensor in found.items()}
