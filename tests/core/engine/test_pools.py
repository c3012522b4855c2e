"""Pages of the cache: layers with a window keep that many tokens, rounded up to pages, and a page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lumen_core.engine.pools import CHUNK, cache_bytes, chunk_tokens, plan_pools, staging_pages
from lumen_core.engine.step_input import StepInput
from lumen_core.quant.cache_layout import PAGE
from lumen_core.schedule.segments import DIRECT
from lumen_core.weights.model_file import FileTensor, ModelFile


def test_layers_of_a_window_share_a_ring() -> None:
    windows = [4096, 4096, 4096, 0] * 16
    local, whole = plan_pools(windows, 1000, 131072)
    assert local.layers == tuple(layer for layer in range(64) if layer % 4 != 3)
    assert (local.suffix, whole.suffix) == (".4096", "")
    assert local.pages * PAGE == 4096 + PAGE
    assert whole.pages * PAGE == 131072
    every = 64 * 1000 * 131072 // PAGE
    assert 3.64 < every / cache_bytes((local, whole), 1000, CHUNK) < 3.65
    assert staging_pages((local, whole), CHUNK) * PAGE <= 2 * CHUNK  # of one layer, for all 64
    assert staging_pages((whole,), CHUNK) == 0


def test_a_short_context_needs_no_ring() -> None:
    (pool,) = plan_pools([4096] * 3, 10, 1000)
    assert pool.pages == 8
    assert (pool.layer_bytes, pool.bytes) == (80, 240)


@given(st.integers(1, 5000), st.data())
def test_no_key_in_sight_is_overwritten(window: int, data: st.DataObject) -> None:
    """What a step writes into a ring at once, or clears beside it, none of its tokens sees elsewhere."""
    (pool,) = plan_pools([window], 10, 1 << 20)
    position = data.draw(st.integers(0, 10**5))
    tokens = data.draw(st.integers(1, DIRECT) | st.just(PAGE - position % PAGE))
    oldest = max(0, position - window + 1)
    assert position + tokens - pool.pages * PAGE < oldest or position + tokens <= pool.pages * PAGE
    assert position // PAGE - oldest // PAGE < pool.pages


@given(st.lists(st.tuples(st.integers(0, 2000), st.integers(1, CHUNK)), min_size=1), st.integers(1, 600))
def test_what_a_step_has_in_staging(parts: list[tuple[int, int]], window: int) -> None:
    """Every page behind the first of a long segment once; then the newest in their places of the ring."""
    pools = plan_pools([window, 0], 10, 4096)
    frame: dict[str, int] = {}
    step = StepInput(CHUNK, pools, lambda bytes, name: np.zeros(bytes, np.uint8), frame.__setitem__)
    table = np.arange(32, dtype=np.int32) % pools[0].pages + 100
    pages = {pools[0].suffix: table, "": np.arange(32, dtype=np.int32)}
    room, work = CHUNK, []
    for position, count in parts:
        if count <= room:
            work.append((position, list(range(count)), pages))
            room -= count
    total = step.write(work)
    slots = step.slots[pools[0].suffix][:total]
    staged = np.unique(slots[slots < 0] // PAGE)
    assert len(staged) <= staging_pages(pools, CHUNK)
    assert (-staged == np.arange(len(staged), 0, -1)).all()
    wanted, first, back = {}, 0, dict(step.returns[pools[0]][: frame[f"return_count.{window}"]].tolist())
    for position, ids, _ in work:
        here = slots[first : first + len(ids)]
        places = np.arange(position, position + len(ids)) // PAGE
        direct = (places == position // PAGE) | (len(ids) <= DIRECT)
        assert (here[direct] // PAGE == table[places[direct]]).all()
        assert (here[~direct] < 0).all()
        newest = {int(table[place]): int(slot) // PAGE for place, slot in zip(places, here, strict=True)}
        wanted |= {slot: place for place, slot in newest.items() if slot < 0}
        first += len(ids)
    assert back == wanted
    assert (step.slots[""][:total] >= 0).all()


def test_a_step_has_more_tokens_where_each_goes_to_few_of_many_experts() -> None:
    def file(experts: int, chosen: int) -> ModelFile:
        tensors = {"w": FileTensor("w", "f32", (experts, 1, 1), np.zeros(4 * experts, np.uint8))}
        return ModelFile(Path("m"), "a", {"a.expert_used_count": chosen}, tensors, ())

    found = [chunk_tokens(file(experts, chosen)) for experts, chosen in ((8, 2), (64, 8), (128, 8), (512, 1))]
    assert found == [256, 256, 512, 1024]
    assert chunk_tokens(ModelFile(Path("m"), "a", {}, {}, ())) == 256
