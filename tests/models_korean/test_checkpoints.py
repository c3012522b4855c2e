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
from lumen_core.engine.convert import convert

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
}  # fmt: skip
_PLAIN = {
    "attn_norm": "input_layernorm", "attn_q": "self_attn.q_proj", "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj", "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm", "ffn_norm": "post_attention_layernorm", "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj", "token_embd": "model.embed_tokens",
    "output_norm": "model.norm", "output": "lm_head",
}  # fmt: skip
_NAMES = {
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


def write(case: tiny.Tiny, directory: Path) -> Path:
    """Write a case as its authors would publish it."""
    names = _NAMES.get(case.architecture, _PLAIN)
    layers = "transformer.h" if case.architecture == "exaone" else "model.layers"
    arrays = {}
    for ours, array in tiny.tensors(case).items():
        parts = ours.split(".")
        if parts[0] == "blk":
            theirs = f"{layers}.{parts[1]}.{names[parts[2]]}.{parts[3]}"
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


QUICK = ("llama-yarn", "exaone", "exaone4", "hyperclovax")


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
