"""Importance files: how strongly each column of a matrix was used, as a GGUF file of sums and counts.

In and out: `Importance`. For a matrix of the model there are two tensors, `NAME.in_sum2` (f32, one row of K
sums of squares per matrix) and `NAME.counts` (f32, one number per matrix). The older `.dat` files of
llama.cpp are read too: a count of entries, then for each its name, the number of calls and the mean squares
times that number.
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
    """Read an importance file, new or old; raises ModelFormatError for anything else."""
    with open(path, "rb") as file:
        new = file.read(4) == b"GGUF"
    return _read_tensors(path) if new else _read_entries(path)


def _read_tensors(path: Path) -> Importance:
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
            _require_sums(path, name, sums[base], counts[base])
        datasets = metadata.get("imatrix.datasets", ())
        names = datasets.tolist() if hasattr(datasets, "tolist") else list(datasets)  # type: ignore[call-overload]
        return Importance(
            sums, counts, _whole(metadata, "imatrix.chunk_count"), _whole(metadata, "imatrix.chunk_size"),
            tuple(str(item) for item in names),
        )  # fmt: skip
    finally:
        tensors = {}
        source.close()


def _require_sums(path: Path, name: str, sums: np.ndarray, counts: np.ndarray) -> None:
    if not np.isfinite(sums).all() or (sums < 0).any() or not (counts >= 0).all():
        raise ModelFormatError(f"{path}: {name} holds numbers that are no sums of squares")


class _Entries:
    """Reads an old file front to back; nothing is taken that the file does not hold."""

    def __init__(self, path: Path):
        self.path = path
        self.data = path.read_bytes()
        self.position = 0

    def take(self, size: int) -> bytes:
        if not 0 <= size <= len(self.data) - self.position:
            raise ModelFormatError(
                f"{self.path} is no importance file: at byte {self.position} {size} bytes are wanted, "
                f"{len(self.data) - self.position} are left"
            )
        self.position += size
        return self.data[self.position - size : self.position]

    def number(self) -> int:
        return int.from_bytes(self.take(4), "little", signed=True)


def _read_entries(path: Path) -> Importance:
    entries = _Entries(path)
    count = entries.number()
    if not 0 < count <= len(entries.data) // 12:
        raise ModelFormatError(f"{path} is no importance file: neither a GGUF file nor an old one "
                               f"(it would have {count} entries)")  # fmt: skip
    sums, counts = {}, {}
    for _ in range(count):
        name = entries.take(entries.number()).decode("utf-8", "replace")
        calls = entries.number()
        values = np.frombuffer(entries.take(4 * max(entries.number(), 0)), "<f4")
        sums[name], counts[name] = values.reshape(1, -1).copy(), np.array([calls], np.float32)
        _require_sums(path, name, sums[name], counts[name])
    if entries.position == len(entries.data):
        return Importance(sums, counts, 0, 0)
    chunks = entries.number()
    return Importance(sums, counts, chunks, 0, (entries.take(entries.number()).decode("utf-8", "replace"),))


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
