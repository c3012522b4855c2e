"""Pages of the cache: layers with a window keep that many tokens, a step and what fills two pages."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from lumen_core.engine.pools import CHUNK, plan_pools

PAGE = 64


def test_layers_of_a_window_share_a_ring() -> None:
    windows = [4096, 4096, 4096, 0] * 16
    local, whole = plan_pools(windows, 1000, 131072, CHUNK)
    assert local.layers == tuple(layer for layer in range(64) if layer % 4 != 3)
    assert (local.suffix, whole.suffix) == (".4096", "")
    assert local.pages * PAGE <= 4096 + CHUNK + PAGE
    assert whole.pages * PAGE == 131072
    every = 64 * 1000 * 131072 // PAGE
    assert 3.6 < every / (local.bytes + whole.bytes) < 3.66


def test_a_short_context_needs_no_ring() -> None:
    (pool,) = plan_pools([4096] * 3, 10, 1000, CHUNK)
    assert pool.pages == 16
    assert pool.page_bytes == 30


@given(st.integers(1, 5000), st.integers(1, 512), st.integers(0, 10**5), st.data())
def test_no_key_in_sight_is_overwritten(window: int, chunk: int, position: int, data: st.DataObject) -> None:
    """The pages that the tokens of a step see or write are all different pages of the ring."""
    (pool,) = plan_pools([window], 10, 1 << 20, chunk)
    tokens = data.draw(st.integers(1, chunk))
    first = max(0, position - window + 1) // PAGE
    last = (position + tokens - 1) // PAGE
    assert last - first < pool.pages
