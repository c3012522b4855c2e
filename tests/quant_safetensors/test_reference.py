"""Weights of every scheme, decoded as the scheme's own code does: recorded by record_references.py."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lumen_core.engine.gathering import gathered_checkpoint
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse
from lumen_core.quant.floats import small_floats
from lumen_core.weights.model_file import FileTensor
from lumen_core.weights.safetensors import TYPES

RECORDED = np.load(Path(__file__).with_name("references.npz"))
CASES = sorted({name.partition("/")[0] for name in RECORDED.files})
REGISTRY = Registry.load()


def recorded(case: str) -> tuple[dict[str, Any], dict[str, FileTensor], np.ndarray]:
    """The config, the tensors of the module `m`, and the weights they stand for."""
    tensors = {}
    for key in RECORDED.files:
        name, _, part = key.partition("/")
        if name == case and ":" in part:
            suffix, kind = part.split(":")
            data = np.ascontiguousarray(RECORDED[key])
            tensors[f"m.{suffix}"] = FileTensor(
                f"m.{suffix}", TYPES[kind][0], data.shape, data.reshape(-1).view(np.uint8)
            )
    return json.loads(str(RECORDED[f"{case}/config"])), tensors, RECORDED[f"{case}/decoded"]


def weight(config: dict[str, Any], tensors: dict[str, FileTensor]) -> FileTensor:
    found = gathered_checkpoint(REGISTRY, Path("config.json"), {"quantization_config": config}, tensors)
    assert set(found) == {"m.weight"}
    return found["m.weight"]


def decoded(tensor: FileTensor) -> np.ndarray:
    """Its weights, f32 [N, K], the columns in their own order."""
    form = analyse(REGISTRY.format(tensor.format))
    data = tensor.data
    assert data.nbytes == tensor.nbytes == tensor.shape[0] * form.row_bytes(tensor.shape[1])
    values = form.decode(data.reshape(tensor.shape[0], -1))
    if tensor.order is None:
        return values
    result = np.empty_like(values)
    result[:, tensor.order] = values
    return result


@pytest.mark.parametrize("case", CASES)
def test_weights_are_those_of_the_schemes_own_code(case: str) -> None:
    config, tensors, wanted = recorded(case)
    found = decoded(weight(config, tensors))
    if case.startswith(("gptq", "awq", "fp8", "mxfp4")) or "_asymmetric" not in case:
        # a scale times a small integer is rounded once; NVFP4 divides its scales by that of the tensor first
        np.testing.assert_allclose(found, wanted, rtol=2**-22, atol=0)
    else:
        np.testing.assert_allclose(found, wanted, rtol=0, atol=2**-22 * np.abs(wanted).max())


def test_which_parts_say_something() -> None:
    """Zero points in the middle and groups in order are no part of the format, so kernels never see them."""
    formats = {case: weight(*recorded(case)[:2]).format for case in CASES}
    assert formats["gptq_4_32_0_1"] == "gptq_f16_4_32"
    assert formats["gptq_3_64_1_1"] == "gptq_f16_3_64+g"
    assert formats["gptq_4_64_1_0"] == "gptq_f16_4_64+z+g"
    assert formats["gptq_4_-1_0_0"] == "gptq_f16_4_all+z"
    assert formats["awq_32"] == "awq_f16_32+z"
    assert formats["pack-quantized_group"] == "ct_packed_bf16_4_1_32"
    assert formats["int-quantized_tensor"] == "ct_int_bf16_all_all"
    assert formats["fp8_e5m2_16"] == "fp8_e5m2_f32_16_64"


@pytest.mark.parametrize("case", [case for case in CASES if case.startswith("gptq")])
def test_both_conventions_of_zero_points(case: str) -> None:
    """The second layout of GPTQ stores a zero point itself, the first less one."""
    config, tensors, wanted = recorded(case)
    bits, zeros = config["bits"], tensors["m.qzeros"]
    stream = np.unpackbits(zeros.data.reshape(zeros.shape[0], -1), axis=1, bitorder="little")
    values = (stream.reshape(len(stream), -1, bits) << np.arange(bits)).sum(-1) + 1
    if values.max() == 1 << bits:
        pytest.skip("a zero point of 2^bits has no second form")
    again = (values[..., None] >> np.arange(bits) & 1).astype(np.uint8).reshape(len(stream), -1)
    raw = np.packbits(again, axis=1, bitorder="little").reshape(-1)
    tensors["m.qzeros"] = FileTensor("m.qzeros", "i32", zeros.shape, raw)
    tensor = weight({**config, "checkpoint_format": "gptq_v2"}, tensors)
    assert tensor.format.startswith("gptq_v2_")
    np.testing.assert_allclose(decoded(tensor), wanted, rtol=2**-22)


def test_one_block_beside_another_is_not_a_scale_for_each_row() -> None:
    """Rows no longer than a block: their scales are one column, as those of whole rows are."""
    random = np.random.default_rng(5)
    codes = random.integers(0, 0x7F, (96, 64)).astype(np.uint8)
    scales = random.uniform(0.5, 2, (2, 1)).astype(np.float32)
    parts = {"weight": (codes, "f8_e4m3"), "weight_scale_inv": (scales, "f32")}
    tensors = {
        f"m.{name}": FileTensor(f"m.{name}", kind, array.shape, array.reshape(-1).view(np.uint8))
        for name, (array, kind) in parts.items()
    }
    made = weight({"quant_method": "fp8", "weight_block_size": [64, 64]}, tensors)
    wanted = small_floats("e4m3")[codes] * scales.repeat(64, 0)[:96]
    np.testing.assert_array_equal(decoded(made), wanted.astype(np.float32))
