"""Importances: what is collected is the mean square of the inputs, and files of it go both ways."""

from __future__ import annotations

import struct
from contextlib import suppress
from pathlib import Path

import gguf
import numpy as np
import pytest

from lumen_core.engine.importance import collect
from lumen_core.engine.quantize import plan, write
from lumen_core.engine.session import file_formats
from lumen_core.engine.synth import synthesize
from lumen_core.engine.targets import choose_target
from lumen_core.errors import LumenError, ModelFormatError
from lumen_core.plugins.registry import Registry
from lumen_core.weights.model_file import Importance
from lumen_quant_gguf import imatrix

REGISTRY = Registry.load()
TARGET = choose_target(REGISTRY, None)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize("qwen3-tiny", tmp_path_factory.mktemp("m") / "f32.gguf", "f32", registry=REGISTRY)


def collected(model: Path, ids: list[int], **options: object) -> Importance:
    with REGISTRY.reader(model).open(model) as file:
        return collect(file, ids, registry=REGISTRY, **options)  # type: ignore[arg-type]


def test_the_first_layer_sees_normed_embeddings(model: Path) -> None:
    ids = np.random.default_rng(0).integers(0, 259, 40).tolist()
    found = collected(model, ids, chunk=16)
    assert (found.chunks, found.chunk_size) == (2, 16)
    assert len(found.sums) == 7 * 2
    with REGISTRY.reader(model).open(model) as file:
        tensors = {tensor.name: tensor.data.view("<f4").reshape(tensor.shape).copy()
                   for tensor in file.tensors.values()}  # fmt: skip
        epsilon = float(file.metadata["qwen3.attention.layer_norm_rms_epsilon"])  # type: ignore[arg-type]
    x = tensors["token_embd.weight"][ids[:32]].astype(np.float64)
    normed = x / np.sqrt((x * x).mean(-1, keepdims=True) + epsilon) * tensors["blk.0.attn_norm.weight"]
    for name in ("attn_q", "attn_k", "attn_v"):
        key = f"blk.0.{name}.weight"
        assert found.counts[key] == [32]
        assert np.allclose(found.of(key, 256), (normed**2).mean(0)[None], rtol=1e-4)
    head = collected(model, ids, chunk=16, head=True)
    assert {"output.weight", "token_embd.weight"} & head.sums.keys()


def test_files_go_both_ways(model: Path, tmp_path: Path) -> None:
    ids = list(range(20))
    found = collected(model, ids, dataset="text.txt")
    path = tmp_path / "im.gguf"
    imatrix.write(path, found)
    again = imatrix.read(path)
    assert (again.chunks, again.chunk_size, again.datasets) == (1, 20, ("text.txt",))
    for name, sums in found.sums.items():
        assert np.array_equal(again.sums[name], sums)
        assert np.array_equal(again.counts[name], found.counts[name])
    oracle = gguf.GGUFReader(path)
    assert oracle.fields["general.type"].contents() == "imatrix"
    tensors = {tensor.name: tensor for tensor in oracle.tensors}
    assert tensors["blk.0.attn_q.weight.in_sum2"].shape.tolist() == [256, 1]
    assert tensors["blk.0.attn_q.weight.counts"].shape.tolist() == [1, 1]
    with REGISTRY.reader(model).open(model) as file:
        job = plan(file, "q4_0", registry=REGISTRY, importance=again)
        out = write(job, tmp_path / "out.gguf", TARGET)
    with REGISTRY.reader(out).open(out) as file:
        assert file.metadata["quantize.imatrix.entries_count"] == 14
        assert file.metadata["quantize.imatrix.dataset"] == "text.txt"


def old_file(entries: dict[str, tuple[int, np.ndarray]], chunks: int, dataset: str) -> bytes:
    """What llama.cpp wrote before it wrote GGUF."""
    found = struct.pack("<i", len(entries))
    for name, (calls, means) in entries.items():
        found += struct.pack("<i", len(name)) + name.encode() + struct.pack("<ii", calls, means.size)
        found += (means * calls).astype("<f4").tobytes()
    return found + struct.pack("<ii", chunks, len(dataset)) + dataset.encode()


