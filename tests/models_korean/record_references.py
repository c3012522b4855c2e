"""Record what `transformers` says to the tiny models of kit/tiny_models.py: run by hand, needs torch.

    python tests/models_korean/record_references.py

Writes references.npz beside this file: per case the logits, f32 [positions, V], of `RECORDED` positions.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

sys.path.insert(0, str(Path(__file__).parent.parent))

from kit import tiny_models as tiny

_PLAIN = {"rope_type": "default", "rope_theta": tiny.THETA}
_LLAMA3 = {
    "rope_type": "llama3", "rope_theta": tiny.THETA, "factor": 8.0, "low_freq_factor": 1.0,
    "high_freq_factor": 4.0, "original_max_position_embeddings": tiny.TRAINED,
}  # fmt: skip
_YARN = {
    "rope_type": "yarn", "rope_theta": tiny.THETA, "factor": 8.0,
    "original_max_position_embeddings": tiny.TRAINED,
}  # fmt: skip
_LINEAR = {"rope_type": "linear", "rope_theta": tiny.THETA, "factor": 8.0}
_MIXTURE = {
    "num_experts": tiny.EXPERTS, "num_experts_per_tok": tiny.CHOSEN,
    "moe_intermediate_size": tiny.EXPERT_INNER,
}  # fmt: skip
_SIGMOID = {
    **_MIXTURE, "n_routed_experts": tiny.EXPERTS, "n_shared_experts": 1, "num_shared_experts": 1,
    "norm_topk_prob": True, "routed_scaling_factor": 1.5,
}  # fmt: skip
_KINDS = ["sliding_attention"] * 3 + ["full_attention"]

# case -> class of transformers, how it is configured
REFERENCES: dict[str, tuple[str, dict[str, Any]]] = {
    "llama": ("Llama", {"rope_parameters": _PLAIN}),
    "llama-llama3": ("Llama", {"rope_parameters": _LLAMA3}),
    "llama-yarn": ("Llama", {"rope_parameters": _YARN}),
    "llama-linear": ("Llama", {"rope_parameters": _LINEAR}),
    "exaone": ("Llama", {"rope_parameters": _LLAMA3}),  # has no class: a Llama under other names
    "qwen2": ("Qwen2", {"rope_parameters": _PLAIN}),
    "qwen3": ("Qwen3", {"rope_parameters": _PLAIN}),
    "qwen3-yarn": ("Qwen3", {"rope_parameters": _YARN}),
    "exaone4": ("Exaone4", {"rope_parameters": _LLAMA3, "sliding_window": tiny.WINDOW,
                            "layer_types": _KINDS}),
    "exaone4-full": ("Exaone4", {"rope_parameters": _LLAMA3, "sliding_window": None,
                                 "layer_types": ["full_attention"] * 2}),
    "hyperclovax": ("HyperCLOVAX", {"rope_parameters": _PLAIN, "embedding_multiplier": 3.0,
                                    "attention_multiplier": 0.125, "residual_multiplier": 0.75,
                                    "logits_scaling": 0.25, "use_post_norm": True}),
    "qwen3moe": ("Qwen3Moe", {"rope_parameters": _PLAIN, "norm_topk_prob": True, **_MIXTURE}),
    "qwen3moe-plain": ("Qwen3Moe", {"rope_parameters": _PLAIN, "norm_topk_prob": False, **_MIXTURE}),
    "exaone-moe": ("ExaoneMoe", {"rope_parameters": _PLAIN, "sliding_window": tiny.WINDOW,
                                 "layer_types": _KINDS, "first_k_dense_replace": 1, **_SIGMOID}),
    "solar-open": ("SolarOpen", {"rope_parameters": _YARN, **_SIGMOID}),
    "glm4moe": ("Glm4Moe", {"rope_parameters": {**_PLAIN, "partial_rotary_factor": 0.5}, **_SIGMOID,
                            "first_k_dense_replace": 1, "n_group": 4, "topk_group": 2}),
}  # fmt: skip

_NAMES = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "ffn_gate_inp": "mlp.gate",
    "exp_probs_b": "mlp.gate.e_score_correction", "ffn_gate_shexp": "mlp.shared_experts.gate_proj",
    "ffn_up_shexp": "mlp.shared_experts.up_proj", "ffn_down_shexp": "mlp.shared_experts.down_proj",
}  # fmt: skip
_POST = {
    "exaone4": {"post_attention_norm": "post_attention_layernorm",
                "post_ffw_norm": "post_feedforward_layernorm"},
    "hyperclovax": {"post_attention_norm": "post_norm1", "post_ffw_norm": "post_norm2"},
    "glm4moe": {"post_attention_norm": "post_attention_layernorm"},
}  # fmt: skip
_TOP = {"token_embd": "model.embed_tokens", "output_norm": "model.norm", "output": "lm_head"}


def name_in_transformers(case: tiny.Tiny, tensor: str) -> str:
    parts = tensor.split(".")
    if parts[0] != "blk":
        return f"{_TOP[parts[0]]}.{parts[1]}"
    names = {**_NAMES, **_POST.get(case.architecture, {})}
    theirs = f"model.layers.{parts[1]}.{names[parts[2]]}.{parts[3]}"
    return theirs.replace("correction.bias", "correction_bias")


def reference(case: tiny.Tiny) -> Any:
    """Return the model of transformers with the case's weights."""
    family, more = REFERENCES[case.name]
    config = getattr(transformers, f"{family}Config")(
        hidden_size=tiny.WIDTH, num_attention_heads=tiny.HEADS, num_key_value_heads=tiny.GROUPS,
        head_dim=tiny.HEAD, intermediate_size=tiny.INNER, vocab_size=tiny.VOCABULARY,
        num_hidden_layers=case.layers, rms_norm_eps=tiny.EPSILON, tie_word_embeddings=False,
        max_position_embeddings=1024, attn_implementation="eager", **more,
    )  # fmt: skip
    model = getattr(transformers, f"{family}ForCausalLM")(config).eval().float()
    arrays = tiny.tensors(case)
    state = {}
    for layer in range(case.layers):
        gate, up, down = (
            arrays.pop(f"blk.{layer}.ffn_{n}_exps.weight", None) for n in ("gate", "up", "down")
        )
        if gate is not None:  # it holds the matrices of all experts in one parameter, gate and up together
            experts = f"model.layers.{layer}.mlp.experts"
            state[f"{experts}.gate_up_proj"] = torch.from_numpy(np.concatenate([gate, up], axis=1))
            state[f"{experts}.down_proj"] = torch.from_numpy(down)
    state |= {name_in_transformers(case, name): torch.from_numpy(v) for name, v in arrays.items()}
    model.load_state_dict(state, strict=True)
    return model


def main() -> None:
    found = {}
    for name in REFERENCES:
        case = tiny.CASES[name]
        with torch.no_grad():
            logits = reference(case)(torch.tensor([tiny.token_ids(case)])).logits[0].numpy()
        found[name] = logits[list(tiny.RECORDED)].astype(np.float32)
        print(f"{name:16} spread {logits.std():.3f}")
    np.savez_compressed(Path(__file__).with_name("references.npz"), **found)


if __name__ == "__main__":
    main()
