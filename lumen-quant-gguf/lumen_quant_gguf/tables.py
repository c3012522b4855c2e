"""Code books of the block formats: read from the `gguf` package, which is their reference.

In: a table's name in `formats.lum`. Out: its values, an integer array. The package is imported when a format
that needs a table is first used.
"""

from __future__ import annotations

import numpy as np

_GRIDS = {
    "grid_2xxs": "IQ2_XXS", "grid_2xs": "IQ2_XS", "grid_2s": "IQ2_S",
    "grid_3xxs": "IQ3_XXS", "grid_3s": "IQ3_S", "grid_1": "IQ1_S",
}  # fmt: skip
_SCALARS = {"nonlinear": "IQ4_NL", "doubled_e2m1": "MXFP4"}


def table(name: str) -> np.ndarray:
    """Return the values of a table; raises KeyError for a name that `formats.lum` does not declare."""
    import gguf.quants as quants

    if name in _SCALARS:
        return np.array(getattr(quants, _SCALARS[name]).kvalues, np.int64)
    if name == "signs":  # 7 stored bits; the eighth makes the number of minus signs even
        stored = np.frombuffer(quants.IQ2_XXS.ksigns, np.uint8)
        return 1 - 2 * (stored[:, None] >> np.arange(8) & 1).astype(np.int64)
    owner = getattr(quants, _GRIDS[name])
    owner.init_grid()
    return np.asarray(owner.grid).reshape(owner.grid_shape).astype(np.int64)
