"""Quantized directories that are wrong: each is refused with the tensor or setting that is to blame."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kit import checkpoints, quantized

from lumen_core.engine.sources import open_model
from lumen_core.errors import ModelFormatError
from lumen_core.plugins.registry import Registry

MODULE = "model.layers.0.self_attn.q_proj."
Arrays = quantized.Arrays
Change = Callable[[Arrays, dict[str, Any]], None]


def settings(**values: Any) -> Change:
    return lambda arrays, config: config.update(values)


def group(**values: Any) -> Change:
    return lambda arrays, config: config["config_groups"]["group_0"]["weights"].update(values)


def targets(value: Any) -> Change:
    return settings(config_groups={"a": {"targets": value, "weights": {"num_bits": 4}}})


def without(suffix: str) -> Change:
    return lambda arrays, config: arrays.pop(MODULE + suffix) and None


def replaced(suffix: str, change: Callable[[np.ndarray], np.ndarray], kind: str | None = None) -> Change:
    def edit(arrays: Arrays, config: dict[str, Any]) -> None:
        array, old = arrays[MODULE + suffix]
        arrays[MODULE + suffix] = (change(array.copy()), kind or old)

    return edit


def poked(suffix: str, value: int) -> Change:
    def change(array: np.ndarray) -> np.ndarray:
        array.reshape(-1)[3] = value
        return array

    return replaced(suffix, change)


REFUSED: dict[str, tuple[str, Change, str]] = {
    "bits": ("gptq_4_symmetric", settings(bits=5), "bits is '5', expected one of 2, 3, 4, 8"),
    "no bits": ("gptq_4_symmetric", settings(bits=None), "bits is 'None'"),
    "other bits": ("gptq_4_symmetric", settings(bits=8), "has the shape"),
    "group": ("gptq_4_symmetric", settings(group_size=48), "group_size is '48'"),
    "group zero": ("gptq_4_symmetric", settings(group_size=0), "group_size is '0'"),
    "group does not divide": ("gptq_4_symmetric", settings(group_size=128), "not whole groups of 128"),
    "other group": ("awq", settings(group_size=64), "qzeros: has the shape [2, 8]"),
    "layout": ("gptq_4_symmetric", settings(checkpoint_format="marlin"), "checkpoint_format is 'marlin'"),
    "dynamic": ("gptq_4_symmetric", settings(dynamic={"+:.*": {"bits": 8}}), "dynamic gives other settings"),
    "no g_idx": ("gptq_4_ordered", without("g_idx"), "the tensor g_idx is missing"),
    "negative group": ("gptq_4_ordered", poked("g_idx", -2), "column 3 is in group -2"),
    "group out of range": ("gptq_4_ordered", poked("g_idx", 1 << 30), "there are groups 0 to"),
    "uneven groups": (
        "gptq_4_ordered", replaced("g_idx", lambda a: np.zeros_like(a)), "group 0 has 64 columns, not 32",
    ),
    "short g_idx": ("gptq_4_ordered", replaced("g_idx", lambda a: a[:32]), "there are groups 0 to 0"),
    "g_idx of floats": (
        "gptq_4_ordered", replaced("g_idx", lambda a: a.astype(np.float32), "F32"), "g_idx: is f32",
    ),
    "no scales": ("gptq_4_symmetric", without("scales"), "the tensor scales is missing"),
    "scales": ("gptq_4_symmetric", replaced("scales", lambda a: a[:, :8]), "scales: has the shape [2, 8]"),
    "integer scales": (
        "gptq_4_symmetric", replaced("scales", lambda a: a.view(np.int16).astype(np.int32), "I32"),
        "scales: is i32, expected f32, f16, bf16",
    ),
    "zero points": ("gptq_4_rows", replaced("qzeros", lambda a: a[:, :3]), "qzeros: has the shape [1, 3]"),
    "codes of floats": (
        "gptq_4_symmetric", replaced("qweight", lambda a: a.astype(np.float32), "F32"), "qweight: is f32",
    ),
    "codes of three axes": (
        "gptq_4_symmetric", replaced("qweight", lambda a: a.reshape(2, 4, -1)), "not 2 axes",
    ),
    "no codes": ("gptq_4_symmetric", replaced("qweight", lambda a: a[:0]), "rows of 0 weights"),
    "gemv": ("awq", settings(version="gemv"), "version is 'gemv'"),
    "awq bits": ("awq", settings(bits=3), "bits is '3', expected one of 4"),
    "awq without zero points": ("awq", without("qzeros"), "the tensor qzeros is missing"),
    "strategy": ("packed", group(strategy="galaxy"), "the strategy 'galaxy'"),
    "no groups": ("packed", settings(config_groups={}), "config_groups is missing"),
    "groups of nothing": ("packed", settings(config_groups={"a": 5}), "a is '5', expected an object"),
    "no targets": ("packed", settings(config_groups={"a": {}}), "no group of quantization_config"),
    "bad targets": ("packed", targets(True), "targets is 'True', expected a list"),
    "bad target": ("packed", targets(["re:("]), "the target '('"),
    "slow target": ("packed", targets([r"re:(.|\w|[a-z])*[A-Z]"]), "takes more than 1.0 s to match"),
    "rotated": ("packed", settings(transform_config={"a": 1}), "rotated weights"),
    "dynamic of nothing": ("gptq_4_symmetric", settings(dynamic=[1]), "is '[1]', expected an object"),
    "sparsity of nothing": ("packed", settings(sparsity_config=3), "is '3', expected an object"),
    "sparse": ("packed", settings(sparsity_config={"format": "24"}), "sparse weights"),
    "format": ("packed", settings(format="marlin-24"), "the format 'marlin-24'"),
    "no zero points": ("packed_asymmetric", without("weight_zero_point"), "weight_zero_point is missing"),
    "no global scale": ("nvfp4", without("weight_global_scale"), "weight_global_scale (ct_nvfp4) is missing"),
    "block size": ("fp8_block", settings(weight_block_size=[32]), "weight_block_size is '[32]'"),
    "no block size": ("fp8_block", settings(weight_block_size=None), "has no block size"),
    "huge blocks": ("fp8_block", settings(weight_block_size=[1 << 40, 32]), "blocks of"),
    "no scale": ("fp8_block", without("weight_scale_inv"), "weight_scale is missing"),
    "method": ("awq", settings(quant_method="exl9"), "quantized (exl9)"),
    "no method": ("awq", settings(quant_method=None), "quantized (None)"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    name, change, message = REFUSED[case]
    scheme = quantized.SCHEMES[name]
    stored, _ = quantized.quantized(checkpoints.weights("qwen3"), scheme)
    config = {key: dict(value) if isinstance(value, dict) else value for key, value in scheme.config.items()}
    if "config_groups" in config:
        group_0 = config["config_groups"]["group_0"]
        config["config_groups"] = {"group_0": {**group_0, "weights": dict(group_0["weights"])}}
    change(stored, config)
    directory = quantized.write(tmp_path / "model", "qwen3", stored, config)
    with pytest.raises(ModelFormatError) as caught:
        open_model(directory, Registry.load())
    assert message in str(caught.value), caught.value


def test_weights_that_are_no_numbers(tmp_path: Path) -> None:
    """No kernel keeps a NaN of one byte, so none is let in."""
    stored, _ = quantized.quantized(checkpoints.weights("qwen3"), quantized.SCHEMES["fp8_block"])
    stored[MODULE + "weight"][0][5, 7] = 0xFF
    directory = quantized.write(tmp_path / "m", "qwen3", stored, quantized.SCHEMES["fp8_block"].config)
    with (
        open_model(directory, Registry.load()) as file,
        pytest.raises(ModelFormatError, match="no number"),
    ):
        _ = file.tensors["blk.0.attn_q.weight"].data
