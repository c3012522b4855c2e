"""The table of angles that rotary positions read: one cosine and sine per position and pair."""

from __future__ import annotations

import numpy as np

from lumen_core.ir.operations.model import frequencies
from lumen_core.schedule.phases import Rotary


def rope_tables(rotary: Rotary, factors: np.ndarray, positions: int) -> tuple[np.ndarray, np.ndarray]:
    """Return cosines and sines, f32 [positions, R / 2], of all angles; factors divide the speed."""
    speed = frequencies(rotary.pairs, rotary.theta, **dict(rotary.scaling)) / factors.astype(np.float64)
    angles = np.arange(positions, dtype=np.float64)[:, None] * speed
    cosine, sine = (rotary.magnitude * turned(angles) for turned in (np.cos, np.sin))
    return cosine.astype(np.float32), sine.astype(np.float32)
