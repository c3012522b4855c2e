"""A model from its page to numbers: what lowering gives, that fusion keeps it, that decode equals prefill."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from kit.oracle import Oracle, call

from lumen_core.dsl import configure, load
from lumen_core.errors import ModelError, UnsupportedFormatError
from lumen_core.ir import Module, parse_module, print_module, verify
from lumen_core.lower import lower_model, lower_step
from lumen_core.passes.pipeline import run
from lumen_core.quant.analyse import analyse

MODULE = load(Path(__file__).with_name("tiny.lum"))
TINY = MODULE.models["tiny"]
FORMATS = {name: analyse(declaration) for name, declaration in MODULE.formats.items()}
METADATA = {
    "width": 256, "heads": 8, "groups": 2, "inner": 512, "vocabulary": 40, "rotated": 24, "epsilon": 1e-5,
}  # fmt: skip
CONFIG = configure(TINY, METADATA.get)
MATRICES = [
    weight.name
    for weight in [*TINY.weights.values(), *TINY.layer_weights.values()]
    if weight.type.element.startswith("weight<")
]
MIXED = {name: ("wide", "byte", "f32")[place % 3] for place, name in enumerate(MATRICES)}


def lowered(formats: dict[str, str]) -> Module:
    return lower_model(MODULE, TINY, CONFIG, formats, FORMATS)


def uniform(element: str) -> dict[str, str]:
    return dict.fromkeys(MATRICES, element)


def array_for(argument, random: np.random.Generator) -> np.ndarray:
    """Return random values of a sane scale; for a format, bytes with a small scale in front of each block."""
    element, shape = argument.type.element, [size.value for size in argument.type.shape]
    if element == "f32":
        values = random.standard_normal(shape) / np.sqrt(shape[-1]) + (len(shape) == 1)
        return values.astype(np.float32)
    form = FORMATS[element]
    blocks = random.integers(0, 256, (shape[0], shape[1] // form.block, form.block_bytes), np.uint8)
    scale = {"byte": 5e-4, "wide": 5e-5}[element]
    blocks[..., :2] = np.float16(scale).reshape(1).view(np.uint8)
    return blocks.reshape(shape[0], -1)


def model(module: Module, layers: int = 2, seed: int = 3) -> Oracle:
    random = np.random.default_rng(seed)
    inputs = {"x", "positions", "ids", "keys", "values"}

    def arrays(name: str) -> dict[str, np.ndarray]:
        wanted = [argument for argument in module[name].arguments if argument.name not in inputs]
        return {argument.name: array_for(argument, random) for argument in wanted}

    weights = {**arrays("embed"), **arrays("head")}
    layer_arrays = [arrays("block") for _ in range(layers)]
    weights["rope_freqs"] = layer_arrays[0]["rope_freqs"]
    layer_arrays = [{k: v for k, v in each.items() if k != "rope_freqs"} for each in layer_arrays]
    blocks = [module["block"]] * layers
    return Oracle(module["embed"], blocks, module["head"], weights, layer_arrays, FORMATS)


def kinds(module: Module, name: str) -> list[str]:
    return [
        f"{operation.attributes['space']}: {' '.join(inner.name for inner in operation.region.operations)}"
        if operation.region
        else operation.name
        for operation in module[name].operations
    ]


def test_lowering_gives_the_explicit_steps():
    module = lowered(uniform("byte"))
    verify(module)
    names = [operation.name for operation in module["block"].operations]
    assert names.count("unpack") == names.count("quantize") == names.count("matmul") == 7
    assert not [name for name in names if name.startswith("fused")]
    assert [operation.name for operation in module["embed"].operations] == ["unpack", "dequantize", "rows"]
    assert parse_module(print_module(module)) == module


def test_arguments_are_parameters_weights_and_caches():
    names = [argument.name for argument in lowered(MIXED)["block"].arguments]
    assert names == ["x", "positions", *TINY.layer_weights, "rope_freqs", "keys", "values"]
    assert [argument.name for argument in lowered(MIXED)["head"].arguments] == ["x", "output_norm", "output"]


def test_fused_block_has_the_steps_of_the_schedule():
    norm = "mul mean constant add rsqrt mul mul"
    fused = run(lowered(uniform("byte")))
    assert kinds(fused, "block") == [
        f"token: {norm} quantize",
        "fused_matmul",
        "fused_matmul",
        "fused_matmul",
        "head: reshape reshape add rope",
        f"head: reshape {norm} rope append",
        "head: reshape reshape add append",
        "attention",
        "token: reshape quantize",
        "fused_matmul",
        f"token: {norm} quantize",
        "fused_matmul",
        "fused_matmul",
        "token: silu mul quantize",
        "fused_matmul",
    ]
    assert kinds(fused, "embed") == ["fused_rows"]
    assert kinds(fused, "head") == [f"token: {norm} quantize", "fused_matmul"]
    residuals = [operation for operation in fused["block"].operations if len(operation.operands) == 3]
    assert [operation.name for operation in residuals if operation.name != "rowwise"] == [
        "attention", "fused_matmul", "fused_matmul",
    ]  # fmt: skip


def test_fusion_shares_one_quantization_per_activation_format():
    fused = run(lowered({**uniform("byte"), "attn_k": "wide", "attn_v": "f32"}))
    first = fused["block"].operations[0]
    assert sorted(value.type.element for value in first.results) == ["f32", "i8g256", "i8g32"]


def test_activations_of_plain_weights_stay_f32():
    fused = run(lowered(uniform("f32")))
    quantized = [line for line in print_module(fused).splitlines() if " = quantize " in line]
    assert quantized
    assert all('{activation = "f32"} : tensor<f32, ' in line for line in quantized)


@pytest.mark.parametrize("formats", [uniform("byte"), uniform("wide"), uniform("f32"), MIXED], ids=str)
def test_fusion_keeps_the_logits(formats):
    module = lowered(formats)
    ids = [1, 5, 2, 39]
    np.testing.assert_array_equal(model(module).step(ids), model(run(module)).step(ids))


@pytest.mark.parametrize("element", ["f32", "byte"])
def test_prefill_equals_repeated_decode(element):
    module = run(lowered(uniform(element)))
    ids = [3, 1, 4, 1, 5]
    whole, single, chunks = model(module), model(module), model(module)
    expected = whole.step(ids)
    assert expected.std() > 0.1
    # a code may round the other way where sums are taken in another order
    tolerance = 1e-4 if element == "f32" else 0.05
    np.testing.assert_allclose(np.concatenate([single.step([i]) for i in ids]), expected, atol=tolerance)
    np.testing.assert_allclose(
        np.concatenate([chunks.step(ids[:2]), chunks.step(ids[2:])]), expected, atol=tolerance
    )
    assert [cache["keys"].shape for cache in whole.state] == [(5, 2, 32)] * 2


def test_later_tokens_change_nothing_before():
    module = run(lowered(uniform("f32")))
    one, other = model(module).step([3, 1, 4]), model(module).step([3, 1, 7])
    np.testing.assert_array_equal(one[:2], other[:2])
    assert not np.array_equal(one[2], other[2])


def test_block_against_plain_numpy():
    """The block once more, as a reader of the page would write it."""
    module = lowered(uniform("f32"))
    oracle = model(module)
    w, ones = {**oracle.weights, **oracle.layers[0]}, np.ones(12, np.float32)
    random = np.random.default_rng(5)
    x = random.standard_normal((3, 256)).astype(np.float32)
    arrays = {**w, **oracle.state[0], "x": x, "positions": np.arange(3), "rope_freqs": ones}
    found = call(module["block"], arrays, FORMATS)[0]

    def norm(x, weight):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weight

    def rope(x):
        out = x.copy()
        angles = np.arange(3)[:, None, None] * 10000.0 ** (-np.arange(12) / 12)
        out[..., :12] = x[..., :12] * np.cos(angles) - x[..., 12:24] * np.sin(angles)
        out[..., 12:24] = x[..., :12] * np.sin(angles) + x[..., 12:24] * np.cos(angles)
        return out

    h = norm(x, w["attn_norm"])
    q = rope((h @ w["attn_q"].T + w["attn_q_bias"]).reshape(3, 8, 32))
    k = (
        rope(norm((h @ w["attn_k"].T).reshape(3, 2, 32), w["attn_k_norm"]))
        .astype(np.float16)
        .astype(np.float32)
    )
    v = (h @ w["attn_v"].T + w["attn_v_bias"]).reshape(3, 2, 32).astype(np.float16).astype(np.float32)
    scores = np.einsum("tge,sge->gts", q, np.repeat(k, 4, 1)) / np.sqrt(32)
    scores[:, np.triu(np.ones((3, 3), bool), 1)] = -np.inf
    weights = np.exp(scores) / np.exp(scores).sum(-1, keepdims=True)
    attended = np.einsum("gts,sge->tge", weights, np.repeat(v, 4, 1)).reshape(3, 256)
    x = x + attended @ w["attn_output"].T
    h = norm(x, w["ffn_norm"])
    gate, up = h @ w["ffn_gate"].T, h @ w["ffn_up"].T
    x = x + (gate / (1 + np.exp(-gate)) * up) @ w["ffn_down"].T
    np.testing.assert_allclose(found, x, rtol=2e-3, atol=2e-3)


def test_a_block_per_combination_of_formats():
    one = lower_step(MODULE, TINY, "block", CONFIG, uniform("byte"), FORMATS)
    other = lower_step(MODULE, TINY, "block", CONFIG, MIXED, FORMATS)
    assert one == lowered(uniform("byte"))["block"]
    assert one != other


def test_missing_facts_are_named():
    with pytest.raises(ModelError, match="format of the weight attn_q"):
        lowered({name: element for name, element in MIXED.items() if name != "attn_q"})
    with pytest.raises(UnsupportedFormatError, match="no installed package declares the format q9_z"):
        lowered({**MIXED, "attn_q": "q9_z"})
    with pytest.raises(ModelError, match="size D"):
        lower_model(MODULE, TINY, {"eps": 1e-5}, MIXED, FORMATS)
