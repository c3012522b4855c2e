"""The tiny models as checkpoint directories, with the names and settings that their authors publish.

In: a case of kit/tiny_models.py. Out: a directory with config.json, model.safetensors and tokenizer.json.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from kit import checkpoints
from kit import tiny_models as tiny

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
    "llama": ("", {}),
    "llama-llama3": ("llama3", {}),
    "llama-yarn": ("yarn", {}),
    "llama-linear": ("linear", {}),
    "exaone": ("llama3", {}),
    "qwen2": ("", {}),
    "qwen3": ("", {}),
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


def write(
    case: tiny.Tiny, directory: Path, together: bool = False, more: Mapping[str, np.ndarray] | None = None
) -> Path:
    """Write a case as its authors would publish it, with more tensors if given.

    together  all experts of a layer in one tensor
    """
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
    checkpoints.write_weights(directory, {**arrays, **(more or {})})
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
