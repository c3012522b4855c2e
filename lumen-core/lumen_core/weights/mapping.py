"""How a checkpoint directory of a model becomes our names: data that a model's package states.

A directory has a `config.json` whose `model_type` chooses a `Checkpoint`, and safetensors files whose tensors
it renames. After that the same page serves a directory and a single file of the same model.
"""

from __future__ import annotations

from collections.abc import Mapping
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
}


@dataclass(frozen=True)
class Checkpoint:
    """One kind of checkpoint directory.

    architecture  what our metadata call it; the model's page is found by this name
    model_types   `model_type` in config.json
    tensors       our name -> theirs, or several that theirs may be; `{layer}` runs over the layers,
                  `{expert}` over stacked experts; `name[0/2]` is the first half of the rows of each matrix
    keys          metadata key -> key in config.json (dots descend), or several that it may be; a key that the
                  config lacks is left out
    leading       metadata key -> (key in config.json with a word for each layer, a word): how many layers in
                  front have the word, which no layer behind them may have
    flags         metadata key -> (key in config.json with a word for each layer, the word for true)
    values        metadata that every such checkpoint has
    optional      our names that may be missing, in all layers or in some
    ignored       patterns (`*` and `?`) of their tensors that no computation needs; `{beyond}` is the number
                  of a layer behind the last
    interleaved   our name -> metadata key with its number of heads: rows of a head go from halves to pairs
    required      key in config.json -> values that the page can compute; another value is refused
    section       of config.json that describes the text model, where it is not the whole file
    head          our name of the output matrix, which is there exactly when `tie_word_embeddings` is false
    """

    architecture: str
    model_types: tuple[str, ...]
    tensors: Mapping[str, str | tuple[str, ...]]
    keys: Mapping[str, str | tuple[str, ...]] = field(default_factory=lambda: USUAL_KEYS)
    leading: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    flags: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    values: Mapping[str, object] = field(default_factory=dict)
    optional: frozenset[str] = frozenset()
    ignored: tuple[str, ...] = ("*.rotary_emb.inv_freq",)
    interleaved: Mapping[str, str] = field(default_factory=dict)
    required: Mapping[str, tuple[object, ...]] = field(default_factory=lambda: USUAL_REQUIREMENTS)
    section: str = ""
    head: str = "output.weight"
