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


def rope_metadata(config: Mapping[str, Any], rotated: int) -> tuple[dict[str, object], np.ndarray | None]:
    """Return metadata and divisors; `rotated` is the number of rotated places of a head."""
    settings = config.get("rope_parameters") or config.get("rope_scaling") or {}
    if not isinstance(settings, Mapping):
        raise ModelFormatError("config.json: rope_parameters is no table")
    theta = settings.get("rope_theta", config.get("rope_theta", 10000.0))
    keys: dict[str, object] = {
        "rope.freq_base": _number(theta, "rope_theta"),
        "rope.dimension_count": rotated,
    }
    kind = settings.get("rope_type", settings.get("type")) or "default"
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
        original = settings.get("original_max_position_embeddings", config.get("max_position_embeddings"))
        keys["rope.scaling.type"] = "yarn"
        keys["rope.scaling.factor"] = _number(settings.get("factor"), "factor")
        keys["rope.scaling.original_context_length"] = int(
            _number(original, "original_max_position_embeddings")
        )
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
        for name in ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
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
