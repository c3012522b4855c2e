"""Quantized checkpoint directories by hand: random codes and scales, packed as each scheme packs them.

Everything here is written from the schemes' definitions and shares nothing with the reader.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from kit import checkpoints

Arrays = dict[str, tuple[np.ndarray, str]]  # by the last part of the name: bits, and the type in the header
AWQ_ORDER = [0, 2, 4, 6, 1, 3, 5, 7]
E2M1 = np.array([0, 0.5, 1, 1.5, 2, 3, 4, 6, -0.0, -0.5, -1, -1.5, -2, -3, -4, -6], np.float32)


@dataclass(frozen=True)
class Scheme:
    """A config, and what makes the tensors of one weight [N, K] and the f32 numbers that they stand for."""

    config: Mapping[str, Any]
    make: Callable[[np.random.Generator, int, int], tuple[Arrays, np.ndarray]]
    whole: bool = field(default=False)  # one scale for all columns


def words(values: np.ndarray, bits: int) -> np.ndarray:
    """Integers along the last axis as i32 words, lowest bits first, without gaps."""
    stream = (values[..., None] >> np.arange(bits) & 1).astype(np.uint8).reshape(*values.shape[:-1], -1)
    return np.packbits(stream, axis=-1, bitorder="little").view("<i4")


def halves(random: np.random.Generator, shape: tuple[int, ...], size: float) -> np.ndarray:
    return (random.uniform(0.5, 1.5, shape) * size).astype(np.float16)


def e4m3(codes: np.ndarray) -> np.ndarray:
    """OCP's 8-bit floats with 4 bits of exponent."""
    exponent, mantissa = codes >> 3 & 15, codes & 7
    size = np.where(exponent > 0, (8 + mantissa) * 2.0 ** (exponent.astype(int) - 10), mantissa * 2.0**-9)
    return np.where(codes & 128, -size, size).astype(np.float32)


