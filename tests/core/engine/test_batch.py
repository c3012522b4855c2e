"""Several answers in each step: every one as it is alone, joining and leaving as they like."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kit.engines import token_ids

from lumen_core.engine.model import Model
from lumen_core.engine.pools import plan_pools
from lumen_core.engine.sequence import Pages, Sequence
from lumen_core.errors import ContextLengthError, LumenError
from lumen_core.quant.cache_layout import PAGE

PROMPTS = [token_ids(count, seed=count) for count in (5, 70, 1, 130, 12, 33, 64, 65, 300, 7)]
EACH: list[dict[str, Any]] = [
    {"temperature": 0}, {"seed": 3}, {"seed": 4, "temperature": 1.5, "top_k": 0, "max_tokens": 3},
    {"temperature": 0, "repeat_penalty": 1.3}, {"seed": 5, "max_tokens": 1},
    {"temperature": 0, "max_tokens": 0}, {"seed": 6, "repeat_penalty": 1.1, "max_tokens": 90},
    {"temperature": 0}, {"seed": 7}, {"temperature": 0},
]  # fmt: skip


@pytest.fixture(scope="module")
def models(tiny: Callable[..., Path], objects: Path) -> Any:
    from lumen_core.engine.loading import load

    opened: dict[tuple[object, ...], Model] = {}

    def model(shape: str, format: str, **options: Any) -> Model:
        key = (shape, format, *options.items())
        if key not in opened:
            options = {"threads": 2, "context": 512, "sequences": 4, "cache": objects} | options
            opened[key] = load(tiny(shape, format), **options)
        return opened[key]

    yield model
    for made in opened.values():
        made.close()


@pytest.mark.parametrize(
    ("shape", "format", "threads"),
    [
        ("qwen3-tiny", "q8_0", 1),
        ("qwen3-tiny", "q8_0", 2),
        ("llama-tiny", "q4_k_m", 1),
        ("llama-tiny", "q4_k_m", 3),  # an odd number, and more than there are cores
    ],
)
def test_answers_are_as_alone(models, shape: str, format: str, threads: int) -> None:
    model = models(shape, format, threads=threads)
    common = {"max_tokens": 20, "ignore_end": True}
    alone = [model.generate(ids, **common | own) for ids, own in zip(PROMPTS, EACH, strict=True)]
    together = model.generate_batch(PROMPTS, each=EACH, **common)
    for one, other in zip(alone, together, strict=True):
        assert (one.tokens, one.text, one.finish_reason) == (other.tokens, other.text, other.finish_reason)
    again = model.generate_batch(PROMPTS[::-1], each=EACH[::-1], **common)
    assert [answer.tokens for answer in again[::-1]] == [answer.tokens for answer in alone]


@pytest.mark.parametrize("format", ["f32", "bf16", "f16"])
def test_float_formats_are_as_alone(models, format: str) -> None:
    model = models("qwen2-tiny", format)
    common = {"max_tokens": 12, "ignore_end": True, "temperature": 0}
    alone = [model.generate(ids, **common).tokens for ids in PROMPTS[:6]]
    assert [answer.tokens for answer in model.generate_batch(PROMPTS[:6], **common)] == alone


def test_windows_have_rings_of_their_own(models) -> None:
    model = models("exaone4-tiny", "q8_0")
    common = {"max_tokens": 30, "ignore_end": True, "temperature": 0}
    alone = [model.generate(ids, **common).tokens for ids in PROMPTS]
    assert [answer.tokens for answer in model.generate_batch(PROMPTS, **common)] == alone


def test_streams_give_the_text_of_each(models) -> None:
    model = models("qwen3-tiny", "q8_0")
    common = {"max_tokens": 15, "ignore_end": True, "temperature": 0}
    texts = [""] * 4
    for number, piece in model.stream_batch(PROMPTS[:4], **common):
        texts[number] += piece
    assert texts == [model.generate(ids, **common).text for ids in PROMPTS[:4]]


def test_stop_strings_end_one_answer_only(models) -> None:
    model = models("qwen3-tiny", "q8_0")
    common = {"max_tokens": 20, "ignore_end": True, "temperature": 0}
    first, second = (model.generate(ids, **common) for ids in PROMPTS[:2])
    stop = first.text[3:5]
    found = model.generate_batch(PROMPTS[:2], each=[{"stop": [stop]}, {}], **common)
    assert found[0].text == first.text[: first.text.index(stop)]
    assert (found[0].finish_reason, found[1].finish_reason) == ("stop", "length")
    assert found[1].text == second.text


def test_answers_join_and_leave_between_steps(models) -> None:
    model = models("qwen3-tiny", "q8_0")
    common: dict[str, Any] = {"max_tokens": 12, "ignore_end": True, "temperature": 0}
    alone = [model.generate(ids, **common).text for ids in PROMPTS[:3]]
    with model.batch() as batch:
        first = batch.add(PROMPTS[0], **common)
        dropped = batch.add(PROMPTS[3], **common)
        late = None
        for _ in batch:
            if late is None and len(first.tokens) == 4:
                late = batch.add(PROMPTS[1], **common)
                dropped.cancel()
        assert late is not None
        another = batch.add(PROMPTS[2], **common)  # after all others have ended
        for answer, _ in batch:
            assert answer is another
    assert [first.text, late.text, another.text] == alone
    assert (dropped.finish_reason, dropped.done) == ("cancelled", True)
    assert len(dropped.tokens) < 12


def test_another_thread_may_add(models) -> None:
    model = models("qwen3-tiny", "q8_0")
    common: dict[str, Any] = {"max_tokens": 10, "ignore_end": True, "temperature": 0}
    wanted = model.generate(PROMPTS[1], **common).text
    added = []
    with model.batch() as batch:
        batch.add(PROMPTS[0], **common)
        for _ in batch:
            if not added:
                thread = threading.Thread(target=lambda: added.append(batch.add(PROMPTS[1], **common)))
                thread.start()
                thread.join()
    assert added[0].text == wanted


def test_more_than_fits_waits(models, tiny, opened) -> None:
    """A cache for one long answer: short ones share it, long ones take turns; nothing is left behind."""
    prompts = [token_ids(40, seed=seed) for seed in range(12)]
    common: dict[str, Any] = {"max_tokens": 24, "ignore_end": True, "temperature": 0}
    wide = models("qwen3-tiny", "q8_0").generate_batch(prompts, **common)
    with opened(tiny("qwen3-tiny", "q8_0"), context=256, threads=2) as model:
        free = [len(pages.free) for pages in model._memory.pages]
        narrow = model.generate_batch(prompts, **common)
        assert [len(pages.free) for pages in model._memory.pages] == free
        assert [answer.tokens for answer in narrow] == [answer.tokens for answer in wide]
        with pytest.raises(ContextLengthError, match="300 tokens do not fit"):
            model.generate_batch([token_ids(300)])
        assert model.generate(prompts[0], **common).tokens == wide[0].tokens


def test_a_common_beginning_is_kept_once(models) -> None:
    model = models("qwen3-tiny", "q8_0")
    beginning = token_ids(200, seed=9)
    common: dict[str, Any] = {"max_tokens": 6, "ignore_end": True, "temperature": 0}
    first = model.generate([*beginning, 1], **common)
    found = model.generate_batch([[*beginning, 1], [*beginning, 2, 3]], **common)
    assert found[0].tokens == first.tokens
    assert [answer.statistics.reused_tokens for answer in found] == [128, 128]
    assert model.generate([*beginning, 1], **common).statistics.reused_tokens == 200  # ours is still there


def test_what_cannot_be_is_refused(models) -> None:
    model = models("qwen3-tiny", "q8_0")
    with pytest.raises(LumenError, match="3 prompts, but options of 1"):
        model.generate_batch(["a", "b", "c"], each=[{}])
    with pytest.raises(LumenError, match="prompts are a list"):
        model.generate_batch("abc")
    with pytest.raises(LumenError, match="speculate"):
        model.generate_batch(["a"], speculate="lookup")
    with pytest.raises(LumenError, match="temperature"):
        model.generate_batch(["a"], temperature=-1)
    assert model.generate_batch([]) == []
    with model.batch(), pytest.raises(LumenError, match="still open"):
        model.generate("a")
    assert len(model.generate("a", max_tokens=2, ignore_end=True).tokens) == 2


def test_a_broken_off_batch_leaves_the_model_as_it_was(models) -> None:
    model = models("qwen3-tiny", "q8_0")
    free = [len(pages.free) for pages in model._memory.pages]
    wanted = model.generate(PROMPTS[0], max_tokens=5, temperature=0).tokens
    held = [len(pages.free) for pages in model._memory.pages]
    answers = []

    def interrupted() -> None:
        with model.batch() as batch:
            answers.extend(batch.add(ids, max_tokens=50, ignore_end=True) for ids in PROMPTS)
            next(iter(batch))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert all(answer.done and answer.finish_reason == "cancelled" for answer in answers)
    assert [len(pages.free) for pages in model._memory.pages] == held
    assert model.generate(PROMPTS[0], max_tokens=5, temperature=0).tokens == wanted
    model.reset()
    assert [len(pages.free) for pages in model._memory.pages] >= free


def test_a_model_closed_in_the_middle(tiny, opened) -> None:
    model = opened(tiny("qwen3-tiny", "q8_0"), threads=2)
    with model.batch() as batch:
        batch.add("a", ignore_end=True)
        pieces = iter(batch)
        next(pieces)
        model.close()
        with pytest.raises(LumenError, match="is closed"):
            list(pieces)


@settings(max_examples=200)
@given(st.data())
def test_pages_are_never_written_by_two(data: st.DataObject) -> None:
    """Whatever sequences do: where one writes next, nobody else reads; and all pages come back."""
    windows = data.draw(st.sampled_from([[0], [0, 200], [200]]))
    pools = [Pages(pool) for pool in plan_pools(windows, 64, 1280, sequences=2)]
    total = [len(pages.free) for pages in pools]
    alive: list[Sequence] = []
    for _ in range(data.draw(st.integers(1, 25))):
        move = data.draw(st.sampled_from(["new", "grow", "rewind", "release", "adopt"]))
        if move == "new" or not alive:
            alive.append(Sequence(pools, 1280))
            continue
        one = data.draw(st.sampled_from(alive))
        if move == "grow":
            count = data.draw(st.integers(1, 128))
            try:
                one.require(count)
            except ContextLengthError:
                continue
            begin = len(one.tokens)
            written = {(s, int(table[p // PAGE])) for s, table in one.pages.items()
                       for p in range(begin, begin + count)}  # fmt: skip
            for other in alive:
                if other is not one:
                    assert not written & held(other)
            one.extend([0] * count)
        elif move == "rewind":
            length = data.draw(st.integers(0, len(one.tokens)))
            assert one.rewind(length) <= length
        elif move == "release":
            one.release()
            alive.remove(one)
        else:
            alive.append(Sequence(pools, 1280))
            alive[-1].adopt(one, data.draw(st.integers(0, len(one.tokens))))
    for one in alive:
        one.release()
    assert [len(pages.free) for pages in pools] == total


def held(sequence: Sequence) -> set[tuple[str, int]]:
    pages = -(-len(sequence.tokens) // PAGE)
    return {(suffix, int(page)) for suffix, table in sequence.pages.items() for page in table[:pages]}
