"""`lumen pack`: the file gives what its source gives, fits one target, and is refused where it is wrong."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lumen_core.engine.convert import convert
from lumen_core.engine.pack import pack
from lumen_core.engine.sources import open_model
from lumen_core.engine.targets import choose_target
from lumen_core.errors import LumenError, ModelFormatError
from lumen_core.plugins.registry import Registry
from lumen_core.weights.model_file import TensorPlan
from lumen_core.weights.packed_file import PREFIX, WEIGHTS, PackedFile
from lumen_quant_gguf.container import open_file
from lumen_quant_gguf.writer import create

IDS = [3, 14, 15, 92, 65]


@pytest.fixture(scope="module")
def packed(tiny: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return the packed file of a synthetic model."""
    folder, made = tmp_path_factory.mktemp("packed"), {}

    def path(shape: str, format: str, **overrides: Any) -> Path:
        key = (shape, format, *sorted(overrides.items()))
        if key not in made:
            made[key] = pack(tiny(shape, format, **overrides), folder / f"{len(made)}.gguf", threads=2)
        return made[key]

    return path


def rewritten(source: Path, path: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """Copy a file with changed metadata; `tensors` in them has (format, shape, bytes) by name."""
    with open_file(source) as file:
        metadata = dict(file.metadata)
        tensors = {t.name: (t.format, t.shape, t.data.copy()) for t in file.tensors.values()}
        metadata["tensors"] = tensors
        change(metadata)
        del metadata["tensors"]
        writer = create(path, metadata, [TensorPlan(n, f, s) for n, (f, s, _) in tensors.items()])
        for _, _, data in tensors.values():
            writer.write(data)
        writer.close()
    return path


@pytest.mark.parametrize(
    ("shape", "format"),
    [("qwen3-tiny", "q8_0"), ("llama-tiny", "q4_k_m"), ("qwen2-tiny", "f32"), ("qwen3-tiny", "iq4_xs")],
)
def test_a_packed_file_gives_the_same_logits(tiny, packed, opened, shape: str, format: str) -> None:
    with opened(tiny(shape, format), threads=2) as plain, opened(packed(shape, format), threads=2) as mapped:
        assert np.array_equal(plain.logits(IDS), mapped.logits(IDS))
        assert mapped.describe()["parameters"] == plain.describe()["parameters"]


def test_it_says_what_it_was_packed_for(packed, installed: Registry) -> None:
    with open_model(packed("qwen3-tiny", "q8_0"), installed) as file:
        assert isinstance(file, PackedFile)
        assert file.target == choose_target(installed, None).name
        assert set(file.digests) == {"q8_0"}


def test_another_target_is_refused(tiny, opened, installed: Registry, tmp_path: Path) -> None:
    here = choose_target(installed, None)
    targets = [t for entry in installed.backends.values() for t in entry.value.targets]
    other = next(target for target in targets if target.lanes != here.lanes)
    path = pack(tiny("qwen3-tiny", "q8_0"), tmp_path / "other.gguf", target=other.name)
    with pytest.raises(ModelFormatError, match=rf"packed for {other.name}.*lumen pack"):
        opened(path)


def test_packed_weights_are_for_running_only(packed, installed: Registry, tmp_path: Path) -> None:
    path = packed("qwen3-tiny", "q8_0")
    with pytest.raises(ModelFormatError, match="packed form only"):
        convert(path, tmp_path / "back.gguf", registry=installed)
    with pytest.raises(LumenError, match="packed already"):
        pack(path, tmp_path / "again.gguf")
    assert list(tmp_path.iterdir()) == []


def test_files_are_not_overwritten_by_chance(tiny, tmp_path: Path) -> None:
    source, path = tiny("qwen3-tiny", "q8_0"), tmp_path / "out.gguf"
    path.write_bytes(b"mine")
    with pytest.raises(LumenError, match="or give `force`"):
        pack(source, path)
    assert path.read_bytes() == b"mine"
    with pytest.raises(LumenError, match="is the file that is read"):
        pack(source, source, force=True)
    with pytest.raises(LumenError, match=r"ends in \.gguf"):
        pack(source, tmp_path / "out.bin")
    with pytest.raises(LumenError, match=r"the folder .* does not exist"):
        pack(source, tmp_path / "nowhere" / "out.gguf")
    pack(source, path, force=True)
    assert [item.name for item in tmp_path.iterdir()] == ["out.gguf"]


def setting(name: str, value: Callable[[Any], object]) -> Callable[[dict[str, Any]], None]:
    """Change one entry under the prefix."""
    return lambda metadata: metadata.update({PREFIX + name: value(metadata[PREFIX + name])})


def weights(item: tuple[str, tuple[int, ...], np.ndarray]) -> Callable[[dict[str, Any]], None]:
    return lambda metadata: metadata["tensors"].update({WEIGHTS: item})


def without(table: str, name: str) -> Callable[[dict[str, Any]], None]:
    return lambda metadata: (metadata["tensors"] if table else metadata).pop(name)


def moved(metadata: dict[str, Any]) -> None:
    """The packed weights behind 32 bytes of something else, where they are not aligned."""
    metadata["general.alignment"] = 32
    found = metadata["tensors"].pop(WEIGHTS)
    metadata["tensors"] |= {"pad": ("f32", (8,), np.zeros(32, np.uint8)), WEIGHTS: found}


def twice(metadata: dict[str, Any]) -> None:
    metadata["tensors"][metadata[PREFIX + "names"][0]] = ("f32", (4,), np.zeros(16, np.uint8))


def other_format(metadata: dict[str, Any]) -> None:
    metadata[PREFIX + "packings"] = ["q4_0"]
    metadata[PREFIX + "formats"] = ["q4_0"] * len(metadata[PREFIX + "formats"])


def uneven(sizes: np.ndarray) -> np.ndarray:
    return sizes.astype(np.int64) + np.array([1, -1] + [0] * (len(sizes) - 2))


WRONG = {
    "digest": setting("digests", lambda _: ["0" * 32]),
    "no names": without("", PREFIX + "names"),
    "names are no strings": setting("names", lambda _: 7),
    "a name twice": setting("names", lambda names: [names[0]] * len(names)),
    "ranks of 0": setting("ranks", lambda ranks: ranks * 0),
    "huge ranks": setting("ranks", lambda ranks: ranks + np.uint32(2**31)),
    "sizes exchanged": setting("bytes", lambda sizes: np.roll(sizes, 1)),
    "negative sizes": setting("bytes", lambda sizes: sizes.astype(np.int64) * -1),
    "sizes off by one": setting("bytes", uneven),
    "huge shapes": setting("shapes", lambda shapes: shapes * np.uint64(2**40)),
    "formats without a digest": setting("formats", lambda names: ["x"] * len(names)),
    "another format": other_format,
    "not aligned": moved,
    "no weights": without("tensors", WEIGHTS),
    "too few weights": weights(("i8", (64,), np.zeros(64, np.uint8))),
    "weights that are no bytes": weights(("f32", (16,), np.zeros(64, np.uint8))),
    "a tensor twice": twice,
}


@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_a_file_that_contradicts_itself_is_refused(packed, opened, tmp_path: Path, change: Any) -> None:
    path = rewritten(packed("qwen3-tiny", "q8_0"), tmp_path / "wrong.gguf", change)
    with pytest.raises(LumenError, match=r"wrong\.gguf|format"):
        opened(path).close()


def test_any_packed_bytes_run_or_end_in_a_clear_error(packed, opened, tmp_path: Path) -> None:
    def noise(metadata: dict[str, Any]) -> None:
        format, shape, data = metadata["tensors"][WEIGHTS]
        noise = np.random.default_rng(0).integers(0, 256, data.size, np.uint8)
        metadata["tensors"][WEIGHTS] = (format, shape, noise)

    for shape, format in (("qwen3-tiny", "q8_0"), ("qwen3-tiny", "iq4_xs"), ("llama-tiny", "q4_k_m")):
        path = rewritten(packed(shape, format), tmp_path / f"{format}.gguf", noise)
        with opened(path, threads=2) as model, suppress(LumenError):  # numbers that are not finite
            assert len(model.generate(IDS, max_tokens=4, temperature=0, ignore_end=True).tokens) == 4
