"""Files of packed weights: what `lumen pack` writes, so that a start only maps them.

Such a file is of the usual container. It has the metadata of its source, the tensors that programs read as
they are in the source, and one tensor of bytes, `lumen.packed.weights`: the matrices in the packed layout,
one behind the other as a step reads them. Metadata under `lumen.packed.` say what stands there:

    names, formats, ranks, shapes, bytes   of each matrix; `shapes` joins all shapes
    packings, digests                      format -> what decides its packed bytes (`packing.packing_digest`)
    target, version                        what it was packed for, and by which Lumen

In: an opened file of a container, or tensors to describe.  Out: a `PackedFile`, or metadata.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NoReturn

import numpy as np

from lumen_core.errors import ModelFormatError
from lumen_core.quant.layout import ALIGNMENT
from lumen_core.weights.model_file import FileTensor, ModelFile

PREFIX = "lumen.packed."
WEIGHTS = PREFIX + "weights"
_MOST_DIMENSIONS = 4
_STRINGS = ("names", "formats", "packings", "digests")
_NUMBERS = ("ranks", "shapes", "bytes")


class PackedTensor(FileTensor):
    """A matrix whose packed bytes are in the file; its own bytes only where a program reads those too."""

    packed: np.ndarray

    def __init__(self, name: str, format: str, shape: tuple[int, ...], packed: np.ndarray,
                 own: FileTensor | None, file: object):  # fmt: skip
        for field, value in (("name", name), ("format", format), ("shape", shape), ("origin", "")):
            object.__setattr__(self, field, value)
        object.__setattr__(self, "packed", packed)
        object.__setattr__(self, "_own", own)
        object.__setattr__(self, "_file", file)

    @property
    def data(self) -> np.ndarray:
        own: FileTensor | None = self._own  # type: ignore[attr-defined]
        if own is None:
            raise ModelFormatError(
                f"{self._file}: the weights of {self.name} are there in packed form only, "  # type: ignore[attr-defined]
                "which is for running; use the file that was packed"
            )
        return own.data

    @property
    def nbytes(self) -> int:
        return int(self.packed.nbytes)


class PackedFile(ModelFile):
    """An opened file of packed weights.

    digests  format -> digest of what its packed bytes mean
    target   what it was packed for, version: by which Lumen (both only for messages)
    """

    def __init__(self, file: ModelFile, tensors: Mapping[str, FileTensor], digests: Mapping[str, str],
                 target: str, version: str):  # fmt: skip
        super().__init__(file.path, file.architecture, file.metadata, tensors, file.sources, file.identities)
        self.digests = digests
        self.target = target
        self.version = version

    def require(self, digests: Mapping[str, str], target: str) -> None:
        """Check that this Lumen and this target would have packed the same bytes; raises ModelFormatError."""
        other = sorted(name for name, digest in self.digests.items() if digests.get(name) != digest)
        if other:
            raise ModelFormatError(
                f"{self.path} was packed for {self.target} by Lumen {self.version}; for {target} this Lumen "
                f"packs {', '.join(other)} otherwise. Pack the model again: lumen pack MODEL {self.path}"
            )


def describe(tensors: Sequence[tuple[FileTensor, int]], digests: Mapping[str, str], target: str,
             version: str) -> dict[str, object]:  # fmt: skip
    """Return the metadata for matrices and the sizes of their packed bytes."""
    values: dict[str, object] = {
        "names": [tensor.name for tensor, _ in tensors],
        "formats": [tensor.format for tensor, _ in tensors],
        "ranks": np.array([len(tensor.shape) for tensor, _ in tensors], np.uint32),
        "shapes": np.array([size for tensor, _ in tensors for size in tensor.shape], np.uint64),
        "bytes": np.array([size for _, size in tensors], np.uint64),
        "packings": list(digests),
        "digests": list(digests.values()),
        "target": target,
        "version": version,
    }
    return {PREFIX + name: value for name, value in values.items()} | {"general.alignment": ALIGNMENT}


def open_packed(file: ModelFile) -> ModelFile:
    """Return the file as one of packed weights if it is one, else as it is.

    Raises ModelFormatError where what it says of its packed weights does not fit together.
    """
    if WEIGHTS not in file.tensors and not any(key.startswith(PREFIX) for key in file.metadata):
        return file

    def fail(problem: str) -> NoReturn:
        raise ModelFormatError(f"{file.path}: {problem}; the file is corrupt: pack the model again")

    strings = {key: _strings(file.metadata.get(PREFIX + key)) for key in _STRINGS}
    numbers = {key: _numbers(file.metadata.get(PREFIX + key)) for key in _NUMBERS}
    for key, found in (strings | numbers).items():
        if found is None:
            fail(f"{PREFIX}{key} is missing or no array of {'strings' if key in strings else 'numbers'}")
    names, formats, packings, digests = (strings[key] or [] for key in _STRINGS)
    ranks, shapes, sizes = (numbers[key] or [] for key in _NUMBERS)
    region = file.tensors.get(WEIGHTS)
    if region is None or region.format != "i8":
        fail(f"the tensor {WEIGHTS} is missing or does not hold bytes")
    if not len(names) == len(formats) == len(ranks) == len(sizes) or len(packings) != len(digests):
        fail(f"the arrays under {PREFIX} have different lengths")
    if len(set(names)) != len(names) or not all(1 <= rank <= _MOST_DIMENSIONS for rank in ranks):
        fail(f"{PREFIX}names has a name twice, or {PREFIX}ranks a rank that is not 1 to {_MOST_DIMENSIONS}")
    if sum(ranks) != len(shapes) or sum(sizes) != region.nbytes:
        fail(f"{PREFIX}ranks or {PREFIX}bytes do not add up to what is there")
    if any(size % ALIGNMENT for size in sizes) or region.data.ctypes.data % ALIGNMENT:
        fail(f"packed weights do not begin at multiples of {ALIGNMENT} bytes")
    if unknown := set(formats) - set(packings):
        fail(f"{PREFIX}packings lacks {', '.join(sorted(unknown))}")
    tensors = {name: tensor for name, tensor in file.tensors.items() if name != WEIGHTS}
    start = place = 0
    for name, format, rank, size in zip(names, formats, ranks, sizes, strict=True):
        shape = tuple(shapes[place : place + rank])
        own = tensors.get(name)
        if own is not None and (own.shape, own.format) != (shape, format):
            fail(f"the tensor {name} is there twice, with different shapes or formats")
        tensors[name] = PackedTensor(name, format, shape, region.data[start : start + size], own, file.path)
        start, place = start + size, place + rank
    target, version = (str(file.metadata.get(PREFIX + key, "?"))[:60] for key in ("target", "version"))
    return PackedFile(file, tensors, dict(zip(packings, digests, strict=True)), target, version)


def _strings(value: object) -> list[str] | None:
    items = value.tolist() if hasattr(value, "tolist") else value
    return items if isinstance(items, list) and all(isinstance(item, str) for item in items) else None


def _numbers(value: object) -> list[int] | None:
    whole = isinstance(value, np.ndarray) and value.dtype.kind in "iu" and bool((value >= 0).all())
    return value.tolist() if isinstance(value, np.ndarray) and whole else None
