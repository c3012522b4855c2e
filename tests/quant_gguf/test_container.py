"""Reading and writing against the `gguf` package as the oracle, split files, speed, memory."""

from __future__ import annotations

import math
import os
import time
from pathlib import Path

import gguf
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.gguf_files import RawFile

from lumen_core.errors import LumenError, ModelFormatError
from lumen_core.weights.model_file import ModelWriter, TensorPlan
from lumen_quant_gguf.container import READER, matches, open_file
from lumen_quant_gguf.type_ids import REMOVED_TYPES, TENSOR_TYPES
from lumen_quant_gguf.writer import create

names = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=300)
values = st.one_of(
    st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(width=32, allow_nan=False), texts,
    st.lists(texts, min_size=1, max_size=8),
    st.lists(st.integers(-(2**31), 2**31 - 1), min_size=1, max_size=8),
    st.lists(st.floats(width=32, allow_nan=False), min_size=1, max_size=8),
)  # fmt: skip


def plain(item: object) -> object:
    return item.tolist() if hasattr(item, "tolist") else item


def test_types_are_those_of_the_oracle() -> None:
    known = {
        int(kind): (kind.name.lower(), *gguf.GGML_QUANT_SIZES[kind]) for kind in gguf.GGMLQuantizationType
    }
    ours = {kind.id: (kind.name, kind.block, kind.block_bytes) for kind in TENSOR_TYPES.values()}
    assert known.keys() <= ours.keys()
    assert {key: ours[key] for key in known} == known
    assert not ours.keys() & REMOVED_TYPES.keys()


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(names.map(lambda name: f"x.mine.{name}"), values, max_size=8))
def test_metadata_round_trip(tmp_path: Path, items: dict[str, object]) -> None:
    path = tmp_path / "m.gguf"
    writer = create(path, {"general.architecture": "x", **items}, [])
    writer.close()
    with open_file(path) as file:
        found = {key: plain(item) for key, item in file.metadata.items()}
        assert found == {"general.architecture": "x", **items}
    oracle = gguf.GGUFReader(path)
    for key, item in items.items():
        assert oracle.fields[key].contents() == item


