"""How worker threads wait for programs: two small functions around a control record.

Control record, 8-byte words: 0 generation, 1 program, 2 frame, 3 threads, 4 stop, 5 yield function;
from byte 64 on one line of 64 bytes per thread whose first word says that the thread is parked.

`serve(control, thread, last)` runs every program that is published after generation `last` and returns the
generation it has seen when it has waited long (the caller then sleeps) or is told to stop.
`publish(control)` starts a generation and returns how many parked threads must be woken: they are those
whose word in `parked` it leaves at 2.
"""

from __future__ import annotations

from lumen_core.ir.kernel import I64, PTR, Kernel
from lumen_core.ir.kernel_builder import Builder

GENERATION, PROGRAM, FRAME, THREADS, STOP, YIELD = range(0, 48, 8)
PARKED, LINE = 64, 64
PATIENCE = 60_000  # polls before a worker goes to sleep: a fraction of a second


def build_serve(name: str = "serve") -> Kernel:
    """Build `serve(control, thread, last) -> generation`."""
    kernel = Kernel(name, [("control", PTR), ("thread", I64), ("last", I64)], I64, doc="a worker waits")
    b = Builder(kernel)
    control, thread, last = kernel.parameters
    parked = b.offset(control, b.add(b.mul(thread, LINE), PARKED))
    generation = b.offset(control, GENERATION)
    with b.repeat([last, b.i64(0)]) as wait:
        seen, polls = wait.values
        now = b.atomic_load(I64, generation)
        fresh = b.compare("ne", now, seen)
        with b.when(fresh):
            with b.when(b.compare("ne", b.load(I64, control, STOP, align=8), 0)):
                b.ret(now)
            program = b.load(PTR, control, PROGRAM, align=8)
            frame = b.load(PTR, control, FRAME, align=8)
            b.call(program, [frame, thread, b.load(I64, control, THREADS, align=8)])
        b.instruction("pause", (), None)
        waited = b.select(fresh, b.i64(0), b.add(polls, 1))
        with b.when(b.compare("gt", waited, PATIENCE)):
            # Announce the sleep, then look again: a program published in between is either seen here
            # or its publisher sees the announcement and wakes this thread.
            b.atomic_store(b.i64(1), parked)
            with b.when(b.compare("eq", b.atomic_load(I64, generation), now)):
                b.ret(now)
            with b.when(b.compare("ne", b.atomic("xchg", parked, b.i64(0)), 1)):
                b.ret(now)
        wait.condition = b.constant(fresh.type, 1)
        wait.next(now, waited)
    return kernel


def build_publish(name: str = "publish") -> Kernel:
    """Build `publish(control) -> threads to wake`."""
    kernel = Kernel(name, [("control", PTR)], I64, doc="workers get a program")
    b = Builder(kernel)
    (control,) = kernel.parameters
    b.atomic("add", b.offset(control, GENERATION), b.i64(1))
    with b.loop(1, b.load(I64, control, THREADS, align=8), 1, [b.i64(0)]) as loop:
        parked = b.offset(control, b.add(b.mul(loop.index, LINE), PARKED))
        asleep = b.atomic("xchg", parked, b.i64(0))
        b.store(b.shl(asleep, 1), b.offset(parked, 8), align=8)
        loop.next(b.add(loop.values[0], asleep))
    b.ret(loop.results[0])
    return kernel
