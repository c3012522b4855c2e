"""What sampling means, in numpy: the compiled sampler must choose the same tokens.

The order is that of llama.cpp's default chain: repetition penalty, top-k, top-p, min-p, temperature.
Filters look at weights exp(logit - maximum); values that tie with the last one kept are kept too.
"""

from __future__ import annotations

import numpy as np

_MASK = (1 << 64) - 1
_STEP = 0x9E3779B97F4A7C15


def mix(bits: int) -> int:
    """Return the finalizer of splitmix64."""
    bits = (bits ^ (bits >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    bits = (bits ^ (bits >> 27)) * 0x94D049BB133111EB & _MASK
    return bits ^ (bits >> 31)


def uniform(seed: int, position: int) -> float:
    """Return the number in [0, 1) that belongs to a seed and a position; it has 24 bits."""
    return (mix((mix(seed & _MASK) + (position + 1) * _STEP) & _MASK) >> 40) / 2.0**24


def penalized(logits: np.ndarray, recent: np.ndarray, penalty: float) -> np.ndarray:
    result = logits.astype(np.float32).copy()
    for token in np.unique(recent):
        value = result[token]
        result[token] = value / np.float32(penalty) if value > 0 else value * np.float32(penalty)
    return result


def kept_weights(logits: np.ndarray, top_k: int = 0, top_p: float = 1.0, min_p: float = 0.0) -> np.ndarray:
    """Return a mask of the tokens that the filters leave."""
    weights = np.exp(logits.astype(np.float64) - logits.max())
    order = np.argsort(-weights, kind="stable")
    threshold = 0.0
    if 0 < top_k < weights.size:
        threshold = weights[order[top_k - 1]]
    if top_p < 1.0:
        ranked = weights[order][weights[order] >= threshold]
        enough = np.searchsorted(np.cumsum(ranked), top_p * ranked.sum(), side="left")
        threshold = max(threshold, ranked[min(enough, ranked.size - 1)])
    return weights >= max(threshold, min_p)


def sample(
    logits: np.ndarray,
    recent: np.ndarray,
    penalty: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    min_p: float = 0.0,
    temperature: float = 1.0,
    seed: int = 0,
    position: int = 0,
) -> int:
    logits = penalized(logits, recent, penalty)
    if temperature <= 0.0:
        return int(np.argmax(logits))
    kept = kept_weights(logits, top_k, top_p, min_p)
    weights = np.where(kept, np.exp((logits.astype(np.float64) - logits.max()) / temperature), 0.0)
    reached = np.cumsum(weights) > uniform(seed, position) * weights.sum()
    return int(np.argmax(reached & kept))
