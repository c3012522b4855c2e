"""A format of one's own in a model file: it says what it is, and nothing ambiguous is read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lumen_core.dsl.parse import parse
from lumen_core.engine.loading import load
from lumen_core.engine.quantize import plan, write
from lumen_core.engine.synth import synthesize
from lumen_core.engine.targets import choose_target
from lumen_core.errors import ModelFormatError, UnsupportedFormatError
from lumen_core.plugins.collect import Entry
from lumen_core.plugins.registry import Registry
from lumen_core.quant.identity import fingerprint
from lumen_core.source import Source
from lumen_core.weights.model_file import FormatIdentity, TensorPlan
from lumen_quant_gguf.container import open_file
from lumen_quant_gguf.foreign import FIRST, PREFIX, types_of_metadata, types_of_plan
from lumen_quant_gguf.writer import create

MINE = "format mine : block 64 { qs: u8[32]  d: f16  value = d * (bits(qs, 4, run=32) - 8) }"
OTHER = "format mine : block 64 { d: f16  qs: u8[32]  value = d * (bits(qs, 4, run=32) - 8) }"
COMMENTED = "# four bits\n" + MINE.replace("  ", "\n    ").replace(" - ", "-")


def registry(text: str | None) -> Registry:
    found = Registry.load()
    if text is not None:
        declaration = parse(Source("mine.lum", text)).formats[0]
        found.formats["mine"] = Entry(declaration, "lumen-mine", Path("mine.lum"))
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("identity")
    source = synthesize("qwen3-tiny", folder / "f32.gguf", "f32", seed=2)
    own = registry(MINE)
    with own.reader(source).open(source) as file:
        return source, write(plan(file, "mine", registry=own), folder / "mine.gguf", choose_target(own, None))


def test_a_model_in_it_runs(files: tuple[Path, Path], tmp_path: Path) -> None:
    source, out = files
    with open_file(out) as file:
        assert file.tensors["blk.0.attn_q.weight"].format == "mine"
        digest = fingerprint(parse(Source("mine.lum", MINE)).formats[0])
        assert file.identities == {"mine": FormatIdentity("mine", digest, 64, 34)}
        assert file.metadata[f"{PREFIX}names"].tolist() == ["mine"]  # type: ignore[attr-defined]
    ids = [1, 2, 3, 4, 5, 6, 7, 8]
    with load(source, registry=registry(None)) as model:
        wanted = model.logits(ids)
    with load(out, registry=registry(COMMENTED)) as model:
        found = model.logits(ids)
    assert np.sqrt(np.mean((found - wanted) ** 2)) < 0.5 * wanted.std()
    assert np.mean(found.argmax(-1) == wanted.argmax(-1)) >= 0.25


def test_other_declarations_of_the_name_are_refused(files: tuple[Path, Path]) -> None:
    _, out = files
    with pytest.raises(UnsupportedFormatError, match=r"two formats are called mine.*lumen-mine"):
        load(out, registry=registry(OTHER))
    with pytest.raises(UnsupportedFormatError, match=r"was made with the format mine \(digest \w+\)"):
        load(out, registry=registry(None))


def test_a_source_in_it_can_be_quantized_again(files: tuple[Path, Path], tmp_path: Path) -> None:
    _, out = files
    own = registry(MINE)
    with own.reader(out).open(out) as file:
        job = plan(file, "q8_0", registry=own, requantize=True)
        again = write(job, tmp_path / "q8.gguf", choose_target(own, None))
    with open_file(again) as file:
        assert file.identities == {}
        assert not [key for key in file.metadata if key.startswith(PREFIX)]


def test_what_could_mean_two_things_is_refused(tmp_path: Path) -> None:
    good = {
        "types": [FIRST, FIRST + 1], "names": ["a", "b"], "digests": ["0", "1"], "blocks": [32, 32],
        "block_bytes": [18, 20],
    }  # fmt: skip

    def check(**changes: list) -> None:
        columns = good | changes
        metadata = {PREFIX + key: np.array(value) if key in ("types", "blocks", "block_bytes") else
                    np.array(value, object) for key, value in columns.items()}  # fmt: skip
        types_of_metadata(Path("m.gguf"), metadata)

    check()
    for changes, message in (
        ({"types": [39, FIRST]}, "gives 39 to the format 'a', but in GGUF that number is mxfp4"),
        ({"types": [4, FIRST]}, "that number was Q4_2"),
        ({"types": [FIRST, FIRST]}, "to the format 'b' and to 'a'"),
        ({"names": ["a", "a"]}, "two formats are called 'a': 0 and 1"),
        ({"names": ["a", "q4_0"]}, "that name is GGUF's own"),
        ({"names": ["a"]}, "different lengths"),
        ({"blocks": [0, 32]}, "blocks of 0 weights"),
        ({"digests": [1, 2]}, "not an array of str"),
    ):
        with pytest.raises(ModelFormatError, match=message):
            check(**changes)  # type: ignore[arg-type]
    twice = [TensorPlan(n, "mine", (1, 32), FormatIdentity("mine", n, 32, 18)) for n in ("x", "y")]
    with pytest.raises(UnsupportedFormatError, match="two declarations are called 'mine': x and y"):
        types_of_plan(twice)
    with pytest.raises(UnsupportedFormatError, match="no tensor type 'mine'"):
        create(tmp_path / "m.gguf", {}, [TensorPlan("x", "mine", (1, 32))])
