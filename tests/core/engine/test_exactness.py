"""Whole compiled models: against the interpreter, prefill against decode, threads, chunks and pages."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from kit.engines import oracle, token_ids

from lumen_backend_x86.backend import BACKEND
from lumen_core.codegen.objects import host_features
from lumen_core.schedule.attention import PART
from lumen_core.schedule.segments import TOGETHER

USABLE = BACKEND.usable("x86_64", host_features())
TARGETS = [target.name for target in USABLE]
# Where attention multiplies pairs of bf16, models of few bits a weight lose what the interpreter does not.
EXACT = [target.name for target in USABLE if target.find("dot2_bf16") is None]
FEW_BITS = ["q4_0", "q4_k_m"]
SHAPES = ["qwen2-tiny", "qwen3-tiny", "llama-tiny"]
KINDS = ["exaone4-tiny", "hyperclovax-tiny", "kanana2-tiny"]  # layers of several kinds, norms behind
FORMATS = ["f32", "q8_0", "q4_0", "q4_k_m"]
each_target = pytest.mark.parametrize("target", TARGETS)
each_model = pytest.mark.parametrize(
    ("shape", "format"),
    [*itertools.product(SHAPES, FORMATS), *itertools.product(KINDS, ["f32", "q4_k_m"])],
)


def relative(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The error of every row, relative to the row's length."""
    assert np.isfinite(found).all()
    return np.linalg.norm(found - wanted, axis=-1) / np.linalg.norm(wanted, axis=-1)


