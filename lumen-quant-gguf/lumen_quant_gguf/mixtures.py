"""Which format each tensor gets when a whole model is written "as Q4_K_M" (or any other file type).

In: the name of the mixture, the shapes of the tensors and the number of layers.  Out: tensor name -> format.
The rules are those by which published files were made, so that a synthetic file has their bytes per token.
`pure-NAME` gives every matrix that one format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from lumen_core.errors import UnsupportedFormatError
from lumen_quant_gguf.type_ids import TENSOR_TYPES_BY_NAME

_MEDIUM = {"q4_k_m": ("q4_k", "q6_k"), "q5_k_m": ("q5_k", "q6_k")}  # usual format, where it matters more
_FLOATS = ("f32", "f16", "bf16", "f64")
_FALLBACK = {"q4_k": "q5_0", "q5_k": "q5_1", "q6_k": "q8_0", "q2_k": "q4_0", "q3_k": "q4_0",
             "iq4_xs": "iq4_nl"}  # fmt: skip
_FILE_TYPES = {  # what `general.file_type` says: the number of the mixture, by its lower-case name
    "f32": 0, "f16": 1, "q4_0": 2, "q4_1": 3, "q8_0": 7, "q5_0": 8, "q5_1": 9, "q2_k": 10, "q3_k_s": 11,
    "q3_k_m": 12, "q3_k_l": 13, "q4_k_s": 14, "q4_k_m": 15, "q5_k_s": 16, "q5_k_m": 17, "q6_k": 18,
    "iq2_xxs": 19, "iq2_xs": 20, "q2_k_s": 21, "iq3_xs": 22, "iq3_xxs": 23, "iq1_s": 24, "iq4_nl": 25,
    "iq3_s": 26, "iq3_m": 27, "iq2_s": 28, "iq2_m": 29, "iq4_xs": 30, "iq1_m": 31, "bf16": 32, "tq1_0": 36,
    "tq2_0": 37,
}  # fmt: skip
_LAYER = re.compile(r"blk\.(\d+)\.(.+)")


def _matters(layer: int, layers: int) -> bool:
    """The first and the last eighth of the layers, and every third between, get the better format."""
    eighth = layers // 8
    return layer < eighth or layer >= 7 * layers // 8 or (layer - eighth) % 3 == 2


def _fitting(name: str, row: int) -> str:
    """The format itself, or what takes its place where rows do not fill its blocks."""
    while row % TENSOR_TYPES_BY_NAME[name].block:
        name = _FALLBACK.get(name, "f16")
    return name


def resolve(mixture: str, shapes: Mapping[str, tuple[int, ...]], layers: int) -> dict[str, str]:
    pure = mixture.startswith("pure-")
    usual, better = _MEDIUM.get(mixture, (mixture.removeprefix("pure-").removesuffix("_s"), None))
    if usual not in TENSOR_TYPES_BY_NAME:
        known = ", ".join([*TENSOR_TYPES_BY_NAME, *_MEDIUM])
        raise UnsupportedFormatError(f"no tensor format or mixture {mixture!r}; GGUF knows {known}")
    head = "output.weight" if "output.weight" in shapes else "token_embd.weight"
    formats = {}
    for name, shape in shapes.items():
        if len(shape) < 2 or "_norm" in name or "ffn_gate_inp" in name:
            formats[name] = "f32"
            continue
        choice = usual
        if not pure and usual not in (*_FLOATS, "q8_0"):
            match = _LAYER.fullmatch(name)
            if name == head:
                choice = "q6_k"
            elif (
                match and better and match[2] in ("attn_v.weight", "ffn_down.weight", "ffn_down_exps.weight")
            ):
                choice = better if _matters(int(match[1]), layers) else usual
        formats[name] = _fitting(choice, shape[-1])
    return formats


def labels(mixture: str) -> dict[str, object]:
    """The metadata by which readers recognize what kind of file it is."""
    name = mixture.removeprefix("pure-")
    number = _FILE_TYPES.get(name, _FILE_TYPES.get(f"{name}_s"))
    found: dict[str, object] = {"general.quantization_version": 2}
    return found if number is None else found | {"general.file_type": number}
