"""The benchmark: every engine runs every test in turn, and the figures are consistent with each other."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from lumen_core.engine import benchmark as benchmark_module
from lumen_core.engine.benchmark import LUMEN, Quotation, Test, all_tests, benchmark
from lumen_core.engine.loading import load
from lumen_core.engine.rivals import rivals
from lumen_core.engine.synth import synthesize
from lumen_core.engine.work import file_work
from lumen_core.errors import LumenError
from lumen_core.runtime.peaks import Peaks
from lumen_core.text.sample import PARAGRAPH


class Tortoise:
    """An engine of known speed that remembers what it was asked."""

    name = "tortoise"

    def __init__(self) -> None:
        self.asked: list[tuple[int, int, int]] = []

    def speed(self, before: Sequence[int], ids: Sequence[int], generated: int) -> float:
        self.asked.append((len(before), len(ids), generated))
        return 0.5


@pytest.fixture
def jumps() -> dict[int, float]:
    """How much faster the machine is at a look at it, by the look's number, where it does not only creep."""
    return {}


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch, jumps: dict[int, float]) -> list[Peaks]:
    """Limits of a machine that gets faster with every look at it, in place of those of this one."""
    seen: list[Peaks] = []

    class Gauge:
        def __init__(self, target: object, threads: int, read_bytes: int):
            assert read_bytes == 256 << 20  # of a small file
            self.threads = threads

        def peaks(self) -> Peaks:
            faster = (1 + len(seen) / 100) * jumps.get(len(seen), 1.0)
            seen.append(Peaks(self.threads, *(scale * faster for scale in (1e9, 4e9, 2e9, 1e9))))
            return seen[-1]

    monkeypatch.setattr(benchmark_module, "Gauge", Gauge)
    return seen


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthesize("qwen3-tiny", tmp_path_factory.mktemp("models") / "tiny.gguf", format="q8_0")


def test_engines_run_in_turn_and_are_compared(path: Path, limits: list[Peaks]) -> None:
    rival = Tortoise()
    with load(path, threads=1) as model:
        results, middle = benchmark(model, all_tests([16], [4]), repetitions=2, rivals=[rival])
        characters = len(PARAGRAPH) / len(model.tokenizer.encode(PARAGRAPH, add_special=False))
    assert rival.asked == [(0, 16, 0), (0, 1, 4)] * 3  # a round that only warms up, then two
    assert [(result.engine, result.test) for result in results] == [
        (LUMEN, "pp16"), ("tortoise", "pp16"), (LUMEN, "tg4"), ("tortoise", "tg4"),
    ]  # fmt: skip
    ours, theirs = results[0], results[1]
    assert theirs.median == 0.5 and len(ours.samples) == 2
    assert ours.against == pytest.approx(ours.median / 0.5)
    assert theirs.against == pytest.approx(np.mean(np.divide(0.5, ours.samples)))
    assert ours.characters == pytest.approx(ours.median * characters)
    assert theirs.characters == pytest.approx(0.5 * characters)
    # Three looks at the limits for each test, the last behind the rival: six are of the round that warms up.
    assert len(limits) == 18
    per_token = file_work(path).operations_per_token["int8"]
    beside = [[4e9 * 1.065, 4e9 * 1.125], [4e9 * 1.095, 4e9 * 1.155]]
    for (ours, theirs), peaks in zip((results[:2], results[2:]), beside, strict=True):
        assert ours.of_peak == pytest.approx(per_token * np.mean(np.divide(ours.samples, peaks)))
        theirs_beside = np.add(peaks, 4e9 * 0.01)  # a look later
        assert theirs.of_peak == pytest.approx(per_token * np.mean(np.divide(0.5, theirs_beside)))
    assert middle.int8_operations_per_second == pytest.approx(4e9 * 1.11)


@pytest.mark.parametrize("jump", [3, 4])  # behind our run, behind the rival's
def test_where_the_machine_moves_a_run_is_repeated(
    path: Path, limits: list[Peaks], jumps: dict[int, float], jump: int
) -> None:
    """The steadiest of three runs counts, and where one is steady there is no other."""
    rival = Tortoise()
    jumps[jump] = 2.0  # the first run's, behind the three looks of the one that warms up
    with load(path, threads=1) as model:
        (ours, _), middle = benchmark(model, all_tests([], [4]), repetitions=1, rivals=[rival])
        assert (len(limits), len(rival.asked)) == (9, 3)
        assert middle == Peaks.median(limits[6:8])
        assert len(ours.samples) == 1
        jumps |= {12 + 3 * run: factor for run, factor in enumerate((2.0, 1.5, 1.8))}
        _, middle = benchmark(model, all_tests([], [4]), repetitions=1, rivals=[rival])
        assert len(limits) == 9 + 3 + 9
        assert middle == Peaks.median(limits[15:17])


