"""Reading GGUF files (versions 2 and 3, little endian, split or whole) by memory map.

In: a path.  Out: a `ModelFile`, or a `ModelFormatError` that names the byte, the key or tensor, and a remedy.
Every count, length, offset and dimension is a Python integer compared with the file's size before it is used,
so that no file can make the reader allocate more than a small multiple of its own header.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

import numpy as np

from lumen_core.errors import ModelFormatError
from lumen_core.weights.model_file import FileTensor, Importance, MappedFile, ModelFile, Reader
from lumen_quant_gguf import strings
from lumen_quant_gguf.checks import check_metadata, check_tensors
from lumen_quant_gguf.foreign import Types, types_of_metadata
from lumen_quant_gguf.mixtures import labels, resolve, want_importance
from lumen_quant_gguf.split import part_paths
from lumen_quant_gguf.type_ids import (
    ARRAY,
    BOOL,
    REMOVED_TYPES,
    STRING,
    TENSOR_TYPES_BY_NAME,
    VALUE_TYPES,
    TensorTypeId,
)
from lumen_quant_gguf.writer import create

MAGIC = b"GGUF"
VERSIONS = (2, 3)
MAX_KEYS = 1 << 14
MAX_TENSORS = 1 << 16
MAX_KEY_BYTES = 65535
MAX_NAME_BYTES = 64
MAX_DIMENSIONS = 4
MAX_ALIGNMENT = 1 << 20
_SCALARS = {kind: struct.Struct("<" + code) for kind, code in
            zip((0, 1, 2, 3, 4, 5, 6, 7, 10, 11, 12), "BbHhIifBQqd", strict=True)}  # fmt: skip
_AGAIN = "the file is truncated or corrupt: download or convert it again"


@dataclass(frozen=True)
class _Entry:
    """A tensor's line in the table, before the data section is known."""

    name: str
    kind: TensorTypeId
    dimensions: tuple[int, ...]
    offset: int
    position: int


class _Cursor:
    """A position in the mapped bytes; every step is checked against the end."""

    def __init__(self, path: Path, data: np.ndarray):
        self.path = path
        self.data = data
        self.view = data.data
        self.size = len(data)
        self.position = 0

    def fail(self, what: str, problem: str, advice: str = _AGAIN, at: int | None = None) -> NoReturn:
        position = self.position if at is None else at
        raise ModelFormatError(f"{self.path}: {what} at byte {position} {problem}; {advice}")

    def take(self, length: int, what: str) -> int:
        """Step over `length` bytes and return where they began."""
        if length > self.size - self.position:
            self.fail(what, f"needs {length} bytes, but the file ends at byte {self.size}")
        start = self.position
        self.position += length
        return start

    def number(self, kind: int, what: str) -> int | float:
        form = _SCALARS[kind]
        return form.unpack_from(self.view, self.take(form.size, what))[0]

    def u32(self, what: str) -> int:
        return int(self.number(4, what))

    def u64(self, what: str) -> int:
        return int(self.number(10, what))

    def string(self, what: str, limit: int | None = None) -> str:
        begin = self.position
        length = self.u64(f"the length of {what}")
        if limit is not None and length > limit:
            self.fail(what, f"claims {length} bytes, more than the {limit} that are allowed", at=begin)
        start = self.take(length, what)
        try:
            return str(self.view[start : start + length], "utf-8")
        except UnicodeDecodeError as error:
            self.fail(what, f"is not UTF-8 ({error.reason})", at=start + error.start)


def _value(cursor: _Cursor, key: str, kind: int) -> object:
    what = f"the value of {key!r}"
    begin = cursor.position
    if kind == STRING:
        return cursor.string(what)
    if kind == BOOL:
        number = cursor.number(kind, what)
        if number not in (0, 1):
            cursor.fail(what, f"is the boolean {number}, neither 0 nor 1", at=begin)
        return bool(number)
    if kind in VALUE_TYPES:
        return cursor.number(kind, what)
    if kind != ARRAY:
        cursor.fail(what, f"has the unknown type {kind}", at=begin)
    return _array(cursor, key)


