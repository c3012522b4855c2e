"""Writing GGUF files, version 3: header first, then tensor after tensor, so that memory stays small.

In: a path, metadata, and a plan of names, formats and shapes.  Out: a writer that takes each tensor's bytes
in the order of the plan.  The bytes go to a temporary file beside the target, which gets its name only when
everything is on the disk: whoever looks sees the old file, no file, or the whole new one.
"""

from __future__ import annotations

import contextlib
import os
import struct
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from lumen_core.errors import LumenError, ModelFormatError
from lumen_core.weights.model_file import TensorPlan
from lumen_quant_gguf.foreign import PREFIX, Types, metadata_of, types_of_plan
from lumen_quant_gguf.type_ids import ARRAY, BOOL, STRING, VALUE_TYPES

ALIGNMENT = 32  # where the metadata ask for no other
_IDS = {np.dtype(name): kind for kind, (name, _) in VALUE_TYPES.items()}


def _string(text: str) -> bytes:
    data = text.encode("utf-8")
    return struct.pack("<Q", len(data)) + data


def _numbers(values: np.ndarray) -> bytes:
    values = np.ascontiguousarray(values)
    kind = _IDS.get(values.dtype.newbyteorder("<") if values.dtype.itemsize > 1 else values.dtype)
    if kind is None or values.ndim != 1:
        raise ValueError(f"no GGUF array holds {values.dtype} of shape {values.shape}")
    little = values.astype(values.dtype.newbyteorder("<"))
    return struct.pack("<IIQ", ARRAY, kind, len(values)) + little.tobytes()


def encode_value(value: object) -> bytes:
    """A value with its type in front; Python numbers take the narrowest type that readers expect."""
    if isinstance(value, bool | np.bool_):
        return struct.pack("<I?", BOOL, bool(value))
    if isinstance(value, int | np.integer):
        number = int(value)
        if 0 <= number < 1 << 32:
            return struct.pack("<II", 4, number)
        return struct.pack("<IQ", 10, number) if number >= 0 else struct.pack("<Iq", 11, number)
    if isinstance(value, float | np.floating):
        return struct.pack("<If", 6, float(value))
    if isinstance(value, str):
        return struct.pack("<I", STRING) + _string(value)
    if isinstance(value, np.ndarray):
        return _numbers(value)
    if isinstance(value, Sequence):
        items = value.tolist() if hasattr(value, "tolist") else list(value)
        if all(isinstance(item, str) for item in items):
            head = struct.pack("<IIQ", ARRAY, STRING, len(items))
            return head + b"".join(map(_string, items))
        if all(isinstance(item, bool) for item in items):
            return _numbers(np.array(items, bool))
        if all(isinstance(item, int) for item in items):
            return _numbers(np.array(items, np.int32))
        return _numbers(np.array(items, np.float32))
    raise ValueError(f"GGUF metadata cannot hold a {type(value).__name__}")


def tensor_bytes(plan: TensorPlan, types: Types) -> int:
    kind = types.by_name[plan.format]
    if not plan.shape or plan.shape[-1] % kind.block:
        raise ModelFormatError(
            f"tensor {plan.name}: shape {plan.shape} does not fill blocks of {kind.block} ({plan.format})"
        )
    length = kind.row_bytes(plan.shape[-1])
    for size in plan.shape[:-1]:
        length *= size
    return length


class GgufWriter:
    """Takes the bytes of the planned tensors one after the other (in pieces, if the caller likes)."""

    def __init__(self, path: Path, metadata: Mapping[str, object], plan: Sequence[TensorPlan]):
        self.path = Path(path)
        self._plan = tuple(plan)
        self._types = types_of_plan(self._plan)
        self._lengths = [tensor_bytes(entry, self._types) for entry in self._plan]
        kept = {key: value for key, value in metadata.items() if not key.startswith(PREFIX)}
        alignment = metadata.get("general.alignment", ALIGNMENT)
        assert isinstance(alignment, int), alignment  # a reader checked it, or a program chose it
        self._alignment = alignment
        header = self._header(kept | metadata_of(self._types))
        self._next = 0
        self._left = self._lengths[0] if self._lengths else 0
        try:
            handle, self._temporary = tempfile.mkstemp(prefix=f".{self.path.name}.", suffix=".partial",
                                                       dir=self.path.parent)  # fmt: skip
        except OSError as error:
            raise LumenError(f"{self.path} cannot be written: {error.strerror}") from None
        self._file = os.fdopen(handle, "wb", buffering=1 << 20)
        self._put(header)

    def _header(self, metadata: Mapping[str, object]) -> bytes:
        parts = [b"GGUF", struct.pack("<IQQ", 3, len(self._plan), len(metadata))]
        parts += [_string(key) + encode_value(value) for key, value in metadata.items()]
        offset = 0
        for entry, length in zip(self._plan, self._lengths, strict=True):
            rank = len(entry.shape)
            parts.append(_string(entry.name) + struct.pack(f"<I{rank}Q", rank, *entry.shape[::-1]))
            parts.append(struct.pack("<IQ", self._types.by_name[entry.format].id, offset))
            offset += length + self._pad(length)
        header = b"".join(parts)
        return header + bytes(self._pad(len(header)))

    def _pad(self, length: int) -> int:
        return -length % self._alignment

    def _put(self, data: bytes | memoryview) -> None:
        try:
            self._file.write(data)
        except OSError as error:
            self.abort()
            raise LumenError(f"{self.path} cannot be written: {error.strerror}") from None

    def write(self, data: bytes | np.ndarray) -> None:
        if isinstance(data, np.ndarray):
            view = np.ascontiguousarray(data).reshape(-1).view(np.uint8).data
        else:
            view = memoryview(data)
        if self._next >= len(self._plan) or len(view) > self._left:
            self.abort()
            raise ValueError(f"more bytes than planned for tensor {min(self._next, len(self._plan) - 1)}")
        self._put(view)
        self._left -= len(view)
        while self._next < len(self._plan) and not self._left:
            self._put(bytes(self._pad(self._lengths[self._next])))
            self._next += 1
            self._left = self._lengths[self._next] if self._next < len(self._plan) else 0

    def close(self) -> None:
        """Finish: everything reaches the disk, then the file gets its name."""
        if self._next < len(self._plan):
            self.abort()
            raise ValueError(f"tensor {self._plan[self._next].name} is missing {self._left} bytes")
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(self._temporary, 0o666 & ~mask)
            os.replace(self._temporary, self.path)
            _sync_folder(self.path.parent)
        except OSError as error:
            self.abort()
            raise LumenError(f"{self.path} cannot be written: {error.strerror}") from None

    def abort(self) -> None:
        """Leave no trace."""
        with contextlib.suppress(OSError):
            self._file.close()
        with contextlib.suppress(OSError):
            os.unlink(self._temporary)


def _sync_folder(folder: Path) -> None:
    """Make a new name last; not every system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def create(path: Path, metadata: Mapping[str, object], plan: Sequence[TensorPlan]) -> GgufWriter:
    return GgufWriter(path, metadata, plan)
