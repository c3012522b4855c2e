"""Mixtures of experts, compiled: against the interpreter, prefill against decode, threads, chunks."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from kit import tiny_models
from kit.engines import oracle, token_ids

from lumen_backend_x86.backend import BACKEND
from lumen_core.codegen.objects import host_features
from lumen_core.engine.synth import synthesize
from lumen_core.engine.work import file_work
from lumen_core.errors import LumenError

TARGETS = [target.name for target in BACKEND.usable("x86_64", host_features())]
SHAPES = ["qwen3moe-tiny", "k-exaone-tiny", "solar-open-tiny"]
QUANTIZED = ["q4_0", "q4_k_m", "q8_0"]


@pytest.mark.parametrize(
    ("shape", "format"),
    [*((shape, "f32") for shape in SHAPES), *((SHAPES[0], format) for format in ("f16", "bf16", "q8_0"))],
)
def test_logits_are_those_of_the_interpreter(shape, format, tiny, engine) -> None:
    ids = token_ids(12)
    with engine(tiny(shape, format), threads=2) as model:
        reference = oracle(model.session)
        wanted = np.concatenate([reference.step(ids[:11]), reference.step(ids[11:])])
        found = np.concatenate([model.prefill(ids[:11]), model.decode(ids, before=11)])
    errors = np.linalg.norm(found - wanted, axis=-1) / np.linalg.norm(wanted, axis=-1)
    if format == "bf16":  # a number on the edge may be rounded to either side: to 1 of 512, in every matrix
        assert errors.max() < 0.01, errors
    elif format == "q8_0":
        # a code or a choice on the edge may fall to either side, and what follows it is another text
        assert errors.min() < 2e-6, errors
        assert errors.max() < 0.5, errors
    else:
        assert errors.max() < 1e-3, errors


@pytest.mark.parametrize(
    ("shape", "format", "target"),
    [
        *zip(SHAPES, QUANTIZED, itertools.repeat(TARGETS[0])),
        *((SHAPES[0], "q4_k_m", target) for target in TARGETS[1:]),
    ],
)
def test_the_same_bits_however_tokens_come(shape, format, target, tiny, engine) -> None:
    """One token or many, a chunk or several, one thread or more: the choice and the sums are the same."""
    ids = token_ids(150, seed=1)
    path = tiny(shape, format)
    with engine(path, target=target) as model:
        whole = model.prefill(ids)
        np.testing.assert_array_equal(model.decode(ids[:40]), whole[:40])
        np.testing.assert_array_equal(model.decode(ids, before=131), whole[131:])
        for few in (2, 5, 8):
            np.testing.assert_array_equal(model.prefill(ids[:few]), whole[:few])
    for threads, chunk in ((2, 256), (5, 64)):
        with engine(path, target=target, threads=threads, chunk=chunk) as model:
            np.testing.assert_array_equal(model.prefill(ids), whole)
            np.testing.assert_array_equal(model.decode(ids, before=140), whole[140:])


def test_sequences_side_by_side_are_as_alone(tiny, engine) -> None:
    texts = [token_ids(count, seed=count) for count in (30, 3, 9)]
    with engine(tiny(SHAPES[1], "q4_k_m"), threads=2, sequences=len(texts)) as model:
        wanted = [model.prefill(ids) for ids in texts]
        sequences = [model.sequence(number) for number in range(len(texts))]
        for start, stop in ((0, 2), (2, 3)):
            work = [(one, ids[start:stop]) for one, ids in zip(sequences, texts, strict=True)]
            for rows, whole in zip(model.step(work), wanted, strict=True):
                np.testing.assert_array_equal(rows, whole[start:stop])


def test_a_token_costs_the_experts_that_it_chooses(tiny, installed, tmp_path) -> None:
    """Two of eight experts; two more in the file make it larger and a token no dearer."""
    path = tiny("qwen3moe-tiny", "q8_0")
    more = {"expert_count": 10, "expert_used_count": 2, "expert_feed_forward_length": 256}
    larger = synthesize("qwen3moe-tiny", tmp_path / "m.gguf", "q8_0", overrides={"more": more},
                        registry=installed)  # fmt: skip
    before, after = file_work(path), file_work(larger)
    experts = 2 * 3 * 256 * 256 * 2  # of 2 layers, 3 matrices each
    assert after.parameters - before.parameters == experts + 2 * 2 * 256  # and their rows of the router
    assert after.bytes_per_token - before.bytes_per_token == 2 * 2 * 256 * 4
    active = 2 * 2 * 3 * 256 * 256
    assert before.operations_per_token["int8"] > 2 * active
    assert before.operations_per_token["int8"] < 2 * 2 * active


@pytest.mark.parametrize("chosen", [1, 8])
def test_one_expert_and_all_of_them(chosen, tmp_path, installed, engine) -> None:
    more = {"expert_count": 8, "expert_used_count": chosen, "expert_feed_forward_length": 256}
    path = synthesize("qwen3moe-tiny", tmp_path / "m.gguf", "q8_0", overrides={"more": more, "layers": 1},
                      registry=installed)  # fmt: skip
    ids = token_ids(20)
    with engine(path, threads=2) as model:
        found = model.prefill(ids)
        np.testing.assert_array_equal(model.decode(ids), found)
        wanted = oracle(model.session).step(ids)
    errors = np.linalg.norm(found - wanted, axis=-1) / np.linalg.norm(wanted, axis=-1)
    assert np.median(errors) < 1e-2, errors


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"expert_used_count": 9}, "top_k cannot choose 9 of 8"),
        ({"expert_gating_func": 3}, "metadata key `expert_gating_func`. is 3; the page computes only 1 or 2"),
        ({"expert_used_count": 0}, "metadata key `expert_used_count`. must be between 1 and"),
        ({"expert_count": 7}, r"ffn_gate_inp\.weight has shape \[8, 64\], expected \[7, 64\]"),
        ({"expert_count": 1 << 40}, r"ffn_gate_inp\.weight has shape \[8, 64\]"),
        ({"leading_dense_block_count": 1}, r"blk\.0\.ffn_gate\.weight is missing"),
    ],
)
def test_wrong_numbers_of_experts_are_named(settings, message, tmp_path, engine) -> None:
    path = tiny_models.write(tiny_models.CASES["qwen3moe"], tmp_path / "m.gguf", settings=settings)
    with pytest.raises(LumenError, match=message):
        engine(path)
