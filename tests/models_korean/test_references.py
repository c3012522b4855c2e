"""Every architecture, compiled, against other implementations: `transformers`, whose logits are recorded
(record_references.py), and plain numpy for a model that it does not have.

The tiny models read 480 tokens: beyond the sliding window, the trained range of scaled rotary positions and a
whole ring of cache pages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kit import plain_decoder
from kit import tiny_models as tiny
from kit.engines import Engine

from lumen_core.engine.loading import load
from lumen_core.errors import ModelError
from lumen_core.plugins.registry import Registry
from lumen_core.quant.cache_layout import PAGE

RECORDED = np.load(Path(__file__).with_name("references.npz"))
BEFORE = 430  # tokens of the prefill that the one by one follow


@pytest.fixture(scope="module")
def registry() -> Registry:
    return Registry.load()


@pytest.fixture(scope="module")
def open_case(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Callable[..., Engine]:
    folder = tmp_path_factory.mktemp("tiny")

    def opened(case: tiny.Tiny, context: int = 512, **more: object) -> Engine:
        path = tiny.write(case, folder / f"{case.name}.gguf", **more)  # type: ignore[arg-type]
        return Engine(registry, path, folder / "objects", threads=2, context=context)

    return opened


def wanted(case: tiny.Tiny) -> np.ndarray:
    if case.name in RECORDED:
        return RECORDED[case.name]
    settings = tiny.metadata(case)
    return plain_decoder.logits(tiny.tensors(case), settings, tiny.token_ids(case))[list(tiny.RECORDED)]


@pytest.mark.parametrize("name", tiny.CASES)
def test_logits(name: str, open_case: Callable[..., Engine]) -> None:
    case = tiny.CASES[name]
    ids, reference = tiny.token_ids(case), wanted(case)
    with open_case(case) as model:
        found = model.prefill(ids)
        behind = model.decode(ids, before=BEFORE)
        pools = {pool.window: pool for pool in model.memory.pools}
    largest = np.abs(reference).max()
    assert np.abs(found[list(tiny.RECORDED)] - reference).max() < 1e-3 * largest  # the cache holds f16
    assert np.abs(behind - found[BEFORE:]).max() < 2e-4 * largest
    window = case.metadata.get("attention.sliding_window", 0)
    assert set(pools) == ({0, window} if window else {0})
    if window:
        ring = pools[window]
        assert ring.layers == (0, 1, 2)
        assert ring.pages * PAGE <= window + 2 * PAGE - 1  # in whole pages, and a page
        assert ring.pages * PAGE < len(ids)


def test_every_recorded_case_is_one() -> None:
    assert {*RECORDED.files, "kanana2_tiny"} == set(tiny.CASES)


def test_a_prompt_that_the_ring_has_lost_is_read_again(open_case: Callable[..., Engine]) -> None:
    case = tiny.CASES["exaone4"]
    ids = tiny.token_ids(case)
    with open_case(case) as model:
        straight = model.prefill([*ids[:100], *ids[:50]])
        sequence = model.sequence()
        model.runner.prefill(sequence, ids)
        assert sequence.rewind(470) == 470
        model.runner.prefill(sequence, ids[470:])
        assert sequence.rewind(100) == 0  # keys before 100 stood where later ones stand now
        model.runner.prefill(sequence, ids[:150])
        assert sequence.rewind(100) == 100  # nothing is lost so far
        np.testing.assert_array_equal(model.runner.logits(sequence, ids[:50]), straight[100:])


def test_a_block_for_further_tokens_is_skipped(open_case: Callable[..., Engine]) -> None:
    case = tiny.CASES["exaone4"]
    ids = tiny.token_ids(case)[:70]
    block = {name.replace("blk.3.", "blk.4."): value for name, value in tiny.tensors(case).items()
             if name.startswith("blk.3.")}  # fmt: skip
    more = {**block, "blk.4.nextn.eh_proj.weight": np.zeros((64, 128), np.float32)}
    counts = {"block_count": 5, "nextn_predict_layers": 1,
              "attention.sliding_window_pattern": [True, True, True, False, False]}  # fmt: skip
    with open_case(case) as model:
        plain = model.prefill(ids)
    with open_case(case, more=more, settings=counts) as model:
        np.testing.assert_array_equal(model.prefill(ids), plain)
    with pytest.raises(ModelError, match=r"no use for the tensor\(s\) blk\.4\."):
        open_case(tiny.CASES["qwen3"], more=more)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"attention.sliding_window_pattern": [1, 2, 0, 1]}, "`local` must be true or false, found 2"),
        ({"attention.sliding_window_pattern": [True, False]}, "has 2 values for 4 layers"),
        ({"rope.scaling.type": "longrope"}, "scaled in the way 'longrope', which is unknown"),
        (
            {"rope.scaling.type": "yarn", "rope.scaling.factor": 0.0},
            r"rope\.scaling\.factor` must be above 0",
        ),
    ],
)
def test_wrong_settings_are_named(settings, message, open_case: Callable[..., Engine]) -> None:
    with pytest.raises(ModelError, match=rf"\.gguf: model exaone4: .*{message}"):  # of which file
        open_case(tiny.CASES["exaone4"], settings=settings)


def test_the_other_name_of_an_architecture(open_case: Callable[..., Engine]) -> None:
    case = tiny.CASES["hyperclovax"]
    ids = tiny.token_ids(case)[:40]
    with open_case(case) as model:
        wanted = model.prefill(ids)
    with open_case(replace(case, architecture="hcx-seed-think")) as model:
        np.testing.assert_array_equal(model.prefill(ids), wanted)


def test_guesses_and_earlier_prompts_behind_a_window(tmp_path: Path) -> None:
    """Whatever is taken back or reused, the tokens are those of a fresh model."""
    case = tiny.CASES["exaone4"]
    path = tiny.write(case, tmp_path / "m.gguf")
    ids = tiny.token_ids(case)
    repeated = ids[:30] * 14
    options = {"max_tokens": 60, "temperature": 0, "ignore_end": True}
    with load(path, threads=2, context=512) as model:
        fresh = {}
        for name, prompt in (("long", ids[:440]), ("short", ids[:100]), ("repeated", repeated)):
            model.reset()
            fresh[name] = model.generate(prompt, **options).tokens
        for name, prompt in (("long", ids[:440]), ("short", ids[:100]), ("long", ids[:440])):
            assert model.generate(prompt, **options).tokens == fresh[name]
        assert model.generate(repeated, speculate="lookup", **options).tokens == fresh["repeated"]
