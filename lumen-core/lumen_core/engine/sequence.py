"""Sequences of tokens and the cache pages that hold their keys and values.

All sequences of a model take their pages from the same pools, page by page as they grow. Sequences that begin
with the same tokens may hold the same pages: what is full is never written again.
"""

from __future__ import annotations

from collections.abc import Sequence as Many

import numpy as np

from lumen_core.engine.pools import Pool
from lumen_core.errors import ContextLengthError
from lumen_core.quant.cache_layout import PAGE
from lumen_core.schedule.segments import DIRECT


def check_length(tokens: int, context: int) -> None:
    """Raise ContextLengthError for more tokens than a sequence may have."""
    if tokens > context:
        raise ContextLengthError(
            f"{tokens} tokens do not fit the context of {context}; give a larger `context` or a shorter text",
            tokens,
            context,
        )


class Pages:
    """Which pages of one pool are free, and how many sequences hold each of the others."""

    def __init__(self, pool: Pool):
        self.pool = pool
        count = pool.sequences * pool.pages
        self.free = list(range(count - 1, -1, -1))  # the last is given out next
        self._holders = [0] * count

    def needed(self, tokens: int) -> int:
        """Pages of a sequence of so many tokens: at most its ring, where there is a window."""
        return min(-(-tokens // PAGE), self.pool.pages)

    def take(self) -> int:
        page = self.free.pop()
        self._holders[page] = 1
        return page

    def share(self, page: int) -> int:
        self._holders[page] += 1
        return page

    def shared(self, page: int) -> bool:
        return self._holders[page] > 1

    def give_back(self, page: int) -> None:
        self._holders[page] -= 1
        if not self._holders[page]:
            self.free.append(page)


class Sequence:
    """One conversation's tokens and its pages.

    pages  per pool the page of the pool that holds each page of the sequence: a ring where there is a window
    """

    def __init__(self, pools: Many[Pages], context: int):
        self.context = context
        self.tokens: list[int] = []  # tokens whose keys and values are in the cache
        self._pools = tuple(pools)
        self._written = (
            0  # tokens that rings have had places for since they were last right from the beginning
        )
        self._held = [0] * len(self._pools)  # pages of each table that are its own, from the front
        self._room = 0  # tokens that the pages it holds have places for
        whole = -(-context // PAGE)
        self.pages = {pages.pool.suffix: np.zeros(whole, np.int32) for pages in self._pools}

    def extend(self, tokens: Many[int]) -> None:
        """Note tokens whose keys and values a step has written."""
        self.tokens.extend(tokens)
        end = len(self.tokens)
        if len(tokens) > DIRECT:  # whole pages came back from staging
            end = -(-end // PAGE) * PAGE
        self._written = max(self._written, end)

    def rewind(self, length: int) -> int:
        """Forget all tokens from `length` on and give back their pages; return how many tokens stay.

        None stay where a ring has overwritten keys that the next token would see; those at the end of a page
        that other sequences hold go too, since the next token would be written there.
        """
        length = min(length, len(self.tokens))
        for pages in self._pools:
            window = pages.pool.window
            gone = self._written - pages.pool.pages * PAGE
            gone += gone % 2  # the first of a pair clears the second
            if window and gone > max(length + 1 - window, 0):
                length = 0
            elif length % PAGE and pages.shared(int(self.pages[pages.pool.suffix][length // PAGE])):
                length -= length % PAGE
        if length == 0:
            self._written = 0
        for number, pages in enumerate(self._pools):
            if length == 0 or not pages.pool.window:  # a ring stays whole: its pages are all in use
                self._shrink(number, pages.needed(length))
        del self.tokens[length:]
        return len(self.tokens)

    def release(self) -> None:
        """Give all pages back."""
        self.rewind(0)

    def require(self, count: int) -> None:
        """Take the pages of `count` more tokens; raises ContextLengthError where they do not fit."""
        total = len(self.tokens) + count
        if total <= self._room:
            return
        check_length(total, self.context)
        if not self.fits(total):
            raise ContextLengthError(
                f"{total} tokens do not fit the cache, which other sequences share; "
                "wait until one of them ends, or load the model with room for more (sequences)",
                total,
                self.context,
            )
        for number, pages in enumerate(self._pools):
            table = self.pages[pages.pool.suffix]
            for place in range(self._held[number], pages.needed(total)):
                table[place :: pages.pool.pages] = pages.take()
            self._held[number] = max(self._held[number], pages.needed(total))
        self._room = min(-(-total // PAGE) * PAGE, self.context)

    def fits(self, total: int) -> bool:
        """Tell whether there are pages for `total` tokens."""
        lacking = (
            (pages, pages.needed(total) - held) for pages, held in zip(self._pools, self._held, strict=True)
        )
        return all(wanted <= len(pages.free) for pages, wanted in lacking)

    def adopt(self, other: Sequence, length: int) -> int:
        """Begin with the other's first `length` tokens as far as they fill pages; return how many that is.

        For an empty sequence. Rings are not shared.
        """
        count = length // PAGE
        if any(pages.pool.window for pages in self._pools):
            count = 0
        for number, pages in enumerate(self._pools):
            suffix = pages.pool.suffix
            for place in range(count):
                self.pages[suffix][place] = pages.share(int(other.pages[suffix][place]))
            self._held[number] = count
        self.extend(other.tokens[: count * PAGE])
        return len(self.tokens)

    def common(self, ids: Many[int]) -> int:
        """Return how many tokens of the cache `ids` begins with."""
        for place, (ours, theirs) in enumerate(zip(self.tokens, ids, strict=False)):
            if ours != theirs:
                return place
        return min(len(self.tokens), len(ids))

    def _shrink(self, number: int, count: int) -> None:
        pages = self._pools[number]
        table = self.pages[pages.pool.suffix]
        for place in range(count, self._held[number]):
            pages.give_back(int(table[place]))
        self._held[number] = min(self._held[number], count)
        self._room = 0  # until pages are required again
