"""How a checkpoint directory of a model becomes our names: data that a model's package states.

A directory has a `config.json` whose `model_type` chooses a `Checkpoint`, and safetensors files whose tensors
it renames. After that the same page serves a directory and a single file of the same model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

# Metadata key below "<architecture>." -> key in config.json, as nearly all decoders name them.
USUAL_KEYS: Mapping[str, str] = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.key_length": "head_dim",
    "attention.value_length": "head_dim",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "vocab_size": "vocab_size",
}

USUAL_REQUIREMENTS: Mapping[str, tuple[object, ...]] = {
    "hidden_act": ("silu", "swish"),
    "use_sliding_window": (False,),
    "layer_types": ("full_attention",),
    "partial_rotary_factor": (1.0,),
    "rope_parameters.partial_rotary_factor": (1.0,),
}

# Settings of config.json that change no logits, or that other parts read. Others with a value are reported.
WITHOUT_EFFECT = frozenset((
    "architectures", "auto_map", "model_type", "_name_or_path", "transformers_version", "torch_dtype",
    "dtype", "use_cache", "initializer_range", "pretraining_tp", "return_dict", "output_attentions",
    "output_hidden_states", "output_router_logits", "router_aux_loss_coef", "aux_loss_alpha", "seq_aux",
    "is_encoder_decoder", "chunk_size_feed_forward", "id2label", "label2id", "problem_type",
    "tie_word_embeddings", "quantization_config", "compression_config", "attn_implementation",
    "_attn_implementation", "_attn_implementation_autoset", "tokenizer_class", "task_specific_params",
    "num_nextn_predict_layers", "num_mtp_layers", "mtp_share_layers", "mtp_loss_scaling_factor",
    "max_window_layers", "ep_size", "unsloth_fixed", "unsloth_version",
))  # fmt: skip


@dataclass(frozen=True)
class Words:
    """A setting with a word for each layer.

    true    the word that sets the flag
    false   the only other word
    period  setting that says the same in short, where the list is missing: every so many layers (or at a G of
            the letters L and G, and in the last) the flag is not set
    """

    setting: str
    true: str
    false: str
    period: str = ""


@dataclass(frozen=True)
class Checkpoint:
    """One kind of checkpoint directory.

    architecture  what our metadata call it; the model's page is found by this name
    model_types   `model_type` in config.json
    tensors       our name -> theirs, or several that theirs may be; `{layer}` runs over the layers,
                  `{expert}` over stacked experts; `name[0/2]` is the first half of the rows of each matrix
    keys          metadata key -> key in config.json (dots descend), or several that it may be; a key that the
                  config lacks is left out
    leading       metadata key -> words for the layers: how many layers in front have the word for true, which
                  no layer behind them may have
    flags         metadata key -> words for the layers
    values        metadata that every such checkpoint has
    defaults      key in config.json -> what a missing one means, where the page assumes something else
    optional      our names that may be missing, in all layers or in some
    ignored       patterns (`*` and `?`) of their tensors that no computation needs; `{beyond}` is the number
                  of a layer behind the last
    interleaved   our name -> metadata key with its number of heads: rows of a head go from halves to pairs
    required      key in config.json -> values that the page can compute; another value is refused, and so is
                  one in a list
    unused        keys in config.json that change nothing in this model
    local_rope    layers with a window rotate by settings of their own (`rope.freq_base_swa`)
    elsewhere     what other engines will not compute as the settings say, in words, from our metadata
    section       of config.json that describes the text model, where it is not the whole file
    head          our name of the output matrix, which is there exactly when `tie_word_embeddings` is false
    """

    architecture: str
    model_types: tuple[str, ...]
    tensors: Mapping[str, str | tuple[str, ...]]
    keys: Mapping[str, str | tuple[str, ...]] = field(default_factory=lambda: USUAL_KEYS)
    leading: Mapping[str, Words] = field(default_factory=dict)
    flags: Mapping[str, Words] = field(default_factory=dict)
    values: Mapping[str, object] = field(default_factory=dict)
    defaults: Mapping[str, object] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    ignored: tuple[str, ...] = ("*.rotary_emb.inv_freq",)
    interleaved: Mapping[str, str] = field(default_factory=dict)
    required: Mapping[str, tuple[object, ...]] = field(default_factory=lambda: USUAL_REQUIREMENTS)
    unused: tuple[str, ...] = ()
    local_rope: bool = False
    elsewhere: Callable[[Mapping[str, object]], Sequence[str]] = lambda settings: ()
    section: str = ""
    head: str = "output.weight"
