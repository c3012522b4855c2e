"""Quantized directories as GGUF files: unchanged where a type of GGUF holds the numbers, else as asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kit import checkpoints, quantized

import lumen_core as lumen
from lumen_core.engine.convert import convert
from lumen_core.engine.sources import open_model
from lumen_core.errors import ModelError
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse

IDS = np.random.default_rng(3).integers(0, 256, 12).tolist()
REGISTRY = Registry.load()
EXACT = {
    "gptq_2": "q4_0", "gptq_4_symmetric": "q4_0", "packed": "q4_0", "awq": "q5_0",
    "packed_asymmetric": "q5_0", "int8_channel": "q8_0", "mxfp4": "mxfp4",
}  # fmt: skip
WHERE = "blk.0.ffn_up.weight"


def directory(name: str, at: Path) -> tuple[Path, np.ndarray]:
    """A directory, and the f32 numbers of the weight WHERE."""
    scheme = quantized.SCHEMES[name]
    stored, plain = quantized.quantized(checkpoints.weights("qwen3"), scheme)
    return quantized.write(at, "qwen3", stored, scheme.config), plain["model.layers.0.mlp.up_proj.weight"]


def numbers(path: Path) -> tuple[str, np.ndarray]:
    with open_model(path, REGISTRY) as file:
        tensor = file.tensors[WHERE]
        form = analyse(REGISTRY.format(tensor.format))
        return tensor.format, form.decode(tensor.data.reshape(tensor.shape[0], -1))


@pytest.mark.parametrize("name", EXACT)
def test_a_type_that_holds_the_same_numbers(name: str, tmp_path: Path) -> None:
    source, plain = directory(name, tmp_path / "model")
    convert(source, tmp_path / "model.gguf")
    format, values = numbers(tmp_path / "model.gguf")
    assert format == EXACT[name]
    np.testing.assert_allclose(values, plain, rtol=2**-22)
    np.testing.assert_array_equal(values, numbers(source)[1])
    if name == "awq":
        with lumen.load(tmp_path / "model.gguf", context=64, threads=1) as model:
            found = model.logits(IDS)
        with lumen.load(source, context=64, threads=1) as model:
            wanted = model.logits(IDS)
        assert (np.linalg.norm(found - wanted, axis=-1) < 4e-2 * np.linalg.norm(wanted, axis=-1)).all()


@pytest.mark.parametrize("name", ["gptq_4_ordered", "gptq_8_v2", "fp8_block", "nvfp4"])
def test_somebody_has_to_choose_what_is_lost(name: str, tmp_path: Path) -> None:
    source, plain = directory(name, tmp_path / "model")
    with pytest.raises(ModelError, match=r"no type holds the numbers of .* exactly; say with --type"):
        convert(source, tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()
    for wanted, tolerance in (("q8_0", 0.01), ("f32", 2**-21)):
        convert(source, tmp_path / "model.gguf", wanted, force=True)
        format, values = numbers(tmp_path / "model.gguf")
        assert format == wanted
        assert np.abs(values - plain).max() <= tolerance * np.abs(plain).max()
