"""What a step works on: tokens of one or more sequences, where each stands, where its key and value go.

In: sequences, each with its next tokens. Out: the tables that schedule/segments.py describes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from collections.abc import Sequence as Many

import numpy as np

from lumen_core.engine.pools import Pool, staging_pages
from lumen_core.quant.cache_layout import PAGE
from lumen_core.runtime.memory import address
from lumen_core.schedule.segments import DIRECT, RECORD


class StepInput:
    """Tables for at most `tokens` tokens; the programs read them, `write` fills them."""

    def __init__(self, tokens: int, pools: Many[Pool], new: Callable[[int, str], np.ndarray],
                 set: Callable[[str, int], None]):  # fmt: skip
        def table(name: str, bytes: int, kind: str) -> np.ndarray:
            made = new(bytes, name).view(kind)
            set(name, address(made))
            return made

        self._set = set
        self.ids = table("ids", 4 * tokens, "<i4")
        self.positions = table("positions", 4 * tokens, "<i4")
        self.segments = table("segments", RECORD * tokens, "<i8")
        self.slots = {pool.suffix: table(f"slots{pool.suffix}", 4 * tokens, "<i4") for pool in pools}
        self.pages = {pool.suffix: table(f"pages{pool.suffix}", 8 * tokens, "<i8") for pool in pools}
        staged = staging_pages(pools, tokens)
        self.returns = {
            pool: table(f"returns{pool.suffix}", 8 * staged, "<i4").reshape(-1, 2)
            for pool in pools
            if pool.window
        }
        # A token at a time is common; numpy is slow at single numbers.
        self._id, self._position, self._segment = self.ids.data, self.positions.data, self.segments.data
        self._slot = {suffix: slots.data for suffix, slots in self.slots.items()}
        # Tables of pages whose addresses stand in `pages`, by pool and segment: they live as long as that.
        self._tables: dict[tuple[str, int], np.ndarray] = {}

    def write(self, work: Many[tuple[int, Many[int], Mapping[str, np.ndarray]]]) -> int:
        """Take segments (tokens in the cache, new ids, pages of every pool); return how many tokens.

        Of a windowed pool the pages are a ring.
        """
        first = staged = 0
        counts = dict.fromkeys(self.returns, 0)
        for number, (position, ids, pages) in enumerate(work):
            count = len(ids)
            record = number * RECORD // 8
            self._segment[record] = first
            self._segment[record + 1] = count
            self._segment[record + 2] = position
            if count > DIRECT and counts:
                begin, end = position // PAGE + 1, -(-(position + count) // PAGE)
                pages = self._stage(pages, begin, end, staged, counts)
                staged += end - begin
            for suffix, table in pages.items():
                if self._tables.get((suffix, number)) is not table:
                    self.pages[suffix][number] = address(table)
                    self._tables[suffix, number] = table
            if count == 1:
                self._id[first], self._position[first] = ids[0], position
                for suffix, table in pages.items():
                    self._slot[suffix][first] = table.item(position // PAGE) * PAGE + position % PAGE
            else:
                here, where = slice(first, first + count), np.arange(position, position + count)
                self.ids[here], self.positions[here] = ids, where
                for suffix, table in pages.items():
                    self.slots[suffix][here] = table[where // PAGE] * PAGE + where % PAGE
            first += count
        for pool, number in counts.items():
            self._set(f"return_count{pool.suffix}", number)
        self._set("segment_count", len(work))
        self._set("tokens", first)
        return first

    def _stage(self, pages: Mapping[str, np.ndarray], begin: int, end: int, staged: int,
               counts: dict[Pool, int]) -> Mapping[str, np.ndarray]:  # fmt: skip
        """Return tables in which pages begin .. end of rings lie in staging, and note where they return to.

        Of those that share a place in the ring the last does.
        """
        found = dict(pages)
        numbers = -1 - staged - np.arange(end - begin, dtype=np.int32)
        for pool, returns in self.returns.items():
            table = found[pool.suffix] = pages[pool.suffix].copy()
            table[begin:end] = numbers
            kept = min(end - begin, pool.pages)
            here = slice(counts[pool], counts[pool] + kept)
            returns[here, 0] = numbers[-kept:]
            returns[here, 1] = pages[pool.suffix][end - kept : end]
            counts[pool] += kept
        return found
