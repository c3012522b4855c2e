"""Record what the schemes' own code packs and decodes: references.npz beside this file.

Needs torch, compressed-tensors, autoawq, auto-gptq and transformers; tests read the recording alone. Of each
case stand there its quantization_config, the tensors of one module as its own packer wrote them (or, where it
has none, random ones), and the weights that its own code decodes from them, f32 [N, K].
"""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROWS, COLUMNS = 32, 192
Case = tuple[str, dict[str, Any], dict[str, torch.Tensor], torch.Tensor]
torch.manual_seed(7)


def gptq_module() -> Any:
    """auto-gptq's layer; the package itself no longer imports beside a current transformers."""
    spec = importlib.util.find_spec("auto_gptq")
    assert spec is not None and spec.origin is not None
    path = Path(spec.origin).parent / "nn_modules" / "qlinear" / "qlinear_cuda.py"
    found = importlib.util.spec_from_file_location("qlinear_cuda", path)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module.QuantLinear


def gptq() -> Iterator[Case]:
    QuantLinear = gptq_module()
    for bits, group, ordered, symmetric in (
        (2, 64, False, False), (3, 32, False, False), (3, 64, True, True), (4, 32, False, True),
        (4, 64, True, False), (4, -1, False, False), (8, 64, False, False), (8, 32, True, True),
    ):  # fmt: skip
        size = COLUMNS if group == -1 else group
        groups = torch.arange(COLUMNS) // size
        if ordered:
            groups = groups[torch.randperm(COLUMNS)]
        scales = (torch.rand(ROWS, COLUMNS // size) * 0.02 + 0.001).half().float()
        top = 2**bits - 1
        zeros = torch.randint(1, top + 1, scales.shape).float()
        if symmetric:
            zeros = torch.full(scales.shape, float(2 ** (bits - 1)))
        codes = torch.randint(0, top + 1, (ROWS, COLUMNS)).float()
        linear = torch.nn.Linear(COLUMNS, ROWS, bias=False)
        linear.weight.data = (codes - zeros[:, groups]) * scales[:, groups]
        made = QuantLinear(bits, group, COLUMNS, ROWS, False, weight_dtype=torch.float32)
        made.pack(linear, scales, zeros.clone(), groups.int())
        decoded = made(torch.eye(COLUMNS)).T
        config = {"quant_method": "gptq", "bits": bits, "group_size": group, "desc_act": ordered,
                  "sym": symmetric}  # fmt: skip
        tensors = {"qweight": made.qweight, "qzeros": made.qzeros, "scales": made.scales.half(),
                   "g_idx": made.g_idx.int()}  # fmt: skip
        yield f"gptq_{bits}_{group}_{int(ordered)}_{int(symmetric)}", config, tensors, decoded


def awq() -> Iterator[Case]:
    from awq.modules.linear.gemm import WQLinear_GEMM
    from awq.utils.packing_utils import dequantize_gemm

    for group in (32, 64):
        scales = (torch.rand(COLUMNS // group, ROWS) * 0.02 + 0.001).half()
        zeros = torch.randint(0, 16, scales.shape)
        groups = torch.arange(COLUMNS) // group
        codes = torch.randint(0, 16, (COLUMNS, ROWS))
        linear = torch.nn.Linear(COLUMNS, ROWS, bias=False).half()
        linear.weight.data = ((codes - zeros[groups]) * scales.float()[groups]).T.half()
        made = WQLinear_GEMM.from_linear(linear, 4, group, scales=scales.T.contiguous().T, zeros=zeros)
        decoded = dequantize_gemm(made.qweight, made.qzeros, made.scales.float(), 4, group).T
        config = {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True,
                  "version": "gemm", "modules_to_not_convert": None}  # fmt: skip
        yield f"awq_{group}", config, {n: getattr(made, n) for n in ("qweight", "qzeros", "scales")}, decoded


def compressed() -> Iterator[Case]:
    from compressed_tensors.compressors import BaseCompressor
    from compressed_tensors.compressors.nvfp4.helpers import unpack_fp4_from_uint8
    from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme
    from compressed_tensors.quantization.lifecycle.forward import dequantize

    group = {"strategy": "group", "group_size": 32}
    channel, tensor = {"strategy": "channel"}, {"strategy": "tensor"}
    block = {"strategy": "block", "block_structure": [16, 64]}
    int4, int8 = {"num_bits": 4, "type": "int"}, {"num_bits": 8, "type": "int"}
    cases: tuple[tuple[str, str, dict[str, Any]], ...] = (
        ("group", "pack-quantized", {**int4, **group}),
        ("group_asymmetric", "pack-quantized", {**int4, **group, "symmetric": False}),
        ("channel", "pack-quantized", {**int4, **channel}),
        ("channel_asymmetric", "pack-quantized", {**int8, **channel, "symmetric": False}),
        ("tensor", "pack-quantized", {**int8, **tensor}),
        ("channel", "int-quantized", {**int8, **channel}),
        ("channel_asymmetric", "int-quantized", {**int8, **channel, "symmetric": False}),
        ("group", "int-quantized", {**int8, **group}),
        ("tensor", "int-quantized", {**int8, **tensor}),
        ("tensor", "float-quantized", {"num_bits": 8, "type": "float", **tensor}),
        ("channel", "float-quantized", {"num_bits": 8, "type": "float", **channel}),
        ("block", "float-quantized", {"num_bits": 8, "type": "float", **block}),
        ("16", "nvfp4-pack-quantized",
         {"num_bits": 4, "type": "float", "strategy": "tensor_group", "group_size": 16}),
        ("32", "mxfp4-pack-quantized",
         {"num_bits": 4, "type": "float", "strategy": "group", "group_size": 32}),
    )  # fmt: skip
    for name, layout, settings in cases:
        arguments = QuantizationArgs(**settings)
        scheme = QuantizationScheme(targets=["Linear"], weights=arguments)
        weight = torch.randn(ROWS, COLUMNS) * 0.1
        columns = COLUMNS // settings["group_size"] if "group_size" in settings else 1
        shape: tuple[int, ...] = {"tensor": (1,), "block": (2, 3)}.get(settings["strategy"], (ROWS, columns))
        top = {"int": 2.0 ** settings["num_bits"] / 2, "float": 448.0 if settings["num_bits"] == 8 else 6.0}
        scales = (torch.rand(shape) * 0.5 + 0.75) * 0.25 / top[settings["type"]]
        state: dict[str, torch.Tensor] = {"weight": weight, "weight_scale": scales.bfloat16().float()}
        if layout.startswith("nvfp4"):
            state["weight_global_scale"] = torch.tensor([1500.0])
            state["weight_scale"] = (scales * 1500).to(torch.float8_e4m3fn).float()
        if layout.startswith("mxfp4"):
            state["weight_scale"] = torch.exp2(torch.randint(-7, -3, shape).float())
        if not settings.get("symmetric", True):
            half = 2 ** (settings["num_bits"] - 1)
            state["weight_zero_point"] = torch.randint(-half, half, shape, dtype=torch.int8)
        compressor = BaseCompressor.get_value_from_registry(layout)
        packed = compressor.compress(state, scheme)
        if layout.startswith("nvfp4"):  # its decompress does the same, in bf16
            codes = unpack_fp4_from_uint8(packed["weight_packed"], ROWS, COLUMNS, torch.float32)
            decoded = dequantize(x_q=codes, scale=packed["weight_scale"].float(), args=arguments,
                                 global_scale=packed["weight_global_scale"], dtype=torch.float32)  # fmt: skip
        else:
            decoded = compressor.decompress(packed, scheme)["weight"].float()
        if packed["weight_scale"].dtype == torch.float32:  # a type that checkpoints have, and exact
            packed["weight_scale"] = packed["weight_scale"].bfloat16()
        config = {"quant_method": "compressed-tensors", "format": layout, "ignore": ["lm_head"],
                  "config_groups": {"group_0": {"targets": ["Linear"], "weights": settings}}}  # fmt: skip
        yield f"{layout}_{name}", config, packed, decoded


def fp8() -> Iterator[Case]:
    from transformers.integrations.finegrained_fp8 import Fp8Dequantize

    for kind, rows, columns in (("e4m3fn", 16, 64), ("e5m2", 16, 64), ("e4m3fn", ROWS, COLUMNS)):
        weight = (torch.randn(ROWS, COLUMNS) * 20).to(getattr(torch, f"float8_{kind}"))
        scales = torch.rand(ROWS // rows, COLUMNS // columns) * 0.01 + 0.001
        decoded = Fp8Dequantize(None)._dequantize_one(weight, scales, torch.float32)
        config = {"quant_method": "fp8", "activation_scheme": "dynamic", "weight_block_size": [rows, columns],
                  "modules_to_not_convert": ["lm_head"]}  # fmt: skip
        yield f"fp8_{kind}_{rows}", config, {"weight": weight, "weight_scale_inv": scales}, decoded


KINDS = {
    torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int32: "I32",
    torch.int64: "I64", torch.int8: "I8", torch.uint8: "U8", torch.float8_e4m3fn: "F8_E4M3",
    torch.float8_e5m2: "F8_E5M2",
}  # fmt: skip


def record() -> None:
    found: dict[str, np.ndarray] = {}
    for case in (gptq, awq, compressed, fp8):
        for name, config, tensors, decoded in case():
            found[f"{name}/config"] = np.array(json.dumps(config))
            found[f"{name}/decoded"] = decoded.detach().numpy().astype(np.float32)
            for suffix, tensor in tensors.items():
                tensor = tensor.detach().contiguous()
                size = tensor.element_size()
                raw = tensor.reshape(-1).view(torch.uint8).numpy().view(f"u{size}").reshape(tensor.shape)
                found[f"{name}/{suffix}:{KINDS[tensor.dtype]}"] = raw
            print(name, decoded.shape)
    np.savez_compressed(Path(__file__).with_name("references.npz"), **found)


if __name__ == "__main__":
    record()
