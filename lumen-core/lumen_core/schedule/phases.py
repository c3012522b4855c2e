"""What a plan is made of: phases of chains of kernel calls, their arguments, and what the engine must supply.

A plan is a tuple of `Phase`s. Threads share out a phase's units and meet at a barrier behind it; `Needs`
collects the kernels, buffers and weights that the plans of a model name.
plan.py makes plans, step.py turns them into code.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from lumen_core.ir.kernel import Kernel
from lumen_core.schedule.segments import Items

TOKEN_CHUNK = 16  # tokens that a thread takes at a time in row-wise work; parts of a prompt begin at one
LEAST_PART = 128  # tokens: what reads weights for fewer of them at a time waits for memory

# ------------------------------------------------------------------- arguments


@dataclass(frozen=True)
class Slot:
    """A number or pointer that the engine wrote into the frame (`layer`: into the layer's record)."""

    name: str
    layer: bool = False


@dataclass(frozen=True)
class Private:
    """This thread's part of a buffer: the frame's pointer plus thread * bytes."""

    name: str
    bytes: int


@dataclass(frozen=True)
class Number:
    value: int


@dataclass(frozen=True)
class Bound:
    """The first (`upper`: the end) unit of the thread's share, in other units: min(unit * scale, limit)."""

    upper: bool
    scale: int = 1
    limit: Slot | Number | None = None


def share(scale: int = 1, limit: Slot | Number | None = None) -> tuple[Bound, Bound]:
    """Where the thread's share begins and ends."""
    return Bound(False, scale, limit), Bound(True, scale, limit)


@dataclass(frozen=True)
class Tokens:
    """Of the unit's part of the step's tokens the first, in units of `per`, the end, or how many it has."""

    what: Literal["first", "end", "count"]
    per: int = 1


@dataclass(frozen=True)
class Item:
    """A number that a kernel left in memory: i32 at `table` + `index` * `stride` + `offset`."""

    table: Argument
    index: Argument
    stride: int = 4
    offset: int = 0


@dataclass(frozen=True)
class Moved:
    """A pointer: `index` * `stride` + `offset` bytes behind another."""

    base: Argument
    index: Argument
    stride: int
    offset: int = 0


Argument: TypeAlias = "Slot | Private | Number | Bound | Tokens | Item | Moved"


@dataclass(frozen=True)
class Call:
    """Call a kernel by its symbol; what it returns goes where the slot `result` points."""

    symbol: str
    arguments: tuple[Argument, ...]
    result: Slot | None = None


@dataclass(frozen=True)
class Chain:
    """Calls that run one after the other on the same share of `units`.

    A chain over tokens has ceil(tokens / per) units, one over the segments of the step has their `items`.

    split  there are `units` for every part of the step's tokens (parts.py)
    count  where the number of units is found, if a kernel makes it
    each   all calls for one unit, then all for the next
    """

    calls: tuple[Call, ...]
    units: int = 0
    split: bool = False
    tokens: Slot | None = None
    per: int = 1
    items: Items | None = None
    count: Item | None = None
    each: bool = False


@dataclass(frozen=True)
class Phase:
    """`prologue` runs whole on every thread; then the chains' units are shared out; then a barrier."""

    prologue: tuple[Call, ...]
    chains: tuple[Chain, ...]


@dataclass(frozen=True)
class Request:
    """A kernel that the plan calls: its symbol, what decides its code, and how to build it."""

    symbol: str
    content: str
    build: Callable[[], Kernel] = field(compare=False, repr=False)


@dataclass(frozen=True)
class Rotary:
    """A table of angles that a rope needs: theta, the weight that divides the frequencies, the stretch."""

    theta: float
    factors: str
    pairs: int
    scaling: tuple[tuple[str, float], ...] = ()
    magnitude: float = 1.0


@dataclass
class Needs:
    """What the plans of a model need from the engine, collected over all of them."""

    kernels: dict[str, Request] = field(default_factory=dict)
    buffers: dict[str, int] = field(default_factory=dict)  # name -> bytes
    partials: int = 0  # bytes that attention needs for each part of the longest sequence
    rotaries: dict[Rotary, int] = field(default_factory=dict)
    packed: set[str] = field(default_factory=set)  # weights that a matmul reads
    raw: set[str] = field(default_factory=set)  # weights whose rows are gathered
    plain: set[str] = field(default_factory=set)  # weights read as f32
    ordered: set[str] = field(default_factory=set)  # weights whose sorted columns' order is read

    def request(self, kind: str, content: str, build: Callable[[str], Kernel]) -> str:
        symbol = f"{kind}_{hashlib.sha256(content.encode()).hexdigest()[:16]}"
        self.kernels.setdefault(symbol, Request(symbol, content, lambda: build(symbol)))
        return symbol

    def buffer(self, name: str, bytes: int) -> None:
        self.buffers[name] = max(self.buffers.get(name, 0), bytes)

    def rotary(self, table: Rotary) -> int:
        return self.rotaries.setdefault(table, len(self.rotaries))
