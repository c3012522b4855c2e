"""Fields of a wider scope than a block: in front of each row, and in a tensor beside the weight's."""

from __future__ import annotations

from collections.abc import Callable, Container
from pathlib import Path

import numpy as np
import pytest

from lumen_core.dsl.parse import parse
from lumen_core.engine.loading import load
from lumen_core.engine.quantize import plan, write
from lumen_core.engine.sources import open_model
from lumen_core.engine.targets import choose_target
from lumen_core.errors import ModelFormatError
from lumen_core.plugins.collect import Entry
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse
from lumen_core.source import Source
from lumen_core.weights.model_file import FormatIdentity, TensorPlan
from lumen_quant_gguf.container import open_file
from lumen_quant_gguf.foreign import PREFIX
from lumen_quant_gguf.writer import create

ROWED = (
    "format rowed : block 32 { d: f32 per row  s: i8  qs: u8[16]  value = d * s * (bits(qs, 4, run=16) - 8) }"
)
IDS = [1, 2, 3, 4, 5, 6, 7, 8]


def test_a_scale_for_each_row(tiny: Callable[..., Path], tmp_path: Path) -> None:
    source, own = tiny("qwen3-tiny", "f32"), Registry.load()
    own.formats["rowed"] = Entry(
        parse(Source("rowed.lum", ROWED)).formats[0], "lumen-rowed", Path("rowed.lum")
    )
    with own.reader(source).open(source) as file:
        out = write(plan(file, "rowed", registry=own), tmp_path / "rowed.gguf", choose_target(own, None))
    with open_file(out) as file:
        tensor = file.tensors["blk.0.attn_q.weight"]
        assert tensor.nbytes == tensor.shape[0] * (4 + tensor.shape[1] // 32 * 17)
        (identity,) = file.identities.values()
        assert isinstance(identity, FormatIdentity) and identity.header_bytes == 4
        assert file.metadata[f"{PREFIX}header_bytes"].tolist() == [4]  # type: ignore[attr-defined]
    with load(source, registry=own) as model:
        wanted = model.logits(IDS)
    with load(out, registry=own) as model:
        found = model.logits(IDS)
    assert np.sqrt(np.mean((found - wanted) ** 2)) < 0.5 * wanted.std()


def with_scales(source: Path, out: Path, scale: np.ndarray, only: Container[str] | None = None) -> None:
    """The same file with a tensor of scale beside each matrix (or those) of blocks."""
    with open_file(source) as file:
        plans, data = [], []
        for tensor in file.tensors.values():
            plans.append(TensorPlan(tensor.name, tensor.format, tensor.shape))
            data.append(np.array(tensor.data))
            if tensor.format == "nvfp4" and (only is None or tensor.name in only):
                plans.append(TensorPlan(tensor.name.replace(".weight", ".scale"), "f32", scale.shape))
                data.append(scale.reshape(-1).view(np.uint8))
        writer = create(out, dict(file.metadata), plans)
        for piece in data:
            writer.write(piece)
        writer.close()


def test_a_scale_for_a_whole_tensor(tiny: Callable[..., Path], tmp_path: Path) -> None:
    source, registry = tiny("qwen3-tiny", "nvfp4"), Registry.load()
    scale = np.array([0.37], np.float32)
    with_scales(source, tmp_path / "scaled.gguf", scale)
    plain, scaled = (analyse(registry.format(name)) for name in ("nvfp4", "nvfp4+scale"))
    with open_file(source) as before, open_model(tmp_path / "scaled.gguf", registry) as file:
        assert set(file.tensors) == set(before.tensors)
        tensor = file.tensors["blk.0.ffn_up.weight"]
        assert tensor.format == "nvfp4+scale"
        raw = before.tensors["blk.0.ffn_up.weight"].data
        found = scaled.decode(tensor.data.reshape(tensor.shape[0], -1))
        wanted = plain.decode(raw.reshape(tensor.shape[0], -1)) * scale
        np.testing.assert_allclose(found, wanted, rtol=2**-22)
        tables = [t for t in before.tensors.values() if t.format == "nvfp4"]
        plans = [
            TensorPlan(t.name, "f32" if t in tables else t.format, t.shape) for t in before.tensors.values()
        ]
        writer = create(tmp_path / "f32.gguf", dict(before.metadata), plans)
        for t in before.tensors.values():
            writer.write((plain.decode(t.data) * scale).view(np.uint8) if t in tables else t.data)
        writer.close()
    with load(tmp_path / "f32.gguf", registry=registry) as model:
        exact = model.logits(IDS)
    with load(tmp_path / "scaled.gguf", registry=registry) as model:
        logits = model.logits(IDS)
    errors = np.linalg.norm(logits - exact, axis=-1) / np.linalg.norm(exact, axis=-1)
    assert errors.max() < 0.1  # activations of 8 bits
    with load(source, registry=registry) as model:
        assert np.abs(model.logits(IDS) - exact).max() > 0.3 * np.abs(exact).max()


def test_a_scale_for_each_expert(tiny: Callable[..., Path], tmp_path: Path) -> None:
    """Stacked matrices have a value each, in the order of the stack; others beside them have one."""
    source, registry = tiny("qwen3moe-tiny", "nvfp4"), Registry.load()
    scales = np.array([0.5, 1, 2, 0.25, 1.5, 3, 0.75, 1.25], np.float32)
    with open_file(source) as before:
        stacks = {t.name: t for t in before.tensors.values() if t.format == "nvfp4" and len(t.shape) == 3}
        assert stacks
        assert all(t.shape[0] == len(scales) for t in stacks.values())
        plain, scaled = (analyse(registry.format(name)) for name in ("nvfp4", "nvfp4+scale"))
        plans, data = [], []
        for tensor in before.tensors.values():
            f32 = tensor.name in stacks
            plans.append(TensorPlan(tensor.name, "f32" if f32 else tensor.format, tensor.shape))
            data.append(np.array(tensor.data))
        written = create(tmp_path / "exact.gguf", dict(before.metadata), plans)
        for entry, piece in zip(plans, data, strict=True):
            if entry.name in stacks:
                values = plain.decode(piece).reshape(entry.shape) * scales[:, None, None]
                piece = values.astype(np.float32).reshape(-1).view(np.uint8)
            written.write(piece)
        written.close()
    with_scales(source, tmp_path / "scaled.gguf", scales, only=stacks)
    with open_model(tmp_path / "scaled.gguf", registry) as file:
        for name, tensor in stacks.items():
            found = scaled.decode(file.tensors[name].data.reshape(-1, scaled.row_bytes(tensor.shape[-1])))
            wanted = plain.decode(np.asarray(data[[entry.name for entry in plans].index(name)])).reshape(
                tensor.shape
            )
            np.testing.assert_allclose(
                found.reshape(tensor.shape), wanted * scales[:, None, None], rtol=2**-22
            )
    with load(tmp_path / "exact.gguf", registry=registry) as model:
        exact = model.logits(IDS)
    with load(tmp_path / "scaled.gguf", registry=registry) as model:
        logits = model.logits(IDS)
    errors = np.linalg.norm(logits - exact, axis=-1) / np.linalg.norm(exact, axis=-1)
    assert np.median(errors) < 0.1  # activations of 8 bits; now and then they choose another expert


def test_a_scale_that_does_not_fit(tiny: Callable[..., Path], tmp_path: Path) -> None:
    with_scales(tiny("qwen3-tiny", "nvfp4"), tmp_path / "bad.gguf", np.ones(3, np.float32))
    with pytest.raises(ModelFormatError, match=r"scale: has the shape \[3\]; a weight of"):
        open_model(tmp_path / "bad.gguf", Registry.load())