def agree(found: np.ndarray, wanted: np.ndarray, format: str, few: bool = False, deep: bool = False,
          rounded: bool = False) -> None:  # fmt: skip
    """Rounding alone tells the two apart.

    An activation on the edge between two codes may fall to either side; from there on quantization noise
    differs, and a row (and those that attend to it) is off by as much as quantization itself: 1 or 2 %.
    So all rows must be that close, and those before the first such fall as close as f32 is.
    Float models have one such edge, the f16 of the cache. In `deep` models hardly a row escapes, and none
    where attention has `rounded` to bf16.
    """
    errors = np.sort(relative(found, wanted))
    if rounded:
        assert errors[-1] < 0.15 and np.median(errors) < 6e-2, errors
        return
    if deep:
        assert errors[-1] < (2e-4 if format == "f32" else 0.15), errors
        assert errors[len(errors) // 2] < (1e-4 if format == "f32" else 4e-2), errors
        return
    assert errors[-1] < (2e-4 if format == "f32" else 4e-2), errors
    if not few:
        assert errors[len(errors) // 5] < (1e-5 if format == "f32" else 2e-6), errors


@each_model
def test_logits_are_those_of_the_interpreter(shape, format, tiny, engine) -> None:
    ids = token_ids(11)
    wanted = None
    for target in TARGETS:
        with engine(tiny(shape, format), target=target) as model:
            if wanted is None:
                reference = oracle(model.session)
                wanted = [reference.step(ids[:10]), *(reference.step([token]) for token in ids[10:])]
            kind = {"deep": shape in KINDS, "rounded": target not in EXACT and format in FEW_BITS}
            agree(model.prefill(ids[:10]), wanted[0], format, **kind)
            # behind a prefill, tokens one by one, over the cache that it left
            decoded = model.decode(ids, before=10)
            agree(decoded, np.concatenate(wanted[1:]), format, few=True, **kind)


@each_target
@each_model
def test_prefill_equals_repeated_decode(shape, format, target, tiny, engine) -> None:
    """To the bit where matrices are quantized: one token or many, the same sums in the same order."""
    ids = token_ids(40, seed=1)
    with engine(tiny(shape, format), target=target) as model:
        whole, single = model.prefill(ids), model.decode(ids)
        behind = model.decode(ids, before=21)
    if format == "f32":
        assert relative(single, whole).max() < 3e-4
        assert relative(behind, whole[21:]).max() < 3e-4
    else:
        np.testing.assert_array_equal(single, whole)
        np.testing.assert_array_equal(behind, whole[21:])


@pytest.mark.parametrize(
    ("shape", "format"), [("qwen2-tiny", "f32"), *itertools.product([*SHAPES, *KINDS], ["q4_k_m"])]
)
def test_every_number_of_threads_gives_the_same_bits(shape, format, tiny, engine) -> None:
    ids = token_ids(70, seed=2)
    found = []
    for threads in (1, 2, 5):
        with engine(tiny(shape, format), threads=threads) as model:
            found.append((model.prefill(ids), model.decode(ids, before=64)))
    for prefilled, decoded in found[1:]:
        np.testing.assert_array_equal(prefilled, found[0][0])
        np.testing.assert_array_equal(decoded, found[0][1])


@pytest.mark.parametrize(
    ("shape", "format"),
    [("qwen3-tiny", "bf16"), ("qwen3-tiny", "q8_0"), *itertools.product(["llama-tiny", *KINDS], ["q4_k_m"])],
)
def test_parts_of_a_prompt_meet(shape, format, tiny, engine) -> None:
    """Prompts that threads cut by tokens, behind an even and an odd number: the bits of one thread."""
    ids = token_ids(500, seed=3)
    path, cuts, found = tiny(shape, format), [(0, 499), (7, 283), (33, 300)], {}
    for threads in (1, 2, 3):
        with engine(path, threads=threads, chunk=512) as model:
            for before, end in cuts:
                sequence = model.sequence()
                for part in (ids[:before], ids[before:end]):
                    if part:
                        model.runner.prefill(sequence, part)
                model.runner.decode(sequence, ids[end])
                rows = model.runner.next_logits().copy()
                sequence.release()
                np.testing.assert_array_equal(rows, found.setdefault(end, rows))


@pytest.mark.parametrize("length", [1, 5, 6, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 257])
def test_lengths_around_chunks_and_pages(length, tiny, engine) -> None:
    """Chunks of 64 and of 256 tokens, pages in any order: the same bits; decoding goes on from there."""
    ids = token_ids(length + 3, seed=length)
    path = tiny("qwen3-tiny", "q8_0")
    with engine(path, threads=2, chunk=256) as model:
        wanted = model.prefill(ids)
        shuffled = model.prefill(ids, seed=1)
        behind = model.decode(ids, before=length)
    np.testing.assert_array_equal(shuffled, wanted)
    np.testing.assert_array_equal(behind, wanted[length:])
    with engine(path, threads=2, chunk=64) as model:
        np.testing.assert_array_equal(model.prefill(ids, seed=2), wanted)
        np.testing.assert_array_equal(model.decode(ids, seed=3, before=length), wanted[length:])


@pytest.mark.parametrize("shape", [*SHAPES, *KINDS])
def test_sequences_side_by_side_are_as_alone(shape, tiny, engine) -> None:
    """Prompts and answers of several sequences in one step: the bits of each alone, pages in any order."""
    texts = [token_ids(count, seed=count) for count in (70, 3, 18, 1)]
    with engine(tiny(shape, "q4_k_m"), threads=2, chunk=256, sequences=len(texts)) as model:
        wanted = [model.prefill(ids) for ids in texts]
        sequences = [model.sequence(number) for number in range(len(texts))]
        cuts = [60, 1, 10, 0]  # so many tokens of each as one step, then the others one by one
        work = [(s, ids[:cut]) for s, ids, cut in zip(sequences, texts, cuts, strict=True) if cut]
        found = model.step(work)
        for (sequence, ids), rows in zip(work, found, strict=True):
            np.testing.assert_array_equal(rows, wanted[sequences.index(sequence)][: len(ids)])
        for _ in range(10):
            work = [
                (sequence, ids[len(sequence.tokens) :][:1])
                for sequence, ids in zip(sequences, texts, strict=True)
                if len(sequence.tokens) < len(ids)
            ]
            for (sequence, _), rows in zip(work, model.step(work), strict=True):
                place = len(sequence.tokens) - 1
                np.testing.assert_array_equal(rows[0], wanted[sequences.index(sequence)][place])


def test_targets_agree(tiny, engine) -> None:
    """The integers are the same on all machines, only float sums are in another order."""
    ids = token_ids(24, seed=4)
    found = []
    for target in EXACT:
        with engine(tiny("llama-tiny", "q4_k_m"), target=target) as model:
            found.append(model.prefill(ids))
    for other in found[1:]:
        assert np.sort(relative(other, found[0]))[5] < 2e-6


def test_shapes_that_fill_no_vector(tiny, engine) -> None:
    """Heads, widths and vocabularies that are no multiple of anything but the format's block."""
    odd = {"width": 96, "heads": 4, "kv_heads": 1, "head": 24, "hidden": 160, "layers": 3, "vocabulary": 263}
    for shape in SHAPES:
        ids = token_ids(19, vocabulary=263, seed=5)
        with engine(tiny(shape, "q8_0", **odd), threads=3) as model:
            found = model.prefill(ids)
            agree(found, oracle(model.session).step(ids), "q8_0")
            np.testing.assert_array_equal(model.decode(ids), found)


@pytest.mark.parametrize("threads", [1, 3])
def test_long_contexts(tiny, engine, threads: int) -> None:
    """Where a single token's attention goes over to items of all heads, the numbers stay the same."""
    ids = token_ids(PART * TOGETHER + 40)
    with engine(tiny("qwen3-tiny", "q4_0"), threads=threads, context=len(ids)) as model:
        found = model.prefill(ids)
        np.testing.assert_array_equal(model.decode(ids, before=len(ids) - 80), found[-80:])
