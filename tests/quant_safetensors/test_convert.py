"""Quantized directories as GGUF files: unchanged where a type of GGUF holds the numbers, else as asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kit import checkpoints, quantized

import lumen_core as lumen
from lumen_core.engine.convert import convert
from lumen_core.engine.quantize import plan, write
from lumen_core.engine.sources import open_model
from lumen_core.engine.targets import choose_target
from lumen_core.engine.verify import tensor_errors
from lumen_core.errors import LumenError, ModelError
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
    with pytest.raises(ModelError, match=r"no type holds the numbers of .* exactly; say with `element`"):
        convert(source, tmp_path / "model.gguf")
    assert not (tmp_path / "model.gguf").exists()
    for wanted, tolerance in (("q8_0", 0.01), ("f32", 2**-21)):
        convert(source, tmp_path / "model.gguf", wanted, force=True)
        format, values = numbers(tmp_path / "model.gguf")
        assert format == wanted
        assert np.abs(values - plain).max() <= tolerance * np.abs(plain).max()


@pytest.mark.parametrize("name", ["gptq_4_ordered", "fp8_block", ""])
def test_quantize(name: str, tmp_path: Path) -> None:
    """A directory is a source like any file; that codes of integers are quantized again somebody must want.

    Checkpoints of FP8 are published as such: there is nothing more exact to start from.
    """
    if name:
        source, plain = directory(name, tmp_path / "model")
    else:
        source, plain = checkpoints.write(tmp_path / "model", "qwen3"), np.zeros(0)
    out, target = tmp_path / "model.gguf", choose_target(REGISTRY, None)
    with open_model(source, REGISTRY) as file:
        if name.startswith("gptq"):
            with pytest.raises(LumenError, match=r"is quantized already \(blk.* is .*give `requantize`"):
                plan(file, "q8_0", registry=REGISTRY)
        job = plan(file, "q8_0", registry=REGISTRY, requantize=name.startswith("gptq"))
        write(job, out, target)
        with open_model(out, REGISTRY) as made:
            errors = {error.name: error.error for error in tensor_errors(file, made, job.forms)}
    assert 0 < errors[WHERE] < 0.01
    format, values = numbers(out)
    assert format == "q8_0"
    if name:
        assert np.abs(values - plain).max() <= 0.01 * np.abs(plain).max()
    with lumen.load(out, context=64, threads=1) as model, lumen.load(source, context=64, threads=1) as other:
        assert model.tokenizer.encode("한국어 abc") == other.tokenizer.encode("한국어 abc")
        wanted = other.logits(IDS)
        assert (
            np.linalg.norm(model.logits(IDS) - wanted, axis=-1) < 0.1 * np.linalg.norm(wanted, axis=-1)
        ).all()
