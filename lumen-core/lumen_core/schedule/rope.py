"""The table of angles that rotary positions read: one cosine and sine per position and pair."""

from __future__ import annotations

import numpy as np


def rope_tables(theta: float, factors: np.ndarray, positions: int) -> tuple[np.ndarray, np.ndarray]:
    """Return cosines and sines, f32 [positions, R / 2], of position * theta ** (-2i / R) / factors[i]."""
    half = len(factors)
    frequencies = theta ** (-np.arange(half, dtype=np.float64) / max(half, 1)) / factors
    angles = np.arange(positions, dtype=np.float64)[:, None] * frequencies
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