def test_every_part_of_a_generation_is_beside_its_own_limits(
    path: Path, limits: list[Peaks], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Looks between parts change neither what is generated nor what is counted."""
    monkeypatch.setattr(benchmark_module, "PART", 3)
    test = Test(generated=8)
    with load(path, threads=1) as model:
        text = test.text(model)
        seen = []
        for tokens, seconds in benchmark_module._run(model, test, *text):
            assert seconds > 0
            seen.append((tokens, len(model._cached.tokens)))
        whole = model.generate(text[1], max_tokens=9, ignore_end=True, temperature=0)
        assert model._cached.tokens == [*text[1], *whole.tokens[:-1]]
        # Of the first part one token more is generated, and the last token of a part is not yet in the cache.
        assert seen == [(3, 4), (3, 7), (2, 9)]
        (ours,), _ = benchmark(model, [test], repetitions=1)
    assert len(limits) == 4 + 4  # around three parts, of the run that warms up too
    reads = [Peaks.median(limits[look : look + 2]).read_bytes_per_second for look in (4, 5, 6)]
    bytes = file_work(path).bytes_per_token
    shares = [ours.median * bytes / limit for limit in reads]
    assert min(shares) < ours.of_bandwidth < max(shares)


def test_tests_are_named_as_elsewhere() -> None:
    tests = all_tests([512], [128], depths=(0, 4096), sequences=(1, 8), lookup=True)
    assert [test.name for test in tests] == [
        "pp512", "pp512 @ d4096", "tg128", "tg128 x8", "tg128 @ d4096", "tg128 @ d4096 x8", "tg128 lookup",
    ]  # fmt: skip
    assert all_tests([16, 32], []) == [Test(prompt=16), Test(prompt=32)]


def test_a_prompt_may_fill_the_context(path: Path, limits: list[Peaks]) -> None:
    """The embedded model has a context of 512, and `lumen bench` measures pp512."""
    tests = all_tests([32], [30])
    assert [test.context for test in tests] == [32, 32]
    with load(path, threads=1, context=32) as model:
        results, _ = benchmark(model, tests, repetitions=1)
    assert [result.test for result in results] == ["pp32", "tg30"]


def test_every_kind_of_test_counts_its_tokens(path: Path, limits: list[Peaks]) -> None:
    """What a test says it does is what the model did."""
    tests = all_tests([16], [6], depths=(0, 70), sequences=(1, 3), lookup=True)
    rival = Tortoise()
    with load(path, threads=2, context=400, sequences=3) as model:
        results, _ = benchmark(model, tests, repetitions=1, rivals=[rival])
        cached = model.describe()["cache_bytes_per_token"]
        before, ids = tests[1].text(model)
        assert (len(before), len(ids)) == (70, 16)
        assert tests[1].text(model) == (before, ids)
    ours = {result.test: result for result in results if result.engine == LUMEN}
    assert list(ours) == [test.name for test in tests]
    assert all(result.median > 0 for result in results)
    assert rival.asked == [(0, 16, 0), (70, 16, 0), (0, 1, 6), (70, 1, 6)] * 2
    deep, many = ours["tg6 @ d70"], ours["tg6 x3"]
    bytes = file_work(path).bytes_per_token
    looks = [3 if test.sequences == 1 and not test.lookup else 2 for test in tests] * 2
    for result, tokens, of_weights in ((deep, 73, bytes), (many, 3, bytes / 3)):
        number = sum(looks[: len(tests) + list(ours).index(result.test)])  # behind the round that warms up
        reads = Peaks.median(limits[number : number + 2]).read_bytes_per_second
        share = result.median * (of_weights + tokens * cached) / reads
        assert result.of_bandwidth == pytest.approx(share)


def test_a_quotation_is_guessed_word_for_word(path: Path) -> None:
    assert Quotation(range(10, 30)).propose([10, 11, 12, 13], 3) == [14, 15, 16]
    ids, options = [5], {"max_tokens": 20, "ignore_end": True, "temperature": 0.0}
    with load(path, threads=2, context=64) as model:
        answer = model.generate(ids, **options).tokens
        model.reset()
        again = model.generate(ids, speculate=Quotation([*ids, *answer]), **options)
        plain = model.generate(ids, **options)
    assert again.tokens == plain.tokens == answer


def test_an_unknown_engine_is_named(path: Path) -> None:
    with (
        load(path, threads=1) as model,
        pytest.raises(LumenError, match="known: llama"),
        rivals("abacus", model),
    ):
        pass