def _array(cursor: _Cursor, key: str) -> object:
    what = f"the array {key!r}"
    begin = cursor.position
    kind = cursor.u32(f"the element type of {what}")
    count = cursor.u64(f"the length of {what}")
    left = cursor.size - cursor.position
    if kind == ARRAY:
        cursor.fail(what, "holds arrays; no key of a model needs nesting", at=begin)
    if kind == STRING:
        if count > left // 8:
            cursor.fail(what, f"claims {count} strings, but only {left} bytes follow", at=begin)
        result, cursor.position = strings.scan(f"{cursor.path}: {key}", cursor.data, cursor.position, count)
        return result
    if kind not in VALUE_TYPES:
        cursor.fail(what, f"has the unknown element type {kind}", at=begin)
    element, size = VALUE_TYPES[kind]
    if count > left // size:
        cursor.fail(what, f"claims {count} elements of {size} bytes, but only {left} bytes follow", at=begin)
    start = cursor.take(count * size, what)
    numbers = np.frombuffer(cursor.view, np.uint8 if kind == BOOL else element, count, start)
    if kind == BOOL:
        if count and int(numbers.max()) > 1:
            cursor.fail(what, "holds booleans other than 0 and 1", at=begin)
        return numbers.astype(bool)
    return numbers


def _header(cursor: _Cursor) -> tuple[int, int]:
    """Check magic, version and counts; return how many tensors and keys follow."""
    magic = cursor.view[:4].tobytes()
    if magic != MAGIC:
        cursor.fail("the file", f"begins with {magic!r} instead of {MAGIC!r}", "it is not a GGUF file")
    cursor.position = 4
    version = cursor.u32("the version")
    if version not in VERSIONS:
        if int.from_bytes(version.to_bytes(4, "big"), "little") in (1, *VERSIONS):
            cursor.fail("the version", "is big-endian", "convert the file to little endian", at=4)
        advice = "convert the model again with a current converter"
        if version > VERSIONS[-1]:
            advice = f"versions {VERSIONS[0]} and {VERSIONS[-1]} can be read: a newer Lumen may know it"
        cursor.fail("the version", f"is {version}", advice, at=4)
    tensors, keys = cursor.u64("the number of tensors"), cursor.u64("the number of keys")
    left = cursor.size - cursor.position
    if keys > MAX_KEYS or keys * 13 > left:
        problem = f"is {keys}, but only {left} bytes follow (limit {MAX_KEYS})"
        cursor.fail("the number of keys", problem, at=16)
    if tensors > MAX_TENSORS or tensors * 33 > left:
        problem = f"is {tensors}, but only {left} bytes follow (limit {MAX_TENSORS})"
        cursor.fail("the number of tensors", problem, at=8)
    return tensors, keys


def _metadata(cursor: _Cursor, count: int) -> dict[str, object]:
    metadata: dict[str, object] = {}
    for index in range(count):
        begin = cursor.position
        key = cursor.string(f"key {index}", MAX_KEY_BYTES)
        if not key:
            cursor.fail(f"key {index}", "is empty", at=begin)
        if key in metadata:
            cursor.fail(f"key {key!r}", "occurs twice", "keep one of them: convert the model again", at=begin)
        metadata[key] = _value(cursor, key, cursor.u32(f"the type of {key!r}"))
        if key == "general.alignment":
            value = metadata[key]
            if not isinstance(value, int) or value <= 0 or value & (value - 1) or value > MAX_ALIGNMENT:
                cursor.fail("general.alignment", f"is {value!r}, not a power of two up to {MAX_ALIGNMENT}",
                            at=begin)  # fmt: skip
    return metadata


def _entry(cursor: _Cursor, index: int, types: Types) -> _Entry:
    begin = cursor.position
    name = cursor.string(f"the name of tensor {index}", MAX_NAME_BYTES)
    what = f"tensor {name!r}"
    if not name:
        cursor.fail(f"tensor {index}", "has no name", at=begin)
    rank = cursor.u32(f"the rank of {what}")
    if not 1 <= rank <= MAX_DIMENSIONS:
        cursor.fail(what, f"has {rank} dimensions, not 1 to {MAX_DIMENSIONS}", at=begin)
    dimensions = tuple(cursor.u64(f"dimension {axis} of {what}") for axis in range(rank))
    kind = cursor.u32(f"the type of {what}")
    offset = cursor.u64(f"the offset of {what}")
    if kind in REMOVED_TYPES:
        cursor.fail(what, f"has type {kind} ({REMOVED_TYPES[kind]}), which GGUF has removed",
                    "quantize the model again from its source", at=begin)  # fmt: skip
    if kind not in types.by_id:
        advice = "a newer version of Lumen may know it, or a fork that uses numbers of its own"
        cursor.fail(what, f"has the unknown type {kind}", advice, at=begin)
    type = types.by_id[kind]
    for axis, size in enumerate(dimensions):
        if not 1 <= size < 1 << 63:
            cursor.fail(what, f"has size {size} in dimension {axis}", at=begin)
    if dimensions[0] % type.block:
        cursor.fail(what, f"has rows of {dimensions[0]} elements, no multiple of the "
                    f"{type.block} of {type.name}", at=begin)  # fmt: skip
    return _Entry(name, type, dimensions, offset, begin)


