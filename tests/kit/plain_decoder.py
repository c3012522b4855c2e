"""Kanana-2 1.3B once more in plain numpy, float64, from its description: what its page is compared with.

One token at a time against all before it, no cache, no pages, nothing of the compiler.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np


def _norm(x: np.ndarray, weight: np.ndarray, epsilon: float) -> np.ndarray:
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * weight


def _yarn(size: int, theta: float, factor: float, original: float) -> tuple[np.ndarray, float]:
    """Frequencies and the factor on cosines and sines, pair by pair as the paper has them."""
    frequencies = []
    low = math.floor(size * math.log(original / (32 * 2 * math.pi)) / (2 * math.log(theta)))
    high = math.ceil(size * math.log(original / (1 * 2 * math.pi)) / (2 * math.log(theta)))
    low, high = max(low, 0), min(high, size - 1)
    for pair in range(size // 2):
        plain = theta ** (-2 * pair / size)
        ramp = min(max((pair - low) / max(high - low, 0.001), 0.0), 1.0)
        frequencies.append(plain / factor * ramp + plain * (1 - ramp))
    return np.array(frequencies), 0.1 * math.log(factor) + 1


def _turn(heads: np.ndarray, position: int, frequencies: np.ndarray, magnitude: float) -> np.ndarray:
    half = len(frequencies)
    cos, sin = (magnitude * f(position * frequencies) for f in (np.cos, np.sin))
    first, second = heads[:, :half], heads[:, half:]
    return np.concatenate([first * cos - second * sin, second * cos + first * sin], axis=1)


def logits(weights: Mapping[str, np.ndarray], settings: Mapping[str, Any], ids: Sequence[int]) -> np.ndarray:
    """Logits after every token, [T, V]; weights and settings by their names in a file."""
    heads, groups, size = (
        int(settings[f"attention.{key}"]) for key in ("head_count", "head_count_kv", "key_length")
    )  # fmt: skip
    epsilon, theta = float(settings["attention.layer_norm_rms_epsilon"]), float(settings["rope.freq_base"])
    window, pattern = int(settings["attention.sliding_window"]), settings["attention.sliding_window_pattern"]
    far = _yarn(
        size, theta, float(settings["rope.scaling.factor"]),
        float(settings["rope.scaling.original_context_length"]),
    )  # fmt: skip
    near = (theta ** (-np.arange(0, size, 2) / size), 1.0)
    x = weights["token_embd.weight"][list(ids)].astype(np.float64)
    for layer in range(int(settings["block_count"])):
        own = {
            name.split(".")[2]: value.astype(np.float64)
            for name, value in weights.items()
            if name.startswith(f"blk.{layer}.")
        }
        local = bool(pattern[layer])
        h = _norm(x, own["attn_norm"], epsilon)
        mixed, keys, values = [], [], []
        for position, row in enumerate(h):
            q = _norm((own["attn_q"] @ row).reshape(heads, size), own["attn_q_norm"], epsilon)
            k = _norm((own["attn_k"] @ row).reshape(groups, size), own["attn_k_norm"], epsilon)
            q, k = (_turn(each, position, *(near if local else far)) for each in (q, k))
            keys.append(k)
            values.append((own["attn_v"] @ row).reshape(groups, size))
            begin = max(0, position - window + 1) if local else 0
            seen, worth = np.array(keys[begin:]), np.array(values[begin:])
            out = []
            for head in range(heads):
                group = head * groups // heads
                scores = seen[:, group] @ q[head] / math.sqrt(size)
                weight = np.exp(scores - scores.max())
                out.append(weight / weight.sum() @ worth[:, group])
            mixed.append(own["attn_output"] @ np.concatenate(out))
        x = x + np.array(mixed)
        h = _norm(x, own["ffn_norm"], epsilon)
        gate, up = h @ own["ffn_gate"].T, h @ own["ffn_up"].T
        x = x + (gate / (1 + np.exp(-gate)) * up) @ own["ffn_down"].T
    return _norm(x, weights["output_norm.weight"], epsilon) @ weights["output.weight"].T
