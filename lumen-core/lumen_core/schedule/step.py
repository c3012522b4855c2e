"""The step program: all layers of a model in one function that every thread runs.

`step(frame, thread, threads)`: the frame is a table of 8-byte slots (pointers and numbers) that the engine
fills; layers have records of the same kind. Threads meet at barriers that count arrivals and never reset.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from lumen_core.errors import LumenBug
from lumen_core.ir.kernel import I32, I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.schedule.phases import (
    LEAST_PART,
    TOKEN_CHUNK,
    Argument,
    Bound,
    Call,
    Chain,
    Item,
    Moved,
    Number,
    Phase,
    Private,
    Slot,
    Tokens,
)
from lumen_core.schedule.segments import count_items
from lumen_core.target import Target

FIXED_SLOTS = (
    "barrier", "counters", "layers", "layer_count", "layer_bytes", "yield", "tokens", "segment_count",
)  # fmt: skip
SPINS = 4000  # polls before a waiting thread lets others run
COUNTERS = 128  # of a thread: one per phase, two per phase of a layer
COUNTER_BYTES = 64  # a line each
# Of a few tokens a thread reads its share of the weights front to back, in portions of half of what is left;
# after so many the rest is one.
HALVINGS = 5


@dataclass
class Profile:
    """Kinds of work, each with its place in the profile: word 0 is the last stamp, then a sum per kind."""

    places: dict[str, int] = field(default_factory=dict)

    def place(self, kind: str) -> int:
        return self.places.setdefault(kind, 8 * (1 + len(self.places)))


@dataclass
class Records:
    """Gives every slot its place; `frame` and `layer` map names to byte offsets.

    profile  where given, thread 0 adds the time of every kind of work to what the slot `profile` points to
    """

    frame: dict[str, int] = field(default_factory=dict)
    layer: dict[str, int] = field(default_factory=dict)
    profile: Profile | None = None

    def __post_init__(self) -> None:
        for name in FIXED_SLOTS:
            self.place(Slot(name))
        self.place(Slot("variant", layer=True))

    def place(self, slot: Slot) -> int:
        table = self.layer if slot.layer else self.frame
        return table.setdefault(slot.name, 8 * len(table))


@dataclass(frozen=True)
class Part:
    """Phases that run once, or (`variants`) once per layer, the layer's record saying which variant."""

    phases: tuple[Phase, ...] = ()
    variants: tuple[tuple[Phase, ...], ...] = ()


def build_step(name: str, parts: Sequence[Part], target: Target, records: Records, singly: bool) -> Kernel:
    """Build the program of `parts` in order.

    Each thread has a share of a phase's units, and helps others with theirs when it has done it.

    singly  units are taken one by one, and rows of the weights are cut by parts of the tokens too (prefill);
            else in portions
    """
    return _Step(name, parts, target, records, singly).build()