def test_old_files_are_read(tmp_path: Path) -> None:
    means = {"blk.0.attn_q.weight": np.arange(8.0), "blk.0.ffn_up_exps.weight": np.arange(24.0)}
    raw = old_file({name: (5, values) for name, values in means.items()}, 7, "text.txt")
    path = tmp_path / "imatrix.dat"
    path.write_bytes(raw)
    found = imatrix.read(path)
    assert (found.chunks, found.datasets) == (7, ("text.txt",))
    assert np.array_equal(found.of("blk.0.attn_q.weight", 8), means["blk.0.attn_q.weight"][None])
    stacked = found.of("blk.0.ffn_up_exps.weight", 8)
    assert np.array_equal(stacked, means["blk.0.ffn_up_exps.weight"].reshape(3, 8))
    for size in range(len(raw) - len("text.txt") - 8):
        path.write_bytes(raw[:size])
        with pytest.raises(ModelFormatError, match="no importance file"):
            imatrix.read(path)
    for place in range(0, len(raw), 4):  # sizes of nothing that is there
        path.write_bytes(raw[:place] + b"\xff\xff\xff\x7f" + raw[place + 4 :])
        with suppress(ModelFormatError):
            imatrix.read(path)


def test_what_is_refused(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFormatError, match="no importance file"):
        imatrix.read(model)
    for sums, counts, message in (
        (np.full((1, 4), np.nan), np.ones(1), "no sums of squares"),
        (np.full((1, 4), -1.0), np.ones(1), "no sums of squares"),
        (np.ones((2, 4)), np.ones(1), "matrices"),
    ):
        imatrix.write(tmp_path / "bad.gguf", Importance({"a": sums}, {"a": counts}, 1, 512))
        with pytest.raises(ModelFormatError, match=message):
            imatrix.read(tmp_path / "bad.gguf")
    with pytest.raises(LumenError, match="less than two"):
        collected(model, [1])


def test_every_expert_counts_the_tokens_that_chose_it(tmp_path: Path) -> None:
    path = synthesize("qwen3moe-tiny", tmp_path / "moe.gguf", "f32", registry=REGISTRY)
    ids = np.random.default_rng(1).integers(0, 259, 20).tolist()
    found = collected(path, ids, chunk=20)
    router, experts = found.counts["blk.0.ffn_gate_inp.weight"], found.counts["blk.0.ffn_up_exps.weight"]
    assert router == [20]
    assert experts.shape == (8,)
    assert experts.sum() == 2 * 20
    assert (found.counts["blk.0.ffn_down_exps.weight"] == experts).all()
    means = found.of("blk.0.ffn_up_exps.weight", 256)
    assert means is not None
    assert means.shape == (8, 256)
    rare = collected(path, ids[:2], chunk=2)
    means = rare.of("blk.0.ffn_up_exps.weight", 256)
    assert means is not None
    assert (means[rare.counts["blk.0.ffn_up_exps.weight"] == 0] == 1).all()
    # to files and back, and into a quantized model
    imatrix.write(tmp_path / "im.gguf", rare)
    again = imatrix.read(tmp_path / "im.gguf")
    np.testing.assert_array_equal(again.sums["blk.1.ffn_down_exps.weight"],
                                  rare.sums["blk.1.ffn_down_exps.weight"])  # fmt: skip
    with REGISTRY.reader(path).open(path) as file:
        job = plan(file, "q4_k_m", registry=REGISTRY, importance=again)
        write(job, tmp_path / "q.gguf", target=TARGET)
    with REGISTRY.reader(path).open(tmp_path / "q.gguf") as made:
        assert made.tensors["blk.0.ffn_gate_inp.weight"].format == "f32"
        assert made.tensors["blk.0.ffn_up_exps.weight"].shape == (8, 256, 256)
        form = file_formats(REGISTRY, made)[made.tensors["blk.0.ffn_up_exps.weight"].format]
        tensor = made.tensors["blk.0.ffn_up_exps.weight"]
        decoded = form.decode(tensor.data.reshape(8 * 256, -1)).reshape(tensor.shape)
        with REGISTRY.reader(path).open(path) as source:
            wanted = source.tensors[tensor.name].data.view("<f4").reshape(tensor.shape)
            errors = np.square(decoded - wanted).mean(axis=(1, 2)) / np.square(wanted).mean()
        assert (errors < 0.02).all(), errors  # of every expert, whether the text used it or not
