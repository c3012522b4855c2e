"""Weights like those of models, the same on every machine: for measuring quantizers."""

from __future__ import annotations

import numpy as np

ROWS, COLUMNS = 64, 1024
KINDS = ("gaussian", "student3", "student5")


def sample(kind: str) -> np.ndarray:
    """f32 [ROWS, COLUMNS] with mean 0: Gaussian, or Student-t with that many degrees of freedom."""
    generator = np.random.default_rng([7, KINDS.index(kind)])
    if kind == "gaussian":
        values = generator.standard_normal((ROWS, COLUMNS))
    else:
        values = generator.standard_t(int(kind[-1]), (ROWS, COLUMNS))
    return (values * 0.02).astype(np.float32)


def relative_error(found: np.ndarray, wanted: np.ndarray) -> float:
    """RMSE divided by the root mean square of what was wanted."""
    difference = found.astype(np.float64) - wanted
    return float(np.sqrt(np.mean(difference**2) / np.mean(wanted.astype(np.float64) ** 2)))