def _place(cursor: _Cursor, entries: Sequence[_Entry], alignment: int) -> dict[str, FileTensor]:
    """Turn the table into views of the data section; nothing may leave it, overlap or be misaligned."""
    base = -(-cursor.position // alignment) * alignment
    spans: list[tuple[int, int, _Entry]] = []
    tensors: dict[str, FileTensor] = {}
    for entry in entries:
        what, kind = f"tensor {entry.name!r}", entry.kind
        if entry.name in tensors:
            cursor.fail(what, "occurs twice", at=entry.position)
        if entry.offset % alignment:
            cursor.fail(what, f"has offset {entry.offset}, no multiple of the alignment {alignment}",
                        at=entry.position)  # fmt: skip
        length = kind.row_bytes(entry.dimensions[0])
        for size in entry.dimensions[1:]:
            length *= size
        start = base + entry.offset
        if start + length > cursor.size:
            problem = f"takes {length} bytes from byte {start}, but the file ends at byte {cursor.size}"
            cursor.fail(what, problem, at=entry.position)
        spans.append((start, start + length, entry))
        tensors[entry.name] = FileTensor(entry.name, kind.name, entry.dimensions[::-1],
                                         cursor.data[start : start + length])  # fmt: skip
    spans.sort(key=lambda span: span[0])
    for (_, end, first), (start, _, second) in pairwise(spans):
        if start < end:
            cursor.fail(f"tensor {second.name!r}", f"overlaps tensor {first.name!r}", at=second.position)
    return tensors


def read_part(source: MappedFile) -> tuple[dict[str, object], dict[str, FileTensor]]:
    """Metadata and tensors of one file, whatever it is for."""
    cursor = _Cursor(source.path, source.bytes)
    tensor_count, key_count = _header(cursor)
    metadata = _metadata(cursor, key_count)
    alignment = metadata.get("general.alignment", 32)
    assert isinstance(alignment, int)  # checked while reading
    types = types_of_metadata(source.path, metadata)
    entries = [_entry(cursor, index, types) for index in range(tensor_count)]
    return metadata, _place(cursor, entries, alignment)


def open_file(path: Path) -> ModelFile:
    """Map a GGUF file (or all parts of a split one) and check it."""
    path = Path(path)
    sources: list[MappedFile] = []
    try:
        sources.append(MappedFile(path))
        metadata, tensors = read_part(sources[0])
        for number, part in enumerate(part_paths(path, metadata)[1:], start=1):
            sources.append(MappedFile(part))
            more, extra = read_part(sources[-1])
            if more.get("split.no") != number or more.get("split.count") != metadata["split.count"]:
                raise ModelFormatError(f"{part}: split.no and split.count do not say part {number + 1} of "
                                       f"{metadata['split.count']}; it belongs to another model")  # fmt: skip
            for name, tensor in extra.items():
                if name in tensors:
                    raise ModelFormatError(f"{part}: tensor {name!r} is already in an earlier part")
                tensors[name] = tensor
        total = metadata.get("split.tensors.count")
        if len(sources) > 1 and total is not None and total != len(tensors):
            raise ModelFormatError(
                f"{path}: split.tensors.count is {total}, but the parts hold {len(tensors)} tensors"
            )
        architecture = check_metadata(path, metadata)
        check_tensors(path, architecture, metadata, tensors)
    except BaseException:
        tensors = {}
        for source in sources:
            source.close()
        raise
    identities = types_of_metadata(path, metadata).identities
    return ModelFile(path, architecture, metadata, tensors, sources, identities)


def matches(path: Path) -> bool:
    """Whether a path is meant as a GGUF file: by its name, else by its first bytes."""
    path = Path(path)
    if path.suffix.lower() == ".gguf":
        return True
    try:
        if not path.is_file():
            return False
        with open(path, "rb") as file:
            return file.read(4) == MAGIC
    except OSError:
        return False


def _read_importance(path: Path) -> Importance:
    from lumen_quant_gguf import imatrix

    return imatrix.read(path)


def _write_importance(path: Path, importance: Importance) -> None:
    from lumen_quant_gguf import imatrix

    imatrix.write(path, importance)


READER = Reader(
    name="gguf", matches=matches, open=open_file, create=create, holds=tuple(TENSOR_TYPES_BY_NAME),
    formats=resolve, labels=labels,
    want_importance=want_importance, read_importance=_read_importance, write_importance=_write_importance,
)  # fmt: skip


def reader() -> Reader:
    return READER
