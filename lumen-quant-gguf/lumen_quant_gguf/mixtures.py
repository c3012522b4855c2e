"""Which format each tensor gets when a whole model is written "as Q4_K_M" (or any other file type).

In: the name of the mixture, the shapes of the tensors, the number of layers, whether there is an importance
matrix. Out: tensor name -> format. The rules are llama.cpp's, by which published files were made, one row
each; `tests/quant_gguf/mixtures.json` holds what it chose for models of several shapes.
`pure-NAME` gives every matrix that one format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

from lumen_core.errors import UnsupportedFormatError
from lumen_quant_gguf.mixture_rules import (
    DIFFERENT_USUAL,
    FALLBACK,
    FILE_TYPES,
    HEAD,
    KEPT,
    RAISED,
    RAISING,
    RULES,
    WANT_IMPORTANCE,
    Rule,
)
from lumen_quant_gguf.type_ids import TENSOR_TYPES_BY_NAME

_FLOATS = ("f32", "f16", "bf16", "f64")
_LAYER = re.compile(r"blk\.(\d+)\.(.+)")


@dataclass(frozen=True)
class _Model:
    """What the conditions of rules ask about a model."""

    layers: int
    sharing: int  # query heads that share a head of keys
    experts: int
    importance: bool

    @staticmethod
    def of(shapes: Mapping[str, tuple[int, ...]], layers: int, importance: bool) -> _Model:
        def rows(part: str) -> int:
            return next((shape[-2] for name, shape in shapes.items() if part in name), 1)

        experts = max((shape[0] for shape in shapes.values() if len(shape) == 3), default=1)
        return _Model(layers, rows(".attn_q.weight") // max(rows(".attn_k.weight"), 1), experts, importance)


def _holds(condition: str, model: _Model, place: int, uneven: bool) -> bool:
    """A condition of a row for a tensor of layer `place`; uneven: its rows do not fill the usual blocks."""
    count = model.layers
    eighth = count // 8
    match condition:
        case "first eighth":
            return place < eighth
        case "first sixteenth":
            return place < count // 16
        case "first two":
            return place < 2
        case "first four":
            return place < 4
        case "middle":
            return eighth <= place < 7 * count // 8
        case "often":  # the first and the last eighth of the layers, and every third between
            return place < eighth or place >= 7 * count // 8 or (place - eighth) % 3 == 2
        case "shared heads":
            return model.sharing >= 4
        case "shared heads or experts":
            return model.sharing >= 4 or model.experts >= 4
        case "eight experts":
            return model.experts == 8
        case "not eight experts":
            return model.experts != 8
        case "eighty layers":
            return model.layers == 80 and model.sharing > 1
        case "importance":
            return model.importance
        case "no importance":
            return not model.importance
        case "uneven rows":
            return uneven
    raise AssertionError(f"unknown condition {condition}")


def _fitting(name: str, row: int) -> str:
    """The format itself, or what takes its place where rows do not fill its blocks."""
    if row % TENSOR_TYPES_BY_NAME[name].block:
        name = FALLBACK.get(name, "f16")
        if row % TENSOR_TYPES_BY_NAME[name].block:
            name = "f16"
    return name


def resolve(
    mixture: str, shapes: Mapping[str, tuple[int, ...]], layers: int, importance: bool = False
) -> dict[str, str]:
    """Return the format of every tensor; raises UnsupportedFormatError for an unknown mixture."""
    pure = mixture.startswith("pure-")
    mixture = mixture.removeprefix("pure-")
    usual = DIFFERENT_USUAL.get(mixture, mixture)
    if pure and mixture in TENSOR_TYPES_BY_NAME:  # a mixture of that name may mostly be another
        usual = mixture
    if usual not in TENSOR_TYPES_BY_NAME:
        raise UnsupportedFormatError(f"GGUF has no mixture {mixture!r} (it has {', '.join(FILE_TYPES)})")
    model = _Model.of(shapes, layers, importance)
    head = "output.weight" if "output.weight" in shapes else "token_embd.weight"
    formats = {}
    for name, shape in shapes.items():
        if len(shape) < 2 or any(part in name for part in KEPT):
            formats[name] = "f32"
            continue
        choice = usual
        if not pure and usual not in _FLOATS:
            match = _LAYER.fullmatch(name)
            kind = HEAD if name == head else match[2] if match else name
            place = int(match[1]) if match else 0
            uneven = shape[-1] % TENSOR_TYPES_BY_NAME[usual].block != 0
            fits = partial(_fits, mixture=mixture, kind=kind, model=model, place=place, uneven=uneven)
            choice = next((rule.format for rule in RULES if fits(rule)), usual)
            if choice in RAISED and fits(RAISING):
                choice = RAISING.format
        formats[name] = _fitting(choice, shape[-1])
    return formats


def _fits(rule: Rule, mixture: str, kind: str, model: _Model, place: int, uneven: bool) -> bool:
    return (
        mixture in rule.mixtures
        and rule.tensor in kind
        and all(_holds(item, model, place, uneven) for item in rule.conditions)
    )


def want_importance(mixture: str, formats: Mapping[str, str]) -> list[str]:
    """The tensors whose formats are too coarse to be made well without an importance matrix."""
    wanted = WANT_IMPORTANCE | ({"q2_k"} if mixture == "q2_k_s" else set())
    return [name for name, format in formats.items() if format in wanted and name.startswith("blk.")]


def labels(mixture: str) -> dict[str, object]:
    """The metadata by which readers recognize what kind of file it is."""
    number = FILE_TYPES.get(mixture.removeprefix("pure-"))
    found: dict[str, object] = {"general.quantization_version": 2}
    return found if number is None else found | {"general.file_type": number}
