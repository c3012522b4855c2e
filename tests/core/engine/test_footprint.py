"""What `inspect` says of memory is what a load allocates."""

from __future__ import annotations

from pathlib import Path

import pytest

from lumen_core.engine.footprint import footprint
from lumen_core.engine.loading import load
from lumen_core.engine.synth import synthesize
from lumen_core.errors import LumenError, ModelError
from lumen_core.plugins.registry import Registry
from lumen_quant_gguf.container import open_file


@pytest.mark.parametrize("name", ["llama-tiny", "qwen3-tiny", "exaone4-tiny"])
def test_cache_is_as_large_as_said(name: str, tmp_path: Path) -> None:
    registry = Registry.load()
    path = synthesize(name, tmp_path / "m.gguf", "q8_0", registry=registry)
    with open_file(path) as file:
        said = footprint(file, registry, context=128)
        with pytest.raises(LumenError):
            footprint(file, registry, context=10**9)
    with load(path, context=128, threads=1, registry=registry, cache=tmp_path) as model:
        assert said.cache_per_token == model.describe()["cache_bytes_per_token"]
        assert said.cache == model.describe()["cache_bytes"]
        assert said.context == model.context == 128
        assert said.trained_context == model.describe()["trained_context"]


def test_a_window_is_kept_and_a_page(tmp_path: Path) -> None:
    """16 times the context costs nothing more in layers that see 24 tokens: they keep two pages."""
    registry = Registry.load()
    path = synthesize("exaone4-tiny", tmp_path / "m.gguf", "q8_0", registry=registry)
    with open_file(path) as file:
        short, long = (footprint(file, registry, context=context) for context in (1024, 16384))
    (ring,) = short.rings
    assert (ring.window, ring.layers, ring.tokens) == (24, 3, 256)
    assert ring.bytes == 3 * 256 * short.cache_per_token
    assert long.rings == short.rings
    assert long.cache - short.cache == (16384 - 1024) * short.cache_per_token


def test_a_file_with_a_missing_tensor_has_no_footprint(tmp_path: Path) -> None:
    registry = Registry.load()
    path = synthesize("qwen3-tiny", tmp_path / "m.gguf", "f16", registry=registry)
    with open_file(path) as file:
        file.tensors = {name: t for name, t in file.tensors.items() if name != "output_norm.weight"}
        with pytest.raises(ModelError, match=r"output_norm\.weight is missing"):
            footprint(file, registry)
