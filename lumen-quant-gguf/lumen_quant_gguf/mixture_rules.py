"""The rules of GGUF's mixtures as data: a row says which mixtures give which tensors which format, and when.

The first row that fits a tensor decides; a tensor that no row fits gets the mixture's usual format.
"""

from __future__ import annotations

from dataclasses import dataclass

FILE_TYPES = {  # what `general.file_type` says: the number of the mixture, by its lower-case name
    "f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9, "q2_k": 10, "q3_k_s": 11,
    "q3_k_m": 12, "q3_k_l": 13, "q4_k_s": 14, "q4_k_m": 15, "q5_k_s": 16, "q5_k_m": 17, "q6_k": 18,
    "iq2_xxs": 19, "iq2_xs": 20, "q2_k_s": 21, "iq3_xs": 22, "iq3_xxs": 23, "iq1_s": 24, "iq4_nl": 25,
    "iq3_s": 26, "iq3_m": 27, "iq2_s": 28, "iq2_m": 29, "iq4_xs": 30, "iq1_m": 31, "bf16": 32, "tq1_0": 36,
    "tq2_0": 37, "mxfp4_moe": 38, "nvfp4": 39, "q1_0": 40, "q2_0": 41,
}  # fmt: skip
DIFFERENT_USUAL = {  # the usual format, where it is not the mixture's name
    "q2_k_s": "q2_k", "q3_k_s": "q3_k", "q3_k_m": "q3_k", "q3_k_l": "q3_k", "q4_k_s": "q4_k",
    "q4_k_m": "q4_k", "q5_k_s": "q5_k", "q5_k_m": "q5_k", "iq2_s": "iq2_xs", "iq2_m": "iq2_s",
    "iq3_xs": "iq3_s", "iq3_m": "iq3_s", "mxfp4_moe": "q8_0",
}  # fmt: skip
FALLBACK = {  # what takes a format's place where rows do not fill its blocks
    "q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0",
    **dict.fromkeys(("q2_k", "q3_k", "tq1_0", "tq2_0"), "q4_0"),
    **dict.fromkeys(("iq4_xs", "iq3_s", "iq3_xxs", "iq2_s", "iq2_xs", "iq2_xxs", "iq1_s", "iq1_m"), "iq4_nl"),
}  # fmt: skip
KEPT = ("_norm", "ffn_gate_inp")  # matrices that stay f32
WANT_IMPORTANCE = {"iq1_s", "iq1_m", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs"}
HEAD = "the output matrix"  # or the embedding, where that is both


@dataclass(frozen=True)
class Rule:
    """mixtures whose tensors with `tensor` in their name get `format` where all conditions hold."""

    mixtures: frozenset[str]
    tensor: str
    format: str
    conditions: tuple[str, ...] = ()


def _rule(mixtures: str, tensor: str, format: str, *conditions: str) -> Rule:
    return Rule(frozenset(mixtures.split()), tensor, format, conditions)


_LEAST = "iq1_s iq1_m iq2_xxs iq2_xs"
_TWO = "iq2_s iq2_m"
_COARSE = f"{_LEAST} {_TWO}"
_OTHERS = (
    "q4_0 q4_1 q5_0 q5_1 q8_0 q2_k q2_k_s q3_k_s q3_k_m q3_k_l q4_k_s q4_k_m q5_k_s q5_k_m q6_k iq3_xxs "
    "iq3_xs iq3_s iq3_m iq4_nl iq4_xs tq1_0 tq2_0 nvfp4 q1_0 q2_0"
)
_ALL = f"{_COARSE} {_OTHERS}"
_EXPERT_OUTPUT = "q2_k iq3_xs iq3_xxs q3_k_s q3_k_m iq4_nl q4_k_s q4_k_m iq3_s iq3_m iq4_xs"

RULES = (
    _rule("mxfp4_moe", "_exps", "mxfp4"),
    _rule(_ALL, HEAD, "q8_0", "uneven rows"),
    _rule(f"{_COARSE} iq3_xxs", HEAD, "q5_k"),
    _rule(_ALL.replace(" q8_0", ""), HEAD, "q6_k"),
    _rule("q8_0", HEAD, "q8_0"),
    _rule(_LEAST, "token_embd.weight", "q2_k"),
    _rule(f"{_TWO} iq3_xxs", "token_embd.weight", "iq3_s"),
    _rule("tq1_0 tq2_0", "token_embd.weight", "q4_k"),
    # the coarsest mixtures
    _rule(_COARSE, "attn_v.weight", "q4_k", "shared heads or experts"),
    _rule(_LEAST, "attn_v.weight", "q2_k"),
    _rule(_TWO, "attn_v.weight", "iq3_s"),
    _rule(_COARSE, "attn_k.weight", "q4_k", "eight experts"),
    _rule(_LEAST, "ffn_down", "q2_k", "first eighth"),
    _rule(_TWO, "ffn_down", "iq3_s", "first eighth"),
    _rule(_COARSE, "attn_output.weight", "q5_k", "eight experts"),
    _rule("iq1_s iq1_m", "attn_output.weight", "iq2_xxs"),
    _rule(_TWO, "attn_output.weight", "iq3_s"),
    # values
    _rule(_OTHERS, "attn_v.weight", "q8_0", "eight experts"),
    _rule("q2_k q2_k_s iq3_xxs iq3_xs iq3_s", "attn_v.weight", "q4_k", "shared heads"),
    _rule("q2_k", "attn_v.weight", "q3_k"),
    _rule("iq3_xxs", "attn_v.weight", "iq3_s", "no importance"),
    _rule("iq3_m", "attn_v.weight", "q4_k"),
    _rule("q3_k_m", "attn_v.weight", "q5_k", "first two"),
    _rule("q3_k_m", "attn_v.weight", "q4_k"),
    _rule("q3_k_l", "attn_v.weight", "q5_k"),
    _rule("iq4_nl iq4_xs", "attn_v.weight", "q5_k", "shared heads"),
    _rule("q4_k_m q5_k_m", "attn_v.weight", "q6_k", "often"),
    _rule("q4_k_s", "attn_v.weight", "q5_k", "first four"),
    # queries and keys
    _rule(_OTHERS, "attn_k.weight", "q8_0", "eight experts"),
    _rule("iq3_xs", "attn_k.weight", "iq3_xxs"),
    _rule("iq3_xs", "attn_q.weight", "iq3_xxs"),
    _rule("iq3_xxs", "attn_k.weight", "iq2_s"),
    _rule("iq3_xxs", "attn_q.weight", "iq2_s"),
    # the way back from the hidden layer
    _rule("q2_k", "ffn_down", "q3_k"),
    _rule("q2_k_s", "ffn_down", "q4_k", "first eighth"),
    _rule("iq3_xxs", "ffn_down", "q4_k", "no importance", "first eighth"),
    _rule("iq3_xxs", "ffn_down", "q3_k", "no importance"),
    _rule("q3_k_m", "ffn_down", "q5_k", "first sixteenth"),
    _rule("q3_k_m", "ffn_down", "q4_k"),
    _rule("iq3_m", "ffn_down", "q4_k", "first eighth"),
    _rule("iq3_m", "ffn_down", "q4_k", "eight experts", "often"),
    _rule("q3_k_l", "ffn_down", "q5_k"),
    _rule("q4_k_m q5_k_m", "ffn_down", "q6_k", "often"),
    _rule("iq4_nl iq4_xs", "ffn_down", "q5_k", "no importance", "first eighth"),
    _rule("q4_k_s", "ffn_down", "q5_k", "first eighth"),
    _rule("q4_0", "ffn_down", "q4_1", "importance", "first eighth"),
    _rule("q5_0", "ffn_down", "q5_1", "importance", "first eighth"),
    # what attention gives
    _rule(_EXPERT_OUTPUT, "attn_output.weight", "q5_k", "eight experts"),
    _rule("q2_k", "attn_output.weight", "q3_k"),
    _rule("iq3_xxs", "attn_output.weight", "iq3_s"),
    _rule("q3_k_m", "attn_output.weight", "q4_k"),
    _rule("q3_k_l", "attn_output.weight", "q5_k", "not eight experts"),
    _rule("iq3_m", "attn_output.weight", "q4_k"),
    # queries, keys and values in one
    _rule("q3_k_m q3_k_l iq3_m", "attn_qkv.weight", "q4_k"),
    _rule("q4_k_m", "attn_qkv.weight", "q5_k"),
    _rule("q5_k_m", "attn_qkv.weight", "q6_k"),
    # the way into the hidden layer
    _rule("iq3_xs", "ffn_gate", "iq3_xxs", "middle"),
    _rule("iq3_xs", "ffn_up", "iq3_xxs", "middle"),
)

# In very deep models many heads share the values: what the rows above gave is raised.
RAISED = ("q3_k", "q4_k")
RAISING = _rule(_OTHERS, "attn_v.weight", "q5_k", "eighty layers")
