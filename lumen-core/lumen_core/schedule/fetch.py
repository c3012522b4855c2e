"""Asking for lines of weights before they are used: what a processor fetches by itself does not suffice.

Lines are asked for in the order in which they lie there, even if one is asked for twice: what a processor
fetches by itself follows that order. Measured: whole lines by pieces and the rest once take up to 1.25 times
as long.
"""

from __future__ import annotations

from collections.abc import Sequence

from lumen_core.ir.kernel import Value
from lumen_core.ir.kernel_builder import Builder

# Bytes ahead of the codes in use that a tile fetches. Measured: 1.2 to 2.2 times the speed of few columns,
# and twice that of the first panel that wide tiles multiply with weights from memory. 5 to 8 KB are alike,
# less and more are slower by up to a tenth.
AHEAD = 8192
LINE = 64
# Where memory lies in small pages, as a virtual machine's may, the first line of a page waits for the page's
# translation, and all that are asked for behind it. So one line of each page is asked for long before, a
# stretch at a time. Measured, a token of 4-bit codes where a core reads at its own limit: 1.01 to 1.04 times
# the speed.
PAGE = 4096
STRETCH = 2 * PAGE
FAR = 8 * PAGE


def fetch_ahead(
    b: Builder, weights: Value, bytes: int, ahead: Value | int = AHEAD, once: bool = False
) -> None:
    """Ask at once for the lines that lie so many bytes `ahead` of the `bytes` in use."""
    first = b.i64(ahead) if isinstance(ahead, int) else ahead
    for offset in range(0, bytes, LINE):
        b.prefetch(weights, b.add(first, offset), once)


def fetch_pages(b: Builder, weights: Value, begin: Value) -> None:
    """Ask for a line of every page far behind a stretch of weights that begins so many bytes in."""
    for page in range(FAR, FAR + STRETCH, PAGE):
        b.prefetch(weights, b.add(begin, page))


class FetchAhead:
    """Asks for lines one at a time, between products (not `spaced`: all before them).

    Ten at once fill what a core keeps of outstanding requests, and loads of near lines wait behind them.
    Measured: a product with one column takes up to 1.17 times as long (by format; of some no longer) then.

    spaced  what products load comes with them; loads of their own stay together, for LLVM moves none of them
            past a request (by llvm-mca one column takes up to 1.15 times as long then)
    once    weights are used for nothing else in the step: code, states and what comes next shall stay near.
            Measured, of a whole model's step: 1.01 to 1.05 times the speed (the same code twice: 0.99 to
            1.01)
    """

    def __init__(self, builder: Builder, spaced: bool, once: bool = False):
        self.builder = builder
        self.spaced = spaced
        self.once = once
        self.lines: list[tuple[Value, int]] = []
        self.total = self.done = self.asked = 0

    def begin(self, used: Sequence[Value], bytes: int, products: int, ahead: int = AHEAD) -> None:
        """Until so many products are made, ask for what lies ahead of `bytes` bytes of every place in use."""
        self.lines = [(place, ahead + offset) for place in used for offset in range(0, bytes, LINE)]
        self.total, self.done, self.asked = products, 0, 0
        if not self.spaced:
            self.made(products)

    def made(self, products: int) -> None:
        """Ask for the lines that are due once so many more products are made."""
        self.done = min(self.done + products, self.total)
        while self.asked * self.total < len(self.lines) * self.done:
            self.builder.prefetch(*self.lines[self.asked], self.once)
            self.asked += 1
