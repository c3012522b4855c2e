"""What every model file becomes: metadata and tensors that are views of the mapped bytes.

In: a path, through the `open` of a `Reader` that a plugin contributes.  Out: a `ModelFile`.
Nothing is copied: `FileTensor.data` points into the map, and `ModelFile.release` gives its pages back.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Protocol

import numpy as np

from lumen_core.errors import ModelFormatError


@dataclass(frozen=True, eq=False)
class FileTensor:
    """One tensor as it stands in a file; `shape` is in numpy order (rows first)."""

    name: str
    format: str
    shape: tuple[int, ...]
    data: np.ndarray = field(repr=False)
    origin: str = ""  # what the source calls it, if otherwise
    order: np.ndarray | None = field(default=None, repr=False)  # i32 [K]: its columns, where they are sorted

    @property
    def nbytes(self) -> int:
        return int(self.data.nbytes)

    def named(self, name: str, origin: str) -> FileTensor:
        """The same tensor under another name."""
        return replace(self, name=name, origin=origin)


class MadeTensor(FileTensor):
    """A tensor whose bytes are put together from others every time they are asked for."""

    def __init__(self, name: str, format: str, shape: tuple[int, ...], origin: str,
                 make: Callable[[], np.ndarray], sources: Sequence[FileTensor], nbytes: int,
                 order: np.ndarray | None = None):  # fmt: skip
        values = {"name": name, "format": format, "shape": shape, "origin": origin, "order": order,
                  "sources": tuple(sources), "_make": make, "_nbytes": nbytes}  # fmt: skip
        for attribute, value in values.items():
            object.__setattr__(self, attribute, value)

    @property
    def data(self) -> np.ndarray:
        return self._make().reshape(-1).view(np.uint8)  # type: ignore[attr-defined]

    @property
    def nbytes(self) -> int:
        return int(self._nbytes)  # type: ignore[attr-defined]

    def named(self, name: str, origin: str) -> FileTensor:
        return MadeTensor(name, self.format, self.shape, origin, self._make, self.sources,  # type: ignore[attr-defined]
                          self.nbytes, self.order)  # fmt: skip


@dataclass(frozen=True)
class FormatIdentity:
    """Which declaration a format's name stands for: its digest, a block's size and what rows store once."""

    name: str
    digest: str
    block: int
    block_bytes: int
    header_bytes: int = 0


class MappedFile:
    """A whole regular file, mapped read-only; `bytes` is a uint8 view of it."""

    def __init__(self, path: Path):
        self.path = path
        try:
            status = os.stat(path)
            if stat.S_ISDIR(status.st_mode):
                raise ModelFormatError(f"{path} is a directory; name the model file inside it")
            if not stat.S_ISREG(status.st_mode):  # a pipe would block, a device has no size
                raise ModelFormatError(f"{path} is not a regular file and cannot be mapped")
            if status.st_size == 0:
                raise ModelFormatError(f"{path} is empty (0 bytes); download or copy it again")
            with open(path, "rb") as file:
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except FileNotFoundError:
            raise ModelFormatError(f"{path}: no such file; check the name and the folder") from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ModelFormatError(f"{path} cannot be read: {reason}") from None
        self.bytes = np.frombuffer(self._map, np.uint8)
        self.address = self.bytes.ctypes.data
        self.size = len(self.bytes)

    def release(self, start: int, length: int) -> None:
        """Tell the system that these bytes are not needed for now; a later read loads them again."""
        if length <= 0 or not hasattr(self._map, "madvise"):
            return
        first = start - start % mmap.PAGESIZE
        with contextlib.suppress(OSError, ValueError):  # advice only: refused, it merely keeps the pages
            self._map.madvise(mmap.MADV_DONTNEED, first, start + length - first)

    def close(self) -> None:
        self.bytes = np.empty(0, np.uint8)
        with contextlib.suppress(BufferError):  # views are still alive; the map goes with the last of them
            self._map.close()


class ModelFile:
    """An opened model file: `architecture`, `metadata` and `tensors`, checked against its size."""

    def __init__(self, path: Path, architecture: str, metadata: Mapping[str, object],
                 tensors: Mapping[str, FileTensor], sources: Sequence[MappedFile],
                 identities: Mapping[str, FormatIdentity] | None = None,
                 remarks: tuple[str, ...] = ()):  # fmt: skip
        self.path = path
        self.architecture = architecture
        self.metadata = metadata
        self.tensors = tensors
        self.identities = identities or {}  # of formats that the container itself does not know
        self.sources = tuple(sources)
        self.remarks = remarks  # what its settings say and nothing here computes

    @property
    def size(self) -> int:
        """Bytes on disk, all parts of a split file together."""
        return sum(source.size for source in self.sources)

    @property
    def paths(self) -> tuple[Path, ...]:
        """The files that it consists of: one, or all parts of a split one."""
        return tuple(source.path for source in self.sources)

    def used(self, tensor: FileTensor, amount: int) -> int:
        """The part of a tensor's `amount` (of numbers, of bytes) that one token takes.

        Of a stack of experts' matrices these are the experts that it chooses.
        """
        chosen = self.experts_of_a_token
        if len(tensor.shape) < 3 or chosen is None:
            return amount
        return amount // tensor.shape[0] * min(chosen, tensor.shape[0])

    @property
    def experts_of_a_token(self) -> int | None:
        """How many experts a token takes, in a model that has a choice."""
        chosen = self.metadata.get(f"{self.architecture}.expert_used_count")
        return int(chosen) if isinstance(chosen, int | np.integer) and chosen > 0 else None

    def release(self, tensor: FileTensor) -> None:
        """Give back the pages of a tensor that has been packed, or of those that it was made from."""
        if isinstance(tensor, MadeTensor):
            for part in tensor.sources:  # type: ignore[attr-defined]
                self.release(part)
            return
        address = tensor.data.ctypes.data
        for source in self.sources:
            if source.address <= address < source.address + source.size:
                source.release(address - source.address, tensor.data.nbytes)
                return

    def close(self) -> None:
        self.tensors = {}
        for source in self.sources:
            source.close()

    def __enter__(self) -> ModelFile:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self.close()


@dataclass(frozen=True)
class TensorPlan:
    """A tensor that is to be written: its data come later, in the order of the plan.

    `identity` tells a container that has no number for the format what it is.
    """

    name: str
    format: str
    shape: tuple[int, ...]
    identity: FormatIdentity | None = None


class ModelWriter(Protocol):
    """Writes the tensors of a plan one after the other; the file appears only when `close` succeeds."""

    def write(self, data: bytes | np.ndarray) -> None: ...
    def close(self) -> None: ...
    def abort(self) -> None: ...


@dataclass(frozen=True)
class Importance:
    """How strongly the columns of matrices were used while a model read a text.

    sums    tensor name -> f32 [matrices, K]: squared activations, added up over all tokens seen; old files
            have the columns of all matrices of a stack in one row
    counts  tensor name -> f32 [matrices], or of an old file [1]: how many activations were added up
    """

    sums: Mapping[str, np.ndarray]
    counts: Mapping[str, np.ndarray]
    chunks: int
    chunk_size: int
    datasets: tuple[str, ...] = ()

    def of(self, name: str, columns: int) -> np.ndarray | None:
        """f32 [matrices, columns]: the mean square of each column; None for a tensor that is not in it.

        All columns of a matrix that was never used, such as an expert's that no token chose, count the same.
        """
        if name not in self.sums:
            return None
        counts = self.counts[name][:, None]
        mean = self.sums[name] / np.maximum(counts, 1)
        return np.where(counts > 0, mean, np.float32(1)).reshape(-1, columns)


@dataclass(frozen=True)
class Reader:
    """A file container that a plugin brings.

    `create` (optional) starts writing a new file of this kind, `holds` names the formats that every reader of
    such files knows, `formats` (optional) resolves the name of
    a mixture such as `q4_k_m` to one format per tensor (given shapes, the number of layers and whether there
    are importances), `labels` gives the metadata that a file of such a mixture carries, `want_importance` the
    tensors whose formats are poor without importances, and `read_importance` / `write_importance` handle
    files of those.
    """

    name: str
    matches: Callable[[Path], bool]
    open: Callable[[Path], ModelFile]
    create: Callable[[Path, Mapping[str, object], Sequence[TensorPlan]], ModelWriter] | None = None
    holds: tuple[str, ...] = ()
    formats: Callable[[str, Mapping[str, tuple[int, ...]], int, bool], dict[str, str]] | None = None
    labels: Callable[[str], dict[str, object]] | None = None
    want_importance: Callable[[str, Mapping[str, str]], list[str]] | None = None
    read_importance: Callable[[Path], Importance] | None = None
    write_importance: Callable[[Path, Importance], None] | None = None
