"""Position scaling of rotary embeddings, from a checkpoint's config to what a model file says.

In: the text section of `config.json`.  Out: keys below "<architecture>." and, for frequencies that are
divided one by one, the divisors (the tensor `rope_freqs`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from lumen_core.errors import ModelFormatError

_YARN = {"yarn_beta_fast": "beta_fast", "yarn_beta_slow": "beta_slow"}
_ORIGINAL = "original_max_position_embeddings"
_PLAIN = {"rope_theta", "rope_type", "type", "partial_rotary_factor"}
_READ = {  # kind of scaling -> what is read for it besides
    "llama3": {"factor", "low_freq_factor", "high_freq_factor", _ORIGINAL},
    "linear": {"factor"},
    "yarn": {
        "factor",
        _ORIGINAL,
        "mscale",
        "mscale_all_dim",
        "attention_factor",
        "truncate",
        *_YARN.values(),
    },
}
ROPE_KEYS = (
    "rope_parameters", "rope_scaling", "rope_theta", "partial_rotary_factor", "max_position_embeddings",
)  # fmt: skip
_FULL, _LOCAL = "full_attention", "sliding_attention"  # kinds of layers that may have settings of their own


def rope_settings(config: Mapping[str, Any], local: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the table of the rotation, and that of layers with a window if those rotate otherwise.

    local  whether the model computes a rotation of their own
    """
    settings = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(settings, Mapping):
        raise ModelFormatError("config.json: rope_parameters is no table")
    kinds = {name: table for name, table in settings.items() if isinstance(table, Mapping)}
    if not kinds:
        return dict(settings), {}
    strange = kinds.keys() - {_FULL, _LOCAL}
    if strange:
        raise ModelFormatError(
            f"config.json: rope_parameters has settings for {str(min(strange))[:40]!r} layers; "
            f"known: {_FULL}, {_LOCAL}"
        )
    near, far = dict(kinds.get(_LOCAL, {})), dict(kinds.get(_FULL) or kinds.get(_LOCAL, {}))
    if near in ({}, far):
        return far, {}
    if not local:
        raise ModelFormatError(
            f"config.json: rope_parameters of {_FULL} and {_LOCAL} differ; the model has one rotation"
        )
    if _kind(near) not in ("default", "none"):
        raise ModelFormatError(
            f"config.json: rope_parameters of {_LOCAL} are scaled ({_kind(near)}); the model computes a "
            "plain rotation there"
        )
    return far, near


def unused_rope_settings(config: Mapping[str, Any], local: bool = False) -> list[str]:
    """Names and values of settings of the rotation that nothing reads."""
    return [
        f"{name} = {str(value)[:60]} of the rope settings"
        for table in rope_settings(config, local)
        for name, value in table.items()
        if value and name not in _PLAIN | _READ.get(_kind(table), {"factor", _ORIGINAL})
    ]


def _kind(settings: Mapping[str, Any]) -> str:
    return settings.get("rope_type", settings.get("type")) or "default"


def rope_metadata(
    config: Mapping[str, Any], rotated: int, local: bool = False
) -> tuple[dict[str, object], np.ndarray | None]:
    """Return metadata and divisors; `rotated` is the number of rotated places of a head."""
    settings, near = rope_settings(config, local)
    theta = settings.get("rope_theta", config.get("rope_theta", 10000.0))
    keys: dict[str, object] = {
        "rope.freq_base": _number(theta, "rope_theta"),
        "rope.dimension_count": rotated,
    }
    if near:
        keys["rope.freq_base_swa"] = _number(near.get("rope_theta", theta), "rope_theta")
    kind = _kind(settings)
    if kind in ("default", "none"):
        return keys, None
    if kind == "llama3":
        return keys, llama3_divisors(settings, float(keys["rope.freq_base"]), rotated)  # type: ignore[arg-type]
    if kind == "linear":
        keys |= {
            "rope.scaling.type": "linear",
            "rope.scaling.factor": _number(settings.get("factor"), "factor"),
        }
        return keys, None
    if kind == "yarn":
        if settings.get("truncate") is False:
            raise ModelFormatError("config.json: yarn with truncate = false is not computed here")
        original = settings.get(_ORIGINAL, config.get("max_position_embeddings"))
        keys["rope.scaling.type"] = "yarn"
        keys["rope.scaling.factor"] = _number(settings.get("factor"), "factor")
        keys["rope.scaling.original_context_length"] = int(_number(original, _ORIGINAL))
        for ours, theirs in _YARN.items():
            if settings.get(theirs) is not None:
                keys[f"rope.scaling.{ours}"] = _number(settings[theirs], theirs)
        scale, all_dims = settings.get("mscale"), settings.get("mscale_all_dim")
        factor = _number(settings.get("factor"), "factor")
        attention = settings.get("attention_factor")
        if attention is None and scale and all_dims:
            attention = _mscale(factor, float(scale)) / _mscale(factor, float(all_dims))
        if attention is not None:  # a model file has the factor on top of the usual one
            usual = _mscale(factor, 1.0)
            keys["rope.scaling.yarn_attn_factor"] = _number(attention, "attention_factor") / usual
        return keys, None
    raise ModelFormatError(
        f"config.json: rope type {str(kind)[:40]!r} is not known; known: llama3, linear, yarn"
    )


def llama3_divisors(settings: Mapping[str, Any], theta: float, rotated: int) -> np.ndarray:
    """What divides every frequency: 1 for short waves, `factor` for long ones, a ramp between."""
    factor, low, high, original = (
        _number(settings.get(name), name)
        for name in ("factor", "low_freq_factor", "high_freq_factor", _ORIGINAL)
    )
    if high <= low:
        raise ModelFormatError("config.json: high_freq_factor must be above low_freq_factor")
    frequencies = theta ** -(np.arange(0, rotated, 2, dtype=np.float64) / rotated)
    turns = original * frequencies / (2 * math.pi)  # of the wave within the original context
    smooth = np.clip((turns - low) / (high - low), 0.0, 1.0)
    return (1.0 / ((1.0 - smooth) / factor + smooth)).astype(np.float32)


def _mscale(factor: float, scale: float) -> float:
    return 0.1 * scale * math.log(factor) + 1.0 if factor > 1 else 1.0


def _number(value: object, name: str) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, int | float)
        or not math.isfinite(value)
        or value <= 0
    ):
        raise ModelFormatError(
            f"config.json: {name} of the rope settings is {str(value)[:40]}, not a positive number"
        )
    return float(value)
