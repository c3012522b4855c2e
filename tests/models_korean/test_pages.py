"""The model pages on the interpreter: decode equals prefill, and the numbers are those of `transformers`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from kit.forms import form
from kit.oracle import Oracle

import lumen_models_korean
from lumen_core.dsl import configure, load
from lumen_core.lower import lower_model
from lumen_core.passes.pipeline import run

PAGES = Path(lumen_models_korean.__file__).parent
FORMATS = {"f32": form("f32")}
HEADS, GROUPS, HEAD, WIDTH, INNER, VOCABULARY, LAYERS = 4, 2, 16, 64, 96, 50, 2
METADATA = {
    "embedding_length": WIDTH, "block_count": LAYERS, "attention.head_count": HEADS,
    "attention.head_count_kv": GROUPS, "attention.key_length": HEAD, "feed_forward_length": INNER,
    "vocab_size": VOCABULARY, "attention.layer_norm_rms_epsilon": 1e-6, "rope.dimension_count": HEAD,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """A page, the class of transformers that it equals, and whether GGUF stores its heads interleaved."""

    name: str
    reference: str
    interleaved: bool = False


CASES = [Case("qwen3", "Qwen3"), Case("qwen2", "Qwen2"), Case("llama", "Llama", interleaved=True)]
EVERY = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def oracle(name: str, arrays: Mapping[str, np.ndarray] | None = None, theta: float = 10000.0) -> Oracle:
    """Return a page on the interpreter, with arrays by tensor name or random ones."""
    module = load(PAGES / f"{name}.lum")
    model = module.models[name]
    every = {**model.weights, **model.layer_weights}
    formats = {weight.name: "f32" for weight in every.values() if weight.type.element != "f32"}
    config = configure(model, {**METADATA, "rope.freq_base": theta}.get)
    lowered = run(lower_model(module, model, config, formats, FORMATS))
    types = {argument.name: argument.type for function in lowered for argument in function.arguments}
    random = np.random.default_rng(11)

    def array(tensor: str, weight: str) -> np.ndarray:
        if arrays is not None:
            return arrays[tensor]
        shape = types[weight].sizes
        return (random.standard_normal(shape) * 0.15 + (len(shape) == 1)).astype(np.float32)

    def all_of(weights, layer: int = 0) -> dict[str, np.ndarray]:
        return {w.name: array(w.tensor.format(layer=layer), w.name) for w in weights.values()}

    own = {key: weight for key, weight in model.weights.items() if key != "rope_freqs"}
    weights = {**all_of(own), "rope_freqs": np.ones(HEAD // 2, np.float32)}
    layers = [all_of(model.layer_weights, layer) for layer in range(LAYERS)]
    blocks = [lowered["block"]] * LAYERS
    return Oracle(lowered["embed"], blocks, lowered["head"], weights, layers, FORMATS, tuple(model.caches))


@EVERY
def test_prefill_equals_repeated_decode(case):
    ids = [1, 7, 3, 3, 9, 20]
    whole, single = oracle(case.name), oracle(case.name)
    by_one = np.concatenate([single.step([token]) for token in ids])
    np.testing.assert_allclose(by_one, whole.step(ids), atol=1e-4)


TENSORS = {
    "input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm",
    "self_attn.k_norm": "attn_k_norm", "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def interleaved(weight: np.ndarray, heads: int) -> np.ndarray:
    """Return the rows of a projection with each head's halves dealt in turn, as GGUF stores llama's."""
    return weight.reshape(heads, 2, -1, *weight.shape[1:]).swapaxes(1, 2).reshape(weight.shape)


def as_gguf(state: Mapping[str, np.ndarray], case: Case) -> dict[str, np.ndarray]:
    """Return a transformers state under the names that GGUF gives it."""
    found = {
        "token_embd.weight": state["model.embed_tokens.weight"],
        "output_norm.weight": state["model.norm.weight"],
        "output.weight": state["lm_head.weight"],
    }
    for name, value in state.items():
        if not name.startswith("model.layers."):
            continue
        _, _, layer, rest = name.split(".", 3)
        module, kind = rest.rsplit(".", 1)
        if case.interleaved and module[-6:] in ("q_proj", "k_proj"):
            value = interleaved(value, HEADS if module.endswith("q_proj") else GROUPS)
        found[f"blk.{layer}.{TENSORS[module]}.{kind}"] = value
    return found


@pytest.mark.slow
@EVERY
def test_logits_are_those_of_transformers(case):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = getattr(transformers, f"{case.reference}Config")(
        hidden_size=WIDTH, num_attention_heads=HEADS, num_key_value_heads=GROUPS, head_dim=HEAD,
        intermediate_size=INNER, vocab_size=VOCABULARY, num_hidden_layers=LAYERS, rms_norm_eps=1e-6,
        tie_word_embeddings=False, max_position_embeddings=128,
    )  # fmt: skip
    reference = getattr(transformers, f"{case.reference}ForCausalLM")(config).eval().float()
    ids = [1, 7, 3, 3, 9, 20]
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.normal_(float(parameter.dim() == 1), 0.15)
        expected = reference(torch.tensor([ids])).logits[0].numpy()
    state = {name: value.numpy() for name, value in reference.state_dict().items()}
    found = oracle(case.name, as_gguf(state, case)).step(ids)
    # the cache holds f16
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()