class _Step:
    def __init__(self, name: str, parts: Sequence[Part], target: Target, records: Records, singly: bool):
        self.parts = parts
        self.target = target
        self.records = records
        self.singly = singly
        self.kernel = Kernel(name, [("frame", PTR), ("thread", I64), ("threads", I64)], doc="a step program")
        self.b = Builder(self.kernel)
        self.frame, self.thread, self.threads = self.kernel.parameters
        self.layer: Value | None = None
        self.token_parts = self._token_parts() if singly else self.b.i64(1)
        self.token_part = self.b.i64(0)  # that of the unit whose calls are being made
        self.counter = 0  # the next phase's place among the counters
        self.odd_layer: Value | None = None  # layers take turns with two sets of counters

    def build(self) -> Kernel:
        b = self.b
        self.stamp(None)
        for part in self.parts:
            for phase in part.phases:
                self.phase(phase)
            if part.variants:
                self.layers(part.variants)
        b.ret()
        return self.kernel

    def layers(self, variants: tuple[tuple[Phase, ...], ...]) -> None:
        b = self.b
        longest = max(len(phases) for phases in variants)
        first = self.counter
        records, bytes = self.slot(Slot("layers"), PTR), self.slot(Slot("layer_bytes"))
        with b.loop(0, self.slot(Slot("layer_count"))) as loop:
            self.layer = b.offset(records, b.mul(loop.index, bytes))
            self.odd_layer = b.mul(b.bitand(loop.index, 1), longest * COUNTER_BYTES)
            if len(variants) == 1:
                for phase in variants[0]:
                    self.phase(phase)
            else:
                kind = self.slot(Slot("variant", layer=True))
                for number, phases in enumerate(variants):
                    self.counter = first
                    with b.when(b.compare("eq", kind, number)):
                        for phase in phases:
                            self.phase(phase)
            loop.next()
        self.layer = self.odd_layer = None
        self.counter = first + 2 * longest

    # ------------------------------------------------------------------- phases

    def phase(self, phase: Phase) -> None:
        b = self.b
        for call in phase.prologue:
            self.call(call, None, None)
            self.stamp(_kind(call))
        counts = [self.units(chain) for chain in phase.chains]
        counters = self.next_counter()
        with b.loop(0, self.threads) as others:
            owner = b.rem(b.add(self.thread, others.index), self.threads)
            counter = self.counter_of(counters, owner)
            (self.take_singly if self.singly else self.take_portions)(phase.chains, counts, owner, counter)
        self.stamp(_work(phase))
        self.barrier()
        # Nobody takes from it before the next barrier.
        b.store(b.i64(0), self.counter_of(counters, self.thread), align=8)
        self.stamp("waiting")

    def next_counter(self) -> Value:
        """Where thread 0's counter of the next phase is."""
        b = self.b
        if self.counter >= COUNTERS:
            raise LumenBug(f"a step of more than {COUNTERS} phases")
        counter = b.offset(self.slot(Slot("counters"), PTR), COUNTER_BYTES * self.counter)
        self.counter += 1
        return counter if self.odd_layer is None else b.offset(counter, self.odd_layer)

    def counter_of(self, counters: Value, thread: Value) -> Value:
        return self.b.offset(counters, self.b.mul(thread, COUNTERS * COUNTER_BYTES))

    def take_singly(self, chains: Sequence[Chain], counts: list[Value], owner: Value, counter: Value) -> None:
        """Take what is left of a thread's share of every chain, a unit at a time."""
        b = self.b
        shares = [self.share_of(owner, count) for count in counts]
        total = b.i64(0)
        for first, last in shares:
            total = b.add(total, b.sub(last, first))
        with b.repeat() as taking:
            turn = b.atomic("add", counter, b.i64(1))
            more = b.compare("lt", turn, total)
            before = b.i64(0)
            for chain, (first, last) in zip(chains, shares, strict=True):
                unit = b.add(first, b.sub(turn, before))
                with b.when(b.bitand(b.compare("ge", unit, first), b.compare("lt", unit, last))):
                    if chain.items is not None:  # the last see most: what is left at the end is small
                        unit = b.sub(b.add(first, last), b.add(unit, 1))
                    if chain.split:
                        self.token_part = b.div(unit, chain.units)
                        unit = b.rem(unit, chain.units)
                    self.calls(chain, unit, b.add(unit, 1))
                before = b.add(before, b.sub(last, first))
            taking.condition = more
            taking.next()

    def take_portions(
        self, chains: Sequence[Chain], counts: list[Value], owner: Value, counter: Value
    ) -> None:
        """Take what is left of a thread's share of all chains' units, some at a time."""
        b = self.b
        total = counts[0]
        for count in counts[1:]:
            total = b.add(total, count)
        with b.repeat() as taking:
            turn = b.atomic("add", counter, b.i64(1))
            low, high = self.portion(turn, owner, total)
            more = b.compare("lt", low, high)
            with b.when(more):
                self.run(chains, counts, low, high)
            taking.condition = more
            taking.next()

    def share_of(self, owner: Value, count: Value) -> tuple[Value, Value]:
        """A thread's share of so many units."""
        b = self.b
        shares = (b.div(b.mul(count, number), self.threads) for number in (owner, b.add(owner, 1)))
        first, last = shares
        return first, last

    def portion(self, turn: Value, owner: Value, total: Value) -> tuple[Value, Value]:
        """First and last unit of what is taken of a thread's share at a turn."""
        b = self.b
        first, last = self.share_of(owner, total)

        def left(turns: Value) -> Value:
            halved = b.shr(b.sub(last, first), b.minimum(turns, HALVINGS))
            return b.select(b.compare("gt", turns, HALVINGS), b.i64(0), halved)

        return b.sub(last, left(turn)), b.sub(last, left(b.add(turn, 1)))

    def stamp(self, kind: str | None) -> None:
        """Add the time since the last stamp to a kind of work (None: only start the clock)."""
        if self.records.profile is None:
            return
        b = self.b
        with b.when(b.compare("eq", self.thread, 0)):
            base, now = self.slot(Slot("profile"), PTR), b.cycles()
            if kind is not None:
                place = self.records.profile.place(kind)
                passed = b.sub(now, b.load(I64, base, 0, align=8))
                b.store(b.add(b.load(I64, base, place, align=8), passed), base, place, align=8)
            b.store(now, base, 0, align=8)

    def units(self, chain: Chain) -> Value:
        b = self.b
        if chain.count is not None:
            return self.argument(chain.count, None, None)
        if chain.items is not None:
            segments, count = self.slot(Slot("segments"), PTR), self.slot(Slot("segment_count"))
            return count_items(b, segments, count, chain.items)
        if chain.tokens is None:
            return b.mul(self.token_parts, chain.units) if chain.split else b.i64(chain.units)
        tokens = self.slot(chain.tokens)
        return b.div(b.add(tokens, chain.per - 1), chain.per)

    def run(self, chains: Sequence[Chain], counts: list[Value], low: Value, high: Value) -> None:
        """Run units low .. high of the chains' concatenation."""
        b = self.b
        start = b.i64(0)
        for chain, count in zip(chains, counts, strict=True):
            first = b.maximum(b.sub(low, start), 0)
            last = b.minimum(b.sub(high, start), count)
            with b.when(b.compare("lt", first, last)):
                self.calls(chain, first, last)
            start = b.add(start, count)

    def calls(self, chain: Chain, first: Value, last: Value) -> None:
        """Make a chain's calls for some of its units."""
        b = self.b
        if not chain.each:
            for call in chain.calls:
                self.call(call, first, last)
            return
        with b.loop(first, last) as unit:
            for call in chain.calls:
                self.call(call, unit.index, b.add(unit.index, 1))

    def _token_parts(self) -> Value:
        """Into how many parts the step's tokens go: one for each thread, but none too small."""
        b = self.b
        return b.maximum(b.minimum(b.div(self.slot(Slot("tokens")), LEAST_PART), self.threads), 1)

    def token_bound(self, part: Value) -> Value:
        """Where a part of the step's tokens begins: at a chunk of those that go by tokens."""
        b, tokens = self.b, self.slot(Slot("tokens"))
        chunks = b.div(b.add(tokens, TOKEN_CHUNK - 1), TOKEN_CHUNK)
        return b.minimum(b.mul(b.div(b.mul(chunks, part), self.token_parts), TOKEN_CHUNK), tokens)

    def call(self, call: Call, first: Value | None, last: Value | None) -> None:
        arguments = [self.argument(argument, first, last) for argument in call.arguments]
        if call.result is None:
            self.b.call(call.symbol, arguments)
        else:
            self.b.store(self.b.call(call.symbol, arguments, I64), self.slot(call.result, PTR), align=8)

    def argument(self, argument: Argument, first: Value | None, last: Value | None) -> Value:
        b = self.b
        match argument:
            case Number(value=number):
                return b.i64(number)
            case Slot():
                return self.slot(argument)
            case Private(bytes=bytes):
                return b.offset(self.slot(Slot(argument.name), PTR), b.mul(self.thread, bytes))
            case Bound(upper=upper, scale=scale, limit=limit):
                unit = last if upper else first
                assert unit is not None
                value = b.mul(unit, scale)
                return value if limit is None else b.minimum(value, self.argument(limit, None, None))
            case Tokens(what=what, per=per):
                first, end = (self.token_bound(b.add(self.token_part, own)) for own in (0, 1))
                return b.div({"first": first, "end": end, "count": b.sub(end, first)}[what], per)
            case Item(table=table, index=index, stride=stride, offset=offset):
                where = b.mul(self.argument(index, first, last), stride)
                pointer = b.offset(self.pointer(table, first, last), where)
                return b.convert(b.load(I32, pointer, offset, align=4), "i64")
            case Moved(base=base, index=index, stride=stride, offset=offset):
                where = b.add(b.mul(self.argument(index, first, last), stride), offset)
                return b.offset(self.pointer(base, first, last), where)
        raise AssertionError(argument)

    def pointer(self, argument: Argument, first: Value | None, last: Value | None) -> Value:
        return (
            self.slot(argument, PTR) if isinstance(argument, Slot) else self.argument(argument, first, last)
        )

    def slot(self, slot: Slot, type: Type = I64) -> Value:
        place = self.records.place(slot)
        base = self.layer if slot.layer else self.frame
        assert base is not None
        return self.b.load(type, base, place, align=8)

    def barrier(self) -> None:
        """Wait until all threads have arrived: the n-th barrier ends when n * threads have."""
        b = self.b
        with b.when(b.compare("gt", self.threads, 1)):
            arrivals = self.slot(Slot("barrier"), PTR)
            before = b.atomic("add", arrivals, b.i64(1))
            goal = b.mul(b.add(b.div(before, self.threads), 1), self.threads)
            give_way = self.slot(Slot("yield"), PTR)
            spin_until(b, lambda: b.compare("lt", b.atomic_load(I64, arrivals), goal), give_way)


def spin_until(b: Builder, waiting: Callable[[], Value], give_way: Value) -> None:
    """Poll while `waiting()` holds, with the target's hint; after a while call `give_way` between polls."""
    with b.repeat([b.i64(0)]) as spin:
        b.instruction("pause", (), None)
        (count,) = spin.values
        with b.when(b.compare("gt", count, SPINS)):
            b.call(give_way, [])
        spin.condition = waiting()
        spin.next(b.add(count, 1))


def _work(phase: Phase) -> str:
    """What a phase does: the kinds of its chains' matmuls, of a chain without any that of its first call."""
    kinds = []
    for chain in phase.chains:
        products = [call for call in chain.calls if call.symbol.startswith("matmul_")]
        kinds += [_kind(call) for call in products or chain.calls[:1]]
    return " ".join(dict.fromkeys(kinds))


def _kind(call: Call) -> str:
    """What a call does, in a word: a matmul goes by its weight's name."""
    kind, first = call.symbol.split("_")[0], call.arguments[0]
    first = first.base if isinstance(first, Moved) else first
    return first.name if kind in ("matmul", "bytoken") and isinstance(first, Slot) else kind
