"""Safetensors files, mapped: one file, or the shards that an index names.

In: a path.  Out: tensors as views of the mapped bytes, in their own names, and the maps.
Nothing in a file is believed before it is checked: the header's length, its JSON (no name twice), every type,
shape and range; the ranges must fill the file without overlap, hole or tail. Pickles are never opened.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import NoReturn

from lumen_core.errors import ModelFormatError
from lumen_core.weights.model_file import FileTensor, MappedFile

LARGEST_HEADER = 100 << 20
LARGEST_JSON = 100 << 20
TYPES: Mapping[str, tuple[str, int]] = {  # type in the header -> our format, bytes
    "F64": ("f64", 8), "F32": ("f32", 4), "F16": ("f16", 2), "BF16": ("bf16", 2), "I64": ("i64", 8),
    "I32": ("i32", 4), "I16": ("i16", 2), "I8": ("i8", 1), "U8": ("u8", 1), "BOOL": ("bool", 1),
    "U16": ("u16", 2), "U32": ("u32", 4), "U64": ("u64", 8), "F8_E4M3": ("f8_e4m3", 1),
    "F8_E5M2": ("f8_e5m2", 1), "F8_E8M0": ("f8_e8m0", 1),
}  # fmt: skip
_SHARD = re.compile(r"[^/\\\x00]+\.safetensors")


def read_json(path: Path) -> object:
    """Read a JSON file in which no key stands twice; raises ModelFormatError."""
    try:
        if path.stat().st_size > LARGEST_JSON:
            raise ModelFormatError(f"{path} has more than {LARGEST_JSON >> 20} MiB; that is no such file")
        return _json(path.read_bytes())
    except FileNotFoundError:
        raise ModelFormatError(f"{path}: no such file; the checkpoint is not complete") from None
    except OSError as error:
        raise ModelFormatError(f"{path} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise ModelFormatError(f"{path} is not valid JSON: {error}") from None


def _json(data: bytes) -> object:
    return json.loads(data.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number)


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    table = dict(pairs)
    if len(table) < len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise ValueError(f"the key {name[:100]!r} stands there twice")
            seen.add(name)
    return table


def _no_number(text: str) -> float:
    return float(text.replace("Infinity", "inf"))  # configs have them; a header's integers are checked


def open_safetensors(directory: Path) -> tuple[dict[str, FileTensor], list[MappedFile]]:
    """Map the tensors of a checkpoint directory: those of an index, or of the single file."""
    index = directory / "model.safetensors.index.json"
    places: dict[str, str] | None = None
    if index.is_file():
        places = _places(index)
        files = sorted(set(places.values()))
    else:
        files = sorted(path.name for path in directory.glob("*.safetensors"))
        if "model.safetensors" in files:
            files = ["model.safetensors"]
        if not files:
            _refuse_other(directory)
        if len(files) > 1:
            raise ModelFormatError(
                f"{directory} has {len(files)} safetensors files and no model.safetensors.index.json that "
                "says which tensors they hold; download it too"
            )
    tensors: dict[str, FileTensor] = {}
    sources: list[MappedFile] = []
    owners: dict[str, str] = {}
    try:
        for name in files:
            if not os.path.isfile(directory / name):  # a name that the system refuses is no file either
                raise ModelFormatError(f"{directory / name}: this shard is missing; download it")
            sources.append(MappedFile(directory / name))
            for tensor in read_tensors(sources[-1]):
                if tensor.name in owners:
                    first = owners[tensor.name]
                    raise ModelFormatError(f"{directory}: tensor {tensor.name} is in {first} and in {name}")
                owners[tensor.name] = name
                tensors[tensor.name] = tensor
        for tensor_name, place in (places or {}).items():
            if owners.get(tensor_name) != place:
                raise ModelFormatError(
                    f"{directory / place} has no tensor {tensor_name}, but the index says so"
                )
        if places is not None and (stray := sorted(owners.keys() - places.keys())):
            raise ModelFormatError(
                f"{directory}: tensor {stray[0]} is in {owners[stray[0]]}, not in the index"
            )
    except BaseException:
        tensors.clear()
        for source in sources:
            source.close()
        raise
    return tensors, sources


def _places(index: Path) -> dict[str, str]:
    """The file of every tensor; all of them in the directory itself."""
    content = read_json(index)
    table = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(table, dict) or not table:
        raise ModelFormatError(f"{index}: weight_map is missing or no table of tensors")
    for tensor, name in table.items():
        if not isinstance(name, str) or not _inside(name):
            raise ModelFormatError(
                f"{index}: tensor {tensor[:100]} lies in {str(name)[:100]!r}, which is no safetensors file "
                "of this directory"
            )
    return table


def _inside(name: str) -> bool:
    parts = (PurePosixPath(name).parts, PureWindowsPath(name).parts)
    return bool(_SHARD.fullmatch(name)) and all(len(part) == 1 for part in parts)


def _refuse_other(directory: Path) -> NoReturn:
    pickles = sorted(path.name for kind in ("*.bin", "*.pt", "*.pth") for path in directory.glob(kind))
    if pickles:
        raise ModelFormatError(
            f"{directory} holds its weights as a pickle ({pickles[0]}), which can run any program when it is "
            "opened; Lumen reads safetensors only: convert it, or take a revision that has model.safetensors"
        )
    raise ModelFormatError(f"{directory} has no safetensors file; the weights are missing")


def read_tensors(source: MappedFile) -> list[FileTensor]:
    """Check a file's header and return its tensors in the order of their bytes."""

    def fail(problem: str) -> NoReturn:
        raise ModelFormatError(f"{source.path}: {problem}; the file is corrupt or not complete")

    if source.size < 8:
        fail(f"{source.size} bytes are too few for a header")
    length = int.from_bytes(source.bytes[:8].tobytes(), "little")
    if length > LARGEST_HEADER:
        fail(f"the header's length is {length} (limit {LARGEST_HEADER})")
    if 8 + length > source.size:
        fail(f"the header's length is {length}, but the file has {source.size} bytes")
    text = source.bytes[8 : 8 + length].tobytes()
    if not text.startswith(b"{"):
        fail("the header does not begin with {")
    try:
        table = _json(text)
    except (ValueError, RecursionError) as error:
        fail(f"the header is not valid JSON ({error})")
    assert isinstance(table, dict)
    table.pop("__metadata__", None)
    begin, size = 8 + length, source.size - 8 - length
    spans: list[tuple[int, int, str]] = []
    tensors: dict[str, FileTensor] = {}
    for name, entry in table.items():
        if not name or not isinstance(entry, dict) or set(entry) != {"dtype", "shape", "data_offsets"}:
            fail(f"tensor {name[:100]!r} has no dtype, shape and data_offsets")
        kind, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
        if not isinstance(kind, str) or kind not in TYPES:
            fail(f"tensor {name[:100]}: unknown dtype {str(kind)[:40]!r}")
        if not _naturals(shape) or len(shape) > 16:
            fail(f"tensor {name[:100]}: shape {str(shape)[:100]} is no list of sizes")
        if not _naturals(offsets) or len(offsets) != 2 or not offsets[0] <= offsets[1] <= size:
            fail(f"tensor {name[:100]}: data_offsets {str(offsets)[:100]} do not lie in {size} bytes of data")
        form, bytes = TYPES[kind]
        for extent in shape:
            bytes *= extent
        if bytes != offsets[1] - offsets[0]:
            fail(f"tensor {name[:100]}: {kind} {shape} takes {bytes} bytes, data_offsets give "
                 f"{offsets[1] - offsets[0]}")  # fmt: skip
        spans.append((offsets[0], offsets[1], name))
        tensors[name] = FileTensor(
            name, form, tuple(shape), source.bytes[begin + offsets[0] : begin + offsets[1]]
        )
    spans.sort()
    for (_, end, first), (start, _, second) in pairwise([(0, 0, "the header"), *spans]):
        if start < end:
            fail(f"tensor {second[:100]} overlaps {first[:100]}")
        if start > end:
            fail(f"{start - end} bytes between {first[:100]} and {second[:100]} belong to no tensor")
    last = spans[-1][1] if spans else 0
    if last != size:
        fail(f"{size - last} bytes after the last tensor belong to none")
    return [tensors[name] for _, _, name in spans]


def _naturals(value: object) -> bool:
    return isinstance(value, list) and all(type(item) is int and 0 <= item < 1 << 63 for item in value)
