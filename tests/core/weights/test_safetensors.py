"""Safetensors files: what is right is read as it stands, what is wrong is refused with its reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.checkpoints import safetensors, with_header

from lumen_core.errors import ModelFormatError
from lumen_core.weights.model_file import MappedFile
from lumen_core.weights.safetensors import open_safetensors, read_tensors

ARRAYS = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(4, dtype=np.float16)}


def refused(directory: Path, reason: str) -> None:
    with pytest.raises(ModelFormatError) as error:
        open_safetensors(directory)
    assert reason in str(error.value)


def entry(kind: str = "F32", shape: Any = (2,), span: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": kind, "shape": list(shape), "data_offsets": list(span)}


def test_tensors_are_views_of_the_map(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(safetensors(ARRAYS))
    tensors, sources = open_safetensors(tmp_path)
    assert tensors["a"].shape == (2, 3) and tensors["a"].format == "f32"
    np.testing.assert_array_equal(tensors["a"].data.view("<f4"), ARRAYS["a"].reshape(-1))
    assert tensors["b"].data.base is not None and tensors["b"].format == "f16"
    assert sources[0].address <= tensors["b"].data.ctypes.data < sources[0].address + sources[0].size


WRONG = {
    "longer than the file": (b"\xff\x00\x00\x00\x00\x00\x00\x00{}", "but the file has"),
    "longer than the limit": (b"\xff" * 8 + b"{}", "limit"),
    "too short a file": (b"\x00" * 7, "too few"),
    "not JSON": (with_header(b"{nonsense}"), "not valid JSON"),
    "not UTF-8": (with_header(b'{"\xff": 1}'), "not valid JSON"),
    "no table": (with_header(b"[]"), "does not begin with {"),
    "deep": (with_header(b'{"a":' * 100_000), "not valid JSON"),
    "a name twice": (with_header(b'{"a": 1, "a": 2}'), "stands there twice"),
    "a field twice": (with_header(b'{"a": {"dtype": "F32", "dtype": "F32"}}'), "stands there twice"),
    "no entry": (with_header(b'{"a": 1}'), "has no dtype"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_headers_are_refused(tmp_path: Path, name: str) -> None:
    data, reason = WRONG[name]
    (tmp_path / "model.safetensors").write_bytes(data)
    refused(tmp_path, reason)


ENTRIES: dict[str, tuple[dict[str, Any], int, str]] = {
    "unknown type": ({"a": entry("Q9")}, 8, "unknown dtype"),
    "type is no text": ({"a": {**entry(), "dtype": ["F32"]}}, 8, "unknown dtype"),
    "negative size": ({"a": entry(shape=(-2,))}, 8, "no list of sizes"),
    "fractional size": ({"a": entry(shape=(2.0,))}, 8, "no list of sizes"),
    "truth as size": ({"a": entry(shape=(True, 2))}, 8, "no list of sizes"),
    "huge sizes": ({"a": entry(shape=(2**62, 2**62))}, 8, "data_offsets give"),
    "shape does not fill": ({"a": entry(shape=(3,))}, 8, "takes 12 bytes"),
    "beyond the end": ({"a": entry(span=(0, 16), shape=(4,))}, 8, "do not lie in 8 bytes"),
    "backwards": ({"a": entry(span=(8, 0))}, 8, "do not lie"),
    "three offsets": ({"a": entry(span=(0, 4, 8))}, 8, "do not lie"),
    "overlap": ({"a": entry(), "b": entry(span=(4, 12))}, 12, "overlaps"),
    "hole": ({"a": entry(), "b": entry(span=(12, 20))}, 20, "belong to no tensor"),
    "begins late": ({"a": entry(span=(4, 12))}, 12, "belong to no tensor"),
    "tail": ({"a": entry()}, 9, "after the last tensor"),
    "tail without tensors": ({}, 1, "after the last tensor"),
    "an unknown field": ({"a": {**entry(), "more": 1}}, 8, "has no dtype"),
}  # fmt: skip


@pytest.mark.parametrize("name", ENTRIES)
def test_wrong_entries_are_refused(tmp_path: Path, name: str) -> None:
    table, size, reason = ENTRIES[name]
    (tmp_path / "model.safetensors").write_bytes(with_header(json.dumps(table).encode(), bytes(size)))
    refused(tmp_path, reason)


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole = safetensors(ARRAYS)
    path = tmp_path / "cut"
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(ModelFormatError):
            read_tensors(MappedFile(path))


@settings(max_examples=300)
@given(st.data())
def test_changed_bytes_never_crash(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    changed = bytearray(safetensors(ARRAYS))
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "changed"
    path.write_bytes(bytes(changed))
    try:
        tensors = read_tensors(MappedFile(path))
    except ModelFormatError:
        return
    assert sum(tensor.nbytes for tensor in tensors) <= len(changed)


def index(directory: Path, places: object) -> None:
    (directory / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))


@pytest.mark.parametrize(
    "name",
    ["../model.safetensors", "/etc/passwd", "sub/model.safetensors", "..\\model.safetensors",
     "C:\\model.safetensors", "model.bin", "", "..", "x\0.safetensors", 3, "．．/model.safetensors"],
)  # fmt: skip
def test_an_index_stays_in_its_directory(tmp_path: Path, name: object) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    (tmp_path / "model.safetensors").write_bytes(safetensors(ARRAYS))
    index(inner, {"a": name})
    refused(inner, "no safetensors file of this directory")


def test_an_index_must_tell_the_truth(tmp_path: Path) -> None:
    (tmp_path / "one.safetensors").write_bytes(safetensors({"a": ARRAYS["a"]}))
    (tmp_path / "two.safetensors").write_bytes(safetensors({"b": ARRAYS["b"]}))
    index(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    assert sorted(open_safetensors(tmp_path)[0]) == ["a", "b"]
    index(tmp_path, {"a": "one.safetensors", "c": "two.safetensors"})
    refused(tmp_path, "has no tensor c")
    index(tmp_path, {"a": "one.safetensors", "b": "three.safetensors"})
    refused(tmp_path, "three.safetensors: this shard is missing")
    index(tmp_path, {"a": "one.safetensors", "b": f"{'b' * 300}.safetensors"})
    refused(tmp_path, "this shard is missing")
    (tmp_path / "two.safetensors").write_bytes(safetensors(ARRAYS))
    index(tmp_path, {"a": "one.safetensors", "b": "two.safetensors"})
    refused(tmp_path, "tensor a is in one.safetensors and in two.safetensors")
    (tmp_path / "two.safetensors").write_bytes(safetensors({"b": ARRAYS["b"], "d": ARRAYS["b"]}))
    refused(tmp_path, "not in the index")
    index(tmp_path, [])
    refused(tmp_path, "weight_map")


def test_without_an_index_one_file_must_be_the_model(tmp_path: Path) -> None:
    refused(tmp_path, "has no safetensors file")
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x04")
    refused(tmp_path, "pickle")
    for name in ("one", "two"):
        (tmp_path / f"{name}.safetensors").write_bytes(safetensors(ARRAYS))
    refused(tmp_path, "no model.safetensors.index.json")