def gptq(
    bits: int, group: int, ordered: bool = False, symmetric: bool = False, second: bool = False,
    alike: bool = False,
) -> Scheme:  # fmt: skip
    """alike: columns of all weights are in one order, as those are that read the same activations"""

    def make(random: np.random.Generator, n: int, k: int) -> tuple[Arrays, np.ndarray]:
        size = k if group == -1 else group
        groups = np.arange(k) // size
        shuffling = np.random.default_rng(k) if alike else random
        groups = shuffling.permutation(groups) if ordered else groups
        codes = random.integers(0, 1 << bits, (n, k))
        zeros = random.integers(1, 1 << bits, (n, k // size))
        zeros = np.full_like(zeros, 1 << bits - 1) if symmetric else zeros
        scales = halves(random, (n, k // size), 0.5 / (1 << bits))
        weight = scales.astype(np.float32)[:, groups] * (codes - zeros[:, groups]).astype(np.float32)
        arrays = {
            "qweight": (words(codes, bits).T, "I32"),
            "qzeros": (words(zeros.T - (not second), bits), "I32"),
            "scales": (scales.T, "F16"),
            "g_idx": (groups.astype("<i4"), "I32"),
        }
        return arrays, weight

    config = {
        "quant_method": "gptq",
        "bits": bits,
        "group_size": group,
        "desc_act": ordered,
        "sym": symmetric,
    }
    return Scheme(config | ({"checkpoint_format": "gptq_v2"} if second else {}), make, group == -1)


def awq(group: int) -> Scheme:
    def packed(values: np.ndarray) -> np.ndarray:
        return words(values.reshape(len(values), -1, 8)[..., AWQ_ORDER].reshape(values.shape), 4)

    def make(random: np.random.Generator, n: int, k: int) -> tuple[Arrays, np.ndarray]:
        codes, zeros = random.integers(0, 16, (k, n)), random.integers(0, 16, (k // group, n))
        scales = halves(random, (k // group, n), 0.03)
        centered = (codes - zeros.repeat(group, 0)).astype(np.float32)
        weight = (scales.astype(np.float32).repeat(group, 0) * centered).T
        return {
            "qweight": (packed(codes), "I32"),
            "qzeros": (packed(zeros), "I32"),
            "scales": (scales, "F16"),
        }, weight

    return Scheme(
        {"quant_method": "awq", "bits": 4, "group_size": group, "zero_point": True, "version": "gemm"}, make
    )


def _compressed(layout: str, make: Callable[..., tuple[Arrays, np.ndarray]], **weights: Any) -> Scheme:
    groups = {"group_0": {"targets": ["Linear"], "weights": weights}}
    config = {
        "quant_method": "compressed-tensors",
        "format": layout,
        "ignore": ["lm_head"],
        "config_groups": groups,
    }
    return Scheme(config, make)


def packed_integers(symmetric: bool) -> Scheme:
    def make(random: np.random.Generator, n: int, k: int) -> tuple[Arrays, np.ndarray]:
        codes, zeros = random.integers(-8, 8, (n, k)), random.integers(-8, 8, (n, k // 32))
        scales = halves(random, (n, k // 32), 0.03)
        zeros = zeros * 0 if symmetric else zeros
        weight = scales.astype(np.float32).repeat(32, 1) * (codes - zeros.repeat(32, 1)).astype(np.float32)
        arrays: Arrays = {
            "weight_packed": (words(codes + 8, 4), "I32"),
            "weight_scale": (scales, "F16"),
            "weight_shape": (np.array([n, k], np.int64), "I64"),
        }
        return arrays | (
            {} if symmetric else {"weight_zero_point": (words((zeros + 8).T, 4).T, "I32")}
        ), weight

    return _compressed("pack-quantized", make, num_bits=4, type="int", symmetric=symmetric, strategy="group",
                       group_size=32)  # fmt: skip


def int8(strategy: str) -> Scheme:
    def make(random: np.random.Generator, n: int, k: int) -> tuple[Arrays, np.ndarray]:
        codes = random.integers(-128, 128, (n, k)).astype(np.int8)
        scales = halves(random, (n, 1) if strategy == "channel" else (1,), 0.002).astype(np.float32)
        weight = scales * codes.astype(np.float32)
        return {"weight": (codes, "I8"), "weight_scale": (scales, "F32")}, weight

    return _compressed("int-quantized", make, num_bits=8, type="int", symmetric=True, strategy=strategy)


def float8(strategy: str) -> Scheme:
    """`strategy` "block" is FP8 with blocks of 32 x 32, others compressed-tensors."""

    def make(random: np.random.Generator, n: int, k: int) -> tuple[Arrays, np.ndarray]:
        codes = random.integers(0, 256, (n, k)).astype(np.uint8)
        codes = np.where(codes & 0x7F == 0x7F, 0x11, codes).astype(np.uint8)
        shape: tuple[int, ...] = {"channel": (n, 1), "tensor": (1,)}.get(strategy, (-(-n // 32), k // 32))
        scales = random.uniform(0.0005, 0.002, shape).astype(np.float32)
        spread = scales if strategy != "block" else scales.repeat(32, 0)[:n].repeat(32, 1)
        name = "weight_scale_inv" if strategy == "block" else "weight_scale"
        return {"weight": (codes, "F8_E4M3"), name: (scales, "F32")}, spread * e4m3(codes)

    if strategy == "block":
        return Scheme(
            {"quant_method": "fp8", "weight_block_size": [32, 32], "activation_scheme": "dynamic"}, make
        )
    return _compressed("float-quantized", make, num_bits=8, type="float", symmetric=True, strategy=strategy)


def float4(micro: bool) -> Scheme:
    """MXFP4 (`micro`), or NVFP4."""
    group = 32 if micro else 16

    def make(random: np.random.Generator, n: int, k: int) -> tuple[Arrays, np.ndarray]:
        codes = random.integers(0, 16, (n, k))
        packed = (codes[:, ::2] | codes[:, 1::2] << 4).astype(np.uint8)
        arrays: Arrays = {"weight_packed": (packed, "U8")}
        if micro:
            stored = random.integers(120, 124, (n, k // group)).astype(np.uint8)
            scales = np.exp2(stored.astype(np.float32) - 127)
            arrays["weight_scale"] = (stored, "U8")
        else:
            stored = random.integers(0x40, 0x70, (n, k // group)).astype(np.uint8)
            whole = np.array([900.0], np.float32)
            scales = e4m3(stored) / whole
            arrays |= {"weight_scale": (stored, "F8_E4M3"), "weight_global_scale": (whole, "F32")}
        return arrays, scales.repeat(group, 1) * E2M1[codes]

    layout = "mxfp4-pack-quantized" if micro else "nvfp4-pack-quantized"
    return _compressed(layout, make, num_bits=4, type="float", symmetric=True, group_size=group,
                       strategy="group" if micro else "tensor_group")  # fmt: skip


SCHEMES: dict[str, Scheme] = {
    "gptq_2": gptq(2, 32), "gptq_3_ordered": gptq(3, 32, ordered=True),
    "gptq_4_symmetric": gptq(4, 32, symmetric=True), "gptq_4_ordered": gptq(4, 32, ordered=True),
    "gptq_4_alike": gptq(4, 32, ordered=True, alike=True), "gptq_4_rows": gptq(4, -1),
    "gptq_8_v2": gptq(8, 32, second=True),
    "awq": awq(32), "packed": packed_integers(True), "packed_asymmetric": packed_integers(False),
    "int8_channel": int8("channel"), "int8_tensor": int8("tensor"), "fp8_block": float8("block"),
    "fp8_channel": float8("channel"), "fp8_tensor": float8("tensor"), "nvfp4": float4(False),
    "mxfp4": float4(True),
}  # fmt: skip


def quantized(
    arrays: Mapping[str, np.ndarray], scheme: Scheme, seed: int = 4
) -> tuple[Arrays, dict[str, np.ndarray]]:
    """A checkpoint's tensors with its projections quantized, and all weights as f32 numbers."""
    random = np.random.default_rng(seed)
    stored: Arrays = {}
    plain = dict(arrays)
    for name, array in arrays.items():
        if not name.endswith("_proj.weight"):
            stored[name] = (array, "F32")
            continue
        parts, plain[name] = scheme.make(random, *array.shape)
        stored |= {f"{name.removesuffix('weight')}{suffix}": part for suffix, part in parts.items()}
    return stored, plain


def write(directory: Path, kind: str, stored: Arrays, config: Mapping[str, Any] | None) -> Path:
    """A whole checkpoint directory with these tensors."""
    changes = {} if config is None else {"quantization_config": dict(config)}
    checkpoints.write(directory, kind, **changes)
    arrays = {name: np.ascontiguousarray(array) for name, (array, _) in stored.items()}
    data = checkpoints.safetensors(arrays, {name: part_kind for name, (_, part_kind) in stored.items()})
    (directory / "model.safetensors").write_bytes(data)
    assert json.loads((directory / "config.json").read_text())["model_type"] == kind
    return directory