@pytest.mark.parametrize("version", [2, 3])
def test_tensors_against_the_oracle(tmp_path: Path, version: int) -> None:
    path = tmp_path / "m.gguf"
    generator = np.random.default_rng(1)
    known = {int(kind) for kind in gguf.GGMLQuantizationType}  # newer types than the package's are left out
    kinds = [kind for kind in TENSOR_TYPES.values() if kind.id in known]
    plan = [TensorPlan(f"t.{kind.name}", kind.name, (3, 2 * kind.block)) for kind in kinds]
    plan.append(TensorPlan("cube", "f32", (2, 3, 5)))
    writer = create(path, {"general.architecture": "x"}, plan)
    written = []
    for entry in plan:
        kind = next(kind for kind in TENSOR_TYPES.values() if kind.name == entry.format)
        data = generator.bytes(math.prod(entry.shape) // kind.block * kind.block_bytes)
        written.append(data)
        for at in range(0, len(data), 50):  # in pieces
            writer.write(data[at : at + 50])
    assert not path.exists()
    writer.close()
    raw = bytearray(path.read_bytes())
    raw[4] = version
    path.write_bytes(raw)
    oracle = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    with open_file(path) as file:
        assert list(file.tensors) == [entry.name for entry in plan]
        for entry, data in zip(plan, written, strict=True):
            tensor, other = file.tensors[entry.name], oracle[entry.name]
            assert tensor.data.tobytes() == data == other.data.tobytes()
            assert tensor.shape == entry.shape == tuple(other.shape.tolist()[::-1])
            assert tensor.format == entry.format == other.tensor_type.name.lower()
            file.release(tensor)
            assert tensor.data.tobytes() == data  # released pages come back


def test_the_oracle_writes(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_custom_alignment(64)
    writer.add_block_count(1)
    writer.add_token_list(["가", "나"])
    writer.add_array("x.flags", [True, False])
    writer.add_tensor("a", np.arange(6, dtype=np.float32).reshape(2, 3))
    writer.add_tensor("b", np.arange(6, dtype=np.float16))
    for step in (writer.write_header_to_file, writer.write_kv_data_to_file, writer.write_tensors_to_file):
        step()
    writer.close()
    with READER.open(path) as file:
        assert file.architecture == "llama"
        assert list(file.metadata["tokenizer.ggml.tokens"]) == ["가", "나"]
        assert file.metadata["x.flags"].tolist() == [True, False]
        assert file.tensors["a"].data.view("<f4").tolist() == [0, 1, 2, 3, 4, 5]
        assert file.tensors["b"].format == "f16"
        assert file.size == path.stat().st_size


def test_strings(tmp_path: Path) -> None:
    items = ["", "a", "\0" * 9, "가" * 100, "x" * 255, "y" * 256, "z" * 70_000, "\0", "end" * 400] * 30
    path = RawFile().set("x", items).write(tmp_path / "m.gguf")
    with open_file(path) as file:
        found = file.metadata["x"]
        assert found.tolist() == items == list(found) == found
        assert [found[i] for i in range(len(items))] == items
        assert found[-1] == items[-1]
        assert found[3:5] == items[3:5]
        with pytest.raises(IndexError):
            found[len(items)]
    long = ["t" * (index % 400) for index in range(70_000)]  # more than one chunk
    path = RawFile().set("x", long).write(tmp_path / "m.gguf")
    with open_file(path) as file:
        assert file.metadata["x"].tolist() == long


def part(index: int, count: int, total: int, **change: object) -> RawFile:
    file = RawFile()
    if index:
        file.keys = [("general.architecture", "llama")]
    file.tensors = [file.tensors[index]]
    file.tensors[0].offset = 0
    for key, item in {"no": index, "count": count, "tensors.count": total, **change}.items():
        file.set(f"split.{key}", item)
    return file


def test_split_files(tmp_path: Path) -> None:
    paths = [tmp_path / f"m-{index + 1:05}-of-00003.gguf" for index in range(3)]
    for index, path in enumerate(paths):
        part(index, 3, 3).write(path)
    with open_file(paths[0]) as file:
        assert list(file.tensors) == [tensor.name for tensor in RawFile().tensors]
        assert file.size == sum(path.stat().st_size for path in paths)
        for tensor in file.tensors.values():
            file.release(tensor)
    with pytest.raises(ModelFormatError, match="name m-00001-of-00003"):
        open_file(paths[1])
    part(1, 3, 3, no=2).write(paths[1])
    with pytest.raises(ModelFormatError, match="belongs to another model"):
        open_file(paths[0])
    part(1, 3, 3).write(paths[1])
    part(0, 3, 7).write(paths[0])
    with pytest.raises(ModelFormatError, match=r"tensors\.count is 7"):
        open_file(paths[0])
    part(0, 3, 3).write(paths[0])
    paths[2].unlink()
    with pytest.raises(ModelFormatError, match=r"00003-of-00003.*missing"):
        open_file(paths[0])


def test_matches(tmp_path: Path) -> None:
    assert matches(tmp_path / "absent.gguf")
    assert not matches(tmp_path / "absent.bin")
    assert not matches(tmp_path)
    assert matches(RawFile().write(tmp_path / "model.bin"))


def complete(writer: ModelWriter, data: bytes) -> None:
    writer.write(data)
    writer.close()


def test_a_writer_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "m.gguf"
    path.write_text("old")
    plan = [TensorPlan("a", "f32", (4,))]
    for data in (b"", bytes(17)):
        writer = create(path, {"general.architecture": "x"}, plan)
        with pytest.raises(ValueError, match="tensor"):
            complete(writer, data)
    create(path, {"general.architecture": "x"}, plan).abort()
    with pytest.raises(LumenError, match="cannot be written"):
        create(tmp_path / "no" / "m.gguf", {}, plan)
    assert os.listdir(tmp_path) == ["m.gguf"]
    assert path.read_text() == "old"


def test_a_large_vocabulary_opens_quickly(tmp_path: Path) -> None:
    words = [f"token{index}" for index in range(152_000)]
    file = RawFile(tensors=[])
    file.set("tokenizer.ggml.tokens", words).set("tokenizer.ggml.token_type", [1] * len(words))
    file.set("tokenizer.ggml.merges", [f"{word} x" for word in words])
    path = file.write(tmp_path / "m.gguf")
    best = math.inf
    for _ in range(5):
        begin = time.process_time()
        with open_file(path) as opened:
            assert len(opened.metadata["tokenizer.ggml.merges"]) == len(words)
        best = min(best, time.process_time() - begin)
    assert best < 0.3
