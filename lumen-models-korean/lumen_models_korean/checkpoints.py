"""Checkpoint directories of the models: which tensor and which setting of theirs is which of ours.

Names of tensors and settings are data of the published checkpoints; `lumen_core.weights.mapping` says what
the fields mean. Rows of query and key weights are paired as single files of that model have them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from lumen_core.weights.mapping import USUAL_KEYS, USUAL_REQUIREMENTS, Checkpoint, Words

_LAYER = "model.layers.{layer}."
_OUTER = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_NORMS = {
    "blk.{layer}.attn_norm.weight": _LAYER + "input_layernorm.weight",
    "blk.{layer}.ffn_norm.weight": _LAYER + "post_attention_layernorm.weight",
}
_ATTENTION = {
    "blk.{layer}.attn_q.weight": _LAYER + "self_attn.q_proj.weight",
    "blk.{layer}.attn_k.weight": _LAYER + "self_attn.k_proj.weight",
    "blk.{layer}.attn_v.weight": _LAYER + "self_attn.v_proj.weight",
    "blk.{layer}.attn_output.weight": _LAYER + "self_attn.o_proj.weight",
}
_BIASES = {
    "blk.{layer}.attn_q.bias": _LAYER + "self_attn.q_proj.bias",
    "blk.{layer}.attn_k.bias": _LAYER + "self_attn.k_proj.bias",
    "blk.{layer}.attn_v.bias": _LAYER + "self_attn.v_proj.bias",
}
_HEAD_NORMS = {
    "blk.{layer}.attn_q_norm.weight": _LAYER + "self_attn.q_norm.weight",
    "blk.{layer}.attn_k_norm.weight": _LAYER + "self_attn.k_norm.weight",
}
_DENSE = {
    "blk.{layer}.ffn_gate.weight": _LAYER + "mlp.gate_proj.weight",
    "blk.{layer}.ffn_up.weight": _LAYER + "mlp.up_proj.weight",
    "blk.{layer}.ffn_down.weight": _LAYER + "mlp.down_proj.weight",
}
_EXPERTS: Mapping[str, str | tuple[str, ...]] = {
    "blk.{layer}.ffn_gate_inp.weight": _LAYER + "mlp.gate.weight",
    # an expert's matrices one by one, or those of all in one tensor, gate and up together
    "blk.{layer}.ffn_gate_exps.weight": (
        _LAYER + "mlp.experts.{expert}.gate_proj.weight",
        _LAYER + "mlp.experts.gate_up_proj[0/2]",
    ),
    "blk.{layer}.ffn_up_exps.weight": (
        _LAYER + "mlp.experts.{expert}.up_proj.weight",
        _LAYER + "mlp.experts.gate_up_proj[1/2]",
    ),
    "blk.{layer}.ffn_down_exps.weight": (
        _LAYER + "mlp.experts.{expert}.down_proj.weight",
        _LAYER + "mlp.experts.down_proj",
    ),
}
_ROUTED: Mapping[str, str | tuple[str, ...]] = {
    "blk.{layer}.exp_probs_b.bias": (
        _LAYER + "mlp.gate.e_score_correction_bias",
        _LAYER + "mlp.e_score_correction_bias",
    ),
    "blk.{layer}.ffn_gate_shexp.weight": _LAYER + "mlp.shared_experts.gate_proj.weight",
    "blk.{layer}.ffn_up_shexp.weight": _LAYER + "mlp.shared_experts.up_proj.weight",
    "blk.{layer}.ffn_down_shexp.weight": _LAYER + "mlp.shared_experts.down_proj.weight",
}
_PAIRED = {
    "blk.{layer}.attn_q.weight": "attention.head_count",
    "blk.{layer}.attn_k.weight": "attention.head_count_kv",
}
_WINDOWS = {
    "attention.sliding_window_pattern": Words(
        "layer_types", "sliding_attention", "full_attention", "sliding_window_pattern"
    )
}
_NO_WINDOW = ("sliding_window",)  # counts only where `use_sliding_window` is true
_PLAIN = {**_OUTER, **_NORMS, **_ATTENTION, **_DENSE}
_EXPERT_KEYS: Mapping[str, str | tuple[str, ...]] = {
    "expert_count": ("num_experts", "num_local_experts", "n_routed_experts"),
    "expert_used_count": "num_experts_per_tok",
    "expert_feed_forward_length": "moe_intermediate_size",
    "expert_weights_norm": "norm_topk_prob",
}
_ROUTED_KEYS: Mapping[str, str | tuple[str, ...]] = {
    **_EXPERT_KEYS,
    "expert_shared_count": ("n_shared_experts", "num_shared_experts"),
    "leading_dense_block_count": ("first_k_dense_replace", "first_last_k_dense_replace"),
    "expert_weights_scale": "routed_scaling_factor",
    "expert_group_count": "n_group",
    "expert_group_used_count": "topk_group",
}
_SILU: Mapping[str, tuple[object, ...]] = {"hidden_act": ("silu",)}
_WHOLE_HEADS: Mapping[str, tuple[object, ...]] = {
    name: USUAL_REQUIREMENTS[name]
    for name in ("partial_rotary_factor", "rope_parameters.partial_rotary_factor")
}
_SIGMOID: Mapping[str, tuple[object, ...]] = {"scoring_func": ("sigmoid",), "topk_method": ("noaux_tc",)}


def _windows_elsewhere(settings: Mapping[str, Any]) -> list[str]:
    """llama.cpp takes the windows of EXAONE 4 from the number of its layers."""
    local = [bool(one) for one in settings.get("attention.sliding_window_pattern", ())]
    if not settings.get("attention.sliding_window") or not any(local):
        return []
    if local == [layer % 4 < 3 for layer in range(64)]:
        return []
    return ["llama.cpp computes windows in exaone4 only with 64 layers, three of four of them with a window"]


def _shares_elsewhere(settings: Mapping[str, object]) -> list[str]:
    if settings.get("expert_weights_norm", True):
        return []
    return [
        "norm_topk_prob is false, but llama.cpp divides the shares of qwen3moe's experts by their sum anyway"
    ]


def _nowhere(settings: Mapping[str, object]) -> list[str]:
    return ["llama.cpp does not know this architecture; forks of it or Lumen run the file"]


LLAMA = Checkpoint("llama", ("llama",), _PLAIN, interleaved=_PAIRED)
QWEN2 = Checkpoint("qwen2", ("qwen2",), {**_PLAIN, **_BIASES}, unused=_NO_WINDOW)
QWEN3 = Checkpoint(
    "qwen3", ("qwen3",), {**_PLAIN, **_HEAD_NORMS}, defaults={"head_dim": 128}, unused=_NO_WINDOW
)
QWEN3_MOE = Checkpoint(
    "qwen3moe",
    ("qwen3_moe",),
    {**_OUTER, **_NORMS, **_ATTENTION, **_HEAD_NORMS, **_EXPERTS},
    keys={**USUAL_KEYS, **_EXPERT_KEYS},
    required={**USUAL_REQUIREMENTS, "decoder_sparse_step": (1,), "mlp_only_layers": ()},
    defaults={"norm_topk_prob": False},
    unused=_NO_WINDOW,
    elsewhere=_shares_elsewhere,
)
EXAONE = Checkpoint(
    "exaone",
    ("exaone",),
    {
        "token_embd.weight": "transformer.wte.weight",
        "output_norm.weight": "transformer.ln_f.weight",
        "output.weight": "lm_head.weight",
        **{
            f"blk.{{layer}}.{ours}.weight": f"transformer.h.{{layer}}.{theirs}.weight"
            for ours, theirs in {
                "attn_norm": "ln_1", "attn_q": "attn.attention.q_proj", "attn_k": "attn.attention.k_proj",
                "attn_v": "attn.attention.v_proj", "attn_output": "attn.attention.out_proj",
                "ffn_norm": "ln_2", "ffn_gate": "mlp.c_fc_0", "ffn_up": "mlp.c_fc_1",
                "ffn_down": "mlp.c_proj",
            }.items()
        },
    },
    keys={
        **USUAL_KEYS,
        "block_count": "num_layers",
        "attention.layer_norm_rms_epsilon": "layer_norm_epsilon",
    },
    required={"activation_function": ("silu",), **_WHOLE_HEADS},
    ignored=("*.rotary.inv_freq", "*.attn.attention.rotary.*"),
)  # fmt: skip
EXAONE4 = Checkpoint(
    "exaone4",
    ("exaone4",),
    {
        **_OUTER, **_ATTENTION, **_HEAD_NORMS, **_DENSE,
        "blk.{layer}.post_attention_norm.weight": _LAYER + "post_attention_layernorm.weight",
        "blk.{layer}.post_ffw_norm.weight": _LAYER + "post_feedforward_layernorm.weight",
    },
    keys={**USUAL_KEYS, "attention.sliding_window": "sliding_window"},
    flags=_WINDOWS,
    required={**_SILU, **_WHOLE_HEADS},
    defaults={"sliding_window": 4096, "sliding_window_pattern": 4},
    elsewhere=_windows_elsewhere,
)  # fmt: skip
EXAONE_MOE = Checkpoint(
    "exaone-moe",
    ("exaone_moe",),
    {**_PLAIN, **_HEAD_NORMS, **_EXPERTS, **_ROUTED},
    keys={
        **USUAL_KEYS,
        **_ROUTED_KEYS,
        "attention.sliding_window": "sliding_window",
    },
    leading={"leading_dense_block_count": Words("mlp_layer_types", "dense", "sparse")},
    values={"expert_gating_func": 2},
    optional=frozenset((*_DENSE, *_EXPERTS, *_ROUTED)),
    ignored=("mtp.*",),
    flags=_WINDOWS,
    required={**_SILU, **_WHOLE_HEADS, **_SIGMOID},
    defaults={  # the other name of dense layers is looked for first
        "first_last_k_dense_replace": 1, "routed_scaling_factor": 2.5, "sliding_window": 4096,
        "sliding_window_pattern": 4,
    },
)  # fmt: skip
EXAONE4_5 = replace(
    EXAONE4,
    model_types=("exaone4_5",),
    tensors={
        ours: str(theirs).replace("model.", "model.language_model.", 1)
        for ours, theirs in EXAONE4.tensors.items()
    },
    ignored=("*.rotary_emb.inv_freq", "model.visual.*", "mtp.*"),
    section="text_config",
)
HYPERCLOVAX = Checkpoint(
    "hyperclovax",
    ("hyperclovax",),
    {
        **_PLAIN,
        "blk.{layer}.post_attention_norm.weight": _LAYER + "post_norm1.weight",
        "blk.{layer}.post_ffw_norm.weight": _LAYER + "post_norm2.weight",
    },
    keys={
        **USUAL_KEYS,
        "attention.scale": "attention_multiplier",
        "embedding_scale": "embedding_multiplier",
        "residual_scale": "residual_multiplier",
        "logit_scale": "logits_scaling",
    },
    required={**USUAL_REQUIREMENTS, "use_post_norm": (True,)},
    defaults={"rms_norm_eps": 1e-6},
    interleaved=_PAIRED,
    elsewhere=_nowhere,
)
SOLAR_OPEN = Checkpoint(
    "glm4moe",
    ("solar_open",),
    {**_OUTER, **_ATTENTION, **_DENSE, **_EXPERTS, **_ROUTED,
     "blk.{layer}.attn_norm.weight": _LAYER + "input_layernorm.weight",
     "blk.{layer}.post_attention_norm.weight": _LAYER + "post_attention_layernorm.weight"},
    keys={**USUAL_KEYS, **_ROUTED_KEYS},
    values={"expert_gating_func": 2},
    optional=frozenset((*_DENSE, *_EXPERTS, *_ROUTED)),
    ignored=("*.rotary_emb.inv_freq", "model.layers.{beyond}.*"),
    required={**_SILU, **_SIGMOID, "use_qk_norm": (False,), "attention_bias": (False,)},
    defaults={"rope_theta": 1e6, "head_dim": 128},
)  # fmt: skip
GLM4_MOE = replace(
    SOLAR_OPEN,
    model_types=("glm4_moe",),
    defaults={"partial_rotary_factor": 0.5, "first_k_dense_replace": 1},
)
KANANA2_TINY = Checkpoint(
    "kanana2_tiny",
    ("kanana2_tiny",),
    {**_PLAIN, **_HEAD_NORMS},
    keys={**USUAL_KEYS, "attention.sliding_window": "sliding_window"},
    flags=_WINDOWS,
    required={**_SILU, **_WHOLE_HEADS},
    local_rope=True,
    elsewhere=_nowhere,
)
