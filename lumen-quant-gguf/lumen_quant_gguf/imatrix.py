"""Importance files: how strongly each column of a matrix was used, as a GGUF file of sums and counts.

In and out: `Importance`. For a matrix of the model there are two tensors, `NAME.in_sum2` (f32, one row of K
sums of squares per matrix) and `NAME.counts` (f32, one number per matrix).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from lumen_core.errors import ModelFormatError
from lumen_core.weights.model_file import Importance, MappedFile, TensorPlan
from lumen_quant_gguf.container import read_part
from lumen_quant_gguf.writer import create

_SUMS, _COUNTS = ".in_sum2", ".counts"


def read(path: Path) -> Importance:
    """Read an importance file; raises ModelFormatError for anything else."""
    source = MappedFile(Path(path))
    try:
        metadata, tensors = read_part(source)
        if metadata.get("general.type") != "imatrix" and not any(name.endswith(_SUMS) for name in tensors):
            raise ModelFormatError(f"{path} is no importance file: general.type is "
                                   f"{metadata.get('general.type')!r}, not 'imatrix'")  # fmt: skip
        sums, counts = {}, {}
        for name, tensor in tensors.items():
            if not name.endswith(_SUMS):
                continue
            base = name.removesuffix(_SUMS)
            count = tensors.get(base + _COUNTS)
            if count is None or tensor.format != "f32" or count.format != "f32":
                raise ModelFormatError(f"{path}: {name} has no {base}{_COUNTS} beside it, or is not f32")
            sums[base] = tensor.data.view("<f4").reshape(-1, tensor.shape[-1]).copy()
            counts[base] = count.data.view("<f4").reshape(-1).copy()
            if len(sums[base]) != len(counts[base]):
                raise ModelFormatError(f"{path}: {name} has {len(sums[base])} matrices, its counts "
                                       f"{len(counts[base])}")  # fmt: skip
            if not np.isfinite(sums[base]).all() or (sums[base] < 0).any() or not (counts[base] >= 0).all():
                raise ModelFormatError(f"{path}: {name} holds numbers that are no sums of squares")
        datasets = metadata.get("imatrix.datasets", ())
        names = datasets.tolist() if hasattr(datasets, "tolist") else list(datasets)  # type: ignore[call-overload]
        return Importance(
            sums, counts, _whole(metadata, "imatrix.chunk_count"), _whole(metadata, "imatrix.chunk_size"),
            tuple(str(item) for item in names),
        )  # fmt: skip
    finally:
        tensors = {}
        source.close()


def _whole(metadata: dict[str, object], key: str) -> int:
    value = metadata.get(key, 0)
    return value if isinstance(value, int) else 0


def write(path: Path, importance: Importance) -> None:
    """Write an importance file; it appears when it is complete."""
    metadata: dict[str, object] = {
        "general.type": "imatrix",
        "imatrix.datasets": list(importance.datasets),
        "imatrix.chunk_count": importance.chunks,
        "imatrix.chunk_size": importance.chunk_size,
    }
    plan, data = [], []
    for name in sorted(importance.sums):
        sums, counts = importance.sums[name], importance.counts[name]
        plan.append(TensorPlan(name + _SUMS, "f32", sums.shape))
        plan.append(TensorPlan(name + _COUNTS, "f32", (len(counts), 1)))
        data += [sums, counts]
    writer = create(Path(path), metadata, plan)
    try:
        for values in data:
            writer.write(values.astype("<f4"))
        writer.close()
    except BaseException:
        writer.abort()
        raise
