"""Checkpoint directories of every architecture: the recorded logits, and the same file after conversion."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from kit import checkpoints
from kit import tiny_models as tiny

import lumen_core as lumen
from lumen_core.engine.binding import bind, load_page
from lumen_core.engine.convert import convert
from lumen_core.engine.sources import open_model
from lumen_core.errors import LumenError
from lumen_core.plugins.registry import Registry

RECORDED = np.load(Path(__file__).with_name("references.npz"))
_SCALING: dict[str, dict[str, Any]] = {
    "llama3": {
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": tiny.TRAINED,
    },
    "yarn": {"original_max_position_embeddings": tiny.TRAINED},
    "linear": {},
}
_WINDOWS = ["sliding_attention"] * 3 + ["full_attention"]
_MIXTURE = {"num_experts_per_tok": tiny.CHOSEN, "moe_intermediate_size": tiny.EXPERT_INNER}
_SIGMOID = {
    **_MIXTURE, "norm_topk_prob": True, "routed_scaling_factor": 1.5, "n_group": 1, "topk_group": 1,
}  # fmt: skip
# case -> kind of scaling, what its config says besides
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama-yarn": ("yarn", {}),
    "llama-linear": ("linear", {}),
    "exaone": ("llama3", {}),
    "qwen3-yarn": ("yarn", {}),
    "exaone4": ("llama3", {"sliding_window": tiny.WINDOW, "layer_types": _WINDOWS}),
    "exaone4-full": ("llama3", {"sliding_window": None, "layer_types": ["full_attention"] * 2}),
    "hyperclovax": ("", {"embedding_multiplier": 3.0, "attention_multiplier": 0.125,
                         "residual_multiplier": 0.75, "logits_scaling": 0.25, "use_post_norm": True}),
    "qwen3moe": ("", {"model_type": "qwen3_moe", "num_experts": tiny.EXPERTS, "norm_topk_prob": True,
                      "decoder_sparse_step": 1, "mlp_only_layers": [], **_MIXTURE}),
    "exaone-moe": ("", {"model_type": "exaone_moe", "num_experts": tiny.EXPERTS, "num_shared_experts": 1,
                        "sliding_window": tiny.WINDOW, "layer_types": _WINDOWS,
                        "mlp_layer_types": ["dense", "sparse", "sparse", "sparse"], **_SIGMOID}),
    "solar-open": ("yarn", {"model_type": "solar_open", "n_routed_experts": tiny.EXPERTS,
                            "n_shared_experts": 1, **_SIGMOID}),
    "glm4moe": ("", {"model_type": "glm4_moe", "n_routed_experts": tiny.EXPERTS, "n_shared_experts": 1,
                     "partial_rotary_factor": 0.5, "first_k_dense_replace": 1, **_SIGMOID,
                     "n_group": 4, "topk_group": 2}),
}  # fmt: skip
_PLAIN = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "token_embd": "model.embed_tokens",
    "output_norm": "model.norm", "output": "lm_head", "ffn_gate_inp": "mlp.gate",
    "exp_probs_b": "mlp.e_score_correction", "ffn_gate_shexp": "mlp.shared_experts.gate_proj",
    "ffn_up_shexp": "mlp.shared_experts.up_proj", "ffn_down_shexp": "mlp.shared_experts.down_proj",
}  # fmt: skip
_NAMES = {
    "glm4moe": {**_PLAIN, "post_attention_norm": "post_attention_layernorm"},
    "exaone4": {**_PLAIN, "post_attention_norm": "post_attention_layernorm",
                "post_ffw_norm": "post_feedforward_layernorm"},
    "hyperclovax": {**_PLAIN, "post_attention_norm": "post_norm1", "post_ffw_norm": "post_norm2"},
    "exaone": {
        "attn_norm": "ln_1", "attn_q": "attn.attention.q_proj", "attn_k": "attn.attention.k_proj",
        "attn_v": "attn.attention.v_proj", "attn_output": "attn.attention.out_proj", "ffn_norm": "ln_2",
        "ffn_gate": "mlp.c_fc_0", "ffn_up": "mlp.c_fc_1", "ffn_down": "mlp.c_proj",
        "token_embd": "transformer.wte", "output_norm": "transformer.ln_f", "output": "lm_head",
    },
}  # fmt: skip


def experts(arrays: dict[str, np.ndarray], layer: str, together: bool) -> dict[str, np.ndarray]:
    """The matrices of a layer's experts, taken out of `arrays`: one by one or in one tensor for all."""
    stacks = {name: arrays.pop(f"blk.{layer}.ffn_{name}_exps.weight") for name in ("gate", "up", "down")}
    mlp = f"model.layers.{layer}.mlp.experts"
    if together:
        both = np.concatenate([stacks["gate"], stacks["up"]], axis=1)
        return {f"{mlp}.gate_up_proj": both, f"{mlp}.down_proj": stacks["down"]}
    return {
        f"{mlp}.{number}.{name}_proj.weight": matrix
        for name, stack in stacks.items()
        for number, matrix in enumerate(stack)
    }


def write(case: tiny.Tiny, directory: Path, together: bool = False) -> Path:
    """Write a case as its authors would publish it; `together`: all experts of a layer in one tensor."""
    names = _NAMES.get(case.architecture, _PLAIN)
    layers = "transformer.h" if case.architecture == "exaone" else "model.layers"
    given, arrays = tiny.tensors(case), {}
    for layer in map(str, range(case.layers)):
        if f"blk.{layer}.ffn_gate_exps.weight" in given:
            arrays |= experts(given, layer, together)
    for ours, array in given.items():
        parts = ours.split(".")
        if parts[0] == "blk":
            theirs = f"{layers}.{parts[1]}.{names[parts[2]]}.{parts[3]}".replace("tion.bias", "tion_bias")
        else:
            theirs = f"{names[parts[0]]}.weight"
        arrays[theirs] = array
    checkpoints.write_weights(directory, arrays)
    kind, more = CASES[case.name]
    scaling = {"rope_type": kind, "factor": 8.0, **_SCALING[kind]} if kind else {"rope_type": "default"}
    settings = {
        "model_type": case.architecture, "hidden_size": tiny.WIDTH, "num_attention_heads": tiny.HEADS,
        "num_key_value_heads": tiny.GROUPS, "head_dim": tiny.HEAD, "intermediate_size": tiny.INNER,
        "vocab_size": tiny.VOCABULARY, "rms_norm_eps": tiny.EPSILON, "num_hidden_layers": case.layers,
        "max_position_embeddings": 1024, "eos_token_id": 0, "tie_word_embeddings": False,
        "rope_parameters": {"rope_theta": tiny.THETA, **scaling}, **more,
    }  # fmt: skip
    if case.architecture == "exaone":
        settings["num_layers"] = settings.pop("num_hidden_layers")
        settings["layer_norm_epsilon"] = settings.pop("rms_norm_eps")
    (directory / "config.json").write_text(json.dumps(settings))
    words = checkpoints.tokenizer_json()
    vocabulary = {chr(0x100 + number): number for number in range(tiny.VOCABULARY)}
    words |= {"added_tokens": [], "model": {"type": "BPE", "vocab": vocabulary, "merges": []}}
    (directory / "tokenizer.json").write_text(json.dumps(words))
    return directory


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
