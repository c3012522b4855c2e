"""What `stream`, `generate` and `logits` do at their edges: limits, stop strings, seeds, prefixes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from kit.engines import token_ids

from lumen_core.engine.model import Model
from lumen_core.errors import ContextLengthError, LumenError, TokenizerError

GREEDY = {"temperature": 0, "ignore_end": True}


@pytest.fixture(scope="module")
def model(tiny, installed, objects):
    from lumen_core.engine.loading import load

    with load(tiny("qwen3-tiny", "q8_0"), registry=installed, cache=objects, threads=2, context=200) as model:
        yield model


def test_greedy_tokens_are_the_largest_logits(model: Model) -> None:
    ids = token_ids(20)
    tokens = list(model.generate(ids, max_tokens=12, **GREEDY).tokens)
    assert len(tokens) == 12
    logits = model.logits([*ids, *tokens])
    assert logits.shape == (32, 259) and logits.dtype == np.float32
    assert logits[19:31].argmax(axis=-1).tolist() == tokens


def test_text_and_ids_are_the_same_prompt(model: Model) -> None:
    text = "옛날 옛적에 there was"
    by_text = model.generate(text, max_tokens=6, **GREEDY)
    by_ids = model.generate(model.tokenizer.encode(text), max_tokens=6, **GREEDY)
    assert by_text.tokens == by_ids.tokens
    assert by_text.text == model.tokenizer.decode(list(by_text.tokens))
    assert "".join(model.stream(text, max_tokens=6, **GREEDY)) == by_text.text


# ------------------------------------------------------------------------ prefixes


def test_a_reused_prefix_changes_nothing(model: Model) -> None:
    ids = token_ids(90, seed=3)
    changed = [*ids[:70], (ids[70] + 1) % 256, *ids[71:]]
    for prompt in (ids, changed, ids[:40], ids[:1], ids, [*ids, 5, 6]):
        warm = model.generate(prompt, max_tokens=8, **GREEDY)
        model.reset()
        cold = model.generate(prompt, max_tokens=8, **GREEDY)
        assert warm.tokens == cold.tokens
        assert cold.statistics.reused_tokens == 0
        assert cold.statistics.prompt_tokens == len(prompt)
        again = model.generate(prompt, max_tokens=8, **GREEDY)
        assert again.tokens == cold.tokens
        assert again.statistics.reused_tokens == len(prompt) - 1  # the last one gives the logits


def test_an_answer_is_part_of_the_next_prefix(model: Model) -> None:
    model.reset()
    ids = token_ids(30, seed=4)
    answer = model.generate(ids, max_tokens=10, **GREEDY).tokens
    follow = [*ids, *answer, 1, 2, 3]
    warm = model.generate(follow, max_tokens=5, **GREEDY)
    assert warm.statistics.reused_tokens == 39  # the last token of an answer was never fed
    model.reset()
    assert model.generate(follow, max_tokens=5, **GREEDY).tokens == warm.tokens


def test_logits_and_generation_do_not_disturb_each_other(model: Model) -> None:
    ids, others = token_ids(25, seed=5), token_ids(60, seed=6)
    wanted = model.generate(ids, max_tokens=5, **GREEDY).tokens
    before = model.logits(others)
    assert model.generate(ids, max_tokens=5, **GREEDY).tokens == wanted
    np.testing.assert_array_equal(model.logits(others), before)


# -------------------------------------------------------------------------- limits


def test_no_tokens_are_asked_for(model: Model) -> None:
    done = model.generate("abc", max_tokens=0)
    assert (done.text, done.tokens, done.finish_reason) == ("", (), "length")
    assert done.statistics.generated_tokens == 0
    assert list(model.stream("abc", max_tokens=0)) == []


@pytest.mark.parametrize("length", [1, 199, 200])
def test_prompts_up_to_the_context(model: Model, length: int) -> None:
    """A prompt may fill the context; what is left of it limits the answer."""
    done = model.generate(token_ids(length, seed=7), max_tokens=None, **GREEDY)
    assert done.finish_reason == "length"
    assert len(done.tokens) == 200 - length


@pytest.mark.parametrize("length", [201, 20_000])
def test_prompts_beyond_the_context(model: Model, length: int) -> None:
    for ask in (model.generate, model.logits, lambda ids: list(model.stream(ids))):
        with pytest.raises(
            ContextLengthError, match=f"{length} tokens do not fit the context of 200"
        ) as caught:
            ask(token_ids(length))
        assert (caught.value.tokens, caught.value.context) == (length, 200)
    assert len(model.generate("a", max_tokens=3, **GREEDY).tokens) == 3  # the model is as good as new


def test_the_end_of_a_text(model: Model) -> None:
    """Some prompt of many makes the model end by itself; asked to go on, it goes on."""
    for seed in range(200):
        ids = token_ids(5, seed=seed)
        done = model.generate(ids, max_tokens=20, temperature=1.0, top_k=0, top_p=1.0, min_p=0.0, seed=seed)
        if done.finish_reason == "stop":
            break
    else:
        pytest.fail("no generation ended")
    assert len(done.tokens) < 20
    assert not set(done.tokens) & set(model.tokenizer.eos_ids)
    options = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "seed": seed}
    longer = model.generate(ids, max_tokens=20, ignore_end=True, **options)
    assert len(longer.tokens) == 20
    assert longer.tokens[: len(done.tokens)] == done.tokens
    assert longer.tokens[len(done.tokens)] in model.tokenizer.eos_ids


def test_stop_strings(model: Model) -> None:
    whole = model.generate("once", max_tokens=30, **GREEDY)
    middle = whole.text[4:6]
    assert middle
    done = model.generate("once", max_tokens=30, stop=["\0never\0", middle], **GREEDY)
    assert done.finish_reason == "stop"
    assert done.text == whole.text[: whole.text.index(middle)]
    assert done.tokens == whole.tokens[: len(done.tokens)]
    assert model.generate("once", max_tokens=30, stop=middle, **GREEDY).text == done.text
    assert "".join(model.stream("once", max_tokens=30, stop=[middle], **GREEDY)) == done.text


def test_an_empty_prompt_begins_a_text(model: Model) -> None:
    assert (
        model.generate("", max_tokens=4, **GREEDY).tokens
        == model.generate([256], max_tokens=4, **GREEDY).tokens
    )
    assert model.logits([]).shape == (0, 259)


@pytest.mark.parametrize("ids", [[-1], [259], [1, 2, 1 << 31], [1 << 70]])
def test_ids_out_of_the_vocabulary(model: Model, ids: list[int]) -> None:
    for ask in (model.generate, model.logits):
        with pytest.raises(LumenError, match=f"token {ids[-1]} is not in the vocabulary of 259"):
            ask(ids)


@pytest.mark.parametrize("ids", [5, ["a"], [1.5], [[1, 2]]])
def test_what_is_no_list_of_tokens(model: Model, ids: Any) -> None:
    for ask in (model.generate, model.logits):
        with pytest.raises(LumenError, match="tokens are whole numbers in a list"):
            ask(ids)


def test_text_that_is_no_text(model: Model) -> None:
    with pytest.raises(TokenizerError):
        model.generate("\ud800 alone")


@pytest.mark.parametrize(
    "options",
    [{"max_tokens": -1}, {"max_tokens": 1.5}, {"temperature": -1}, {"temperature": float("nan")},
     {"top_p": 0}, {"top_p": 1.1}, {"min_p": float("inf")}, {"repeat_penalty": 0}, {"seed": 1 << 64},
     {"top_k": -5}, {"temperature": 1e308}, {"top_k": 1 << 40}, {"repeat_last": -2}],
)  # fmt: skip
def test_settings_out_of_range(model: Model, options: dict[str, object]) -> None:
    with pytest.raises(LumenError, match=next(iter(options))):
        model.generate("a", **options)


# ------------------------------------------------------------------------ sampling


def test_a_seed_decides(model: Model) -> None:
    options = {
        "max_tokens": 24,
        "ignore_end": True,
        "temperature": 1.5,
        "top_k": 0,
        "min_p": 0.0,
        "top_p": 1.0,
    }
    found = {seed: model.generate("abc", seed=seed, **options).tokens for seed in range(6)}
    assert len(set(found.values())) == 6
    for seed in (3, 0, 5):
        model.reset()
        assert model.generate("abc", seed=seed, **options).tokens == found[seed]
    drawn = {model.generate("abc", **options).tokens for _ in range(3)}
    assert len(drawn) == 3


def test_one_choice_is_the_greedy_one(model: Model) -> None:
    greedy = model.generate("xyz", max_tokens=10, **GREEDY).tokens
    for options in ({"top_k": 1}, {"top_p": 1e-6}, {"min_p": 1.0}):
        assert (
            model.generate("xyz", max_tokens=10, ignore_end=True, temperature=2.0, **options).tokens == greedy
        )


def test_a_penalty_forbids_repetition(model: Model) -> None:
    """With an overwhelming penalty on the whole context no token comes twice."""
    penalized = model.generate("aaaa", max_tokens=40, repeat_penalty=100.0, repeat_last=-1, **GREEDY).tokens
    assert len(set(penalized)) == 40
    assert ord("a") not in penalized


def test_the_seed_decides_on_every_number_of_threads(tiny, opened) -> None:
    found = set()
    for threads in (1, 2, 3):
        with opened(tiny("qwen2-tiny", "q4_k_m"), threads=threads) as model:
            found.add(model.generate("아침", max_tokens=16, temperature=1.0, seed=7, ignore_end=True).tokens)
    assert len(found) == 1


# ------------------------------------------------------------------------- streams


def test_a_stream_that_is_left_early(model: Model) -> None:
    wanted = model.generate("left", max_tokens=6, **GREEDY).tokens
    pieces = model.stream("left", max_tokens=100, **GREEDY)
    next(pieces)
    pieces.close()
    assert model.generate("left", max_tokens=6, **GREEDY).tokens == wanted
    for _ in model.stream("left", max_tokens=100, **GREEDY):
        break
    assert model.generate("left", max_tokens=6, **GREEDY).tokens == wanted


def test_a_stream_that_is_still_open(model: Model) -> None:
    """A second generation in the same thread would wait for ever: it is refused."""
    pieces = model.stream("open", max_tokens=100, **GREEDY)
    next(pieces)
    with pytest.raises(LumenError, match="still open"):
        model.generate("other", max_tokens=2)
    pieces.close()
    assert len(model.generate("other", max_tokens=2, **GREEDY).tokens) == 2


def test_statistics(model: Model) -> None:
    model.reset()
    done = model.generate(token_ids(50), max_tokens=5, **GREEDY)
    numbers = done.statistics
    assert (numbers.prompt_tokens, numbers.generated_tokens) == (50, 5)
    assert 0 < numbers.prompt_seconds <= numbers.first_token_seconds
    assert numbers.decode_seconds > 0
    assert model.statistics == numbers


def test_chat(model: Model) -> None:
    messages = [{"role": "user", "content": "안녕"}]
    ids = model.chat_ids(messages)
    assert ids[0] == 257  # the control token itself, not its letters
    done = model.chat(messages, max_tokens=5, **GREEDY)
    assert done.tokens == model.generate(ids, max_tokens=5, **GREEDY).tokens
    assert "".join(model.stream_chat(messages, max_tokens=5, **GREEDY)) == done.text
