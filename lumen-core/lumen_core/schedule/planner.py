"""The mechanics of planning: an open phase that chains join, and when a barrier closes it."""

from __future__ import annotations

from typing import Any

from lumen_core.errors import LumenBug
from lumen_core.ir.core import Function, Operation, Value
from lumen_core.ir.printer import Names
from lumen_core.schedule.blocking import TURNS
from lumen_core.schedule.conditions import Conditions
from lumen_core.schedule.matmul import MatmulTile, build_matmul
from lumen_core.schedule.parts import TokenParts
from lumen_core.schedule.phases import TOKEN_CHUNK, Bound, Call, Chain, Needs, Number, Phase, Slot, share
from lumen_core.schedule.pieces import Pieces
from lumen_core.schedule.places import Places, Stored


class Planner:
    """Goes through a function's operations; `plan_<name>` of a subclass plans one kind."""

    def __init__(self, function: Function, conditions: Conditions, needs: Needs):
        self.function = function
        self.target = conditions.target
        self.formats = conditions.formats
        self.cache = conditions.cache
        self.columns = conditions.columns
        self.capacity = conditions.capacity
        self.decode = self.columns == 1
        self.needs = needs
        self.tokens: Slot | Number = Number(1) if self.decode else Slot("tokens")
        self.parts = TokenParts(function, self.tokens, self.columns, self.capacity, conditions.threads)
        self.places = Places(function, conditions, needs)
        self.pieces = Pieces(function, self.columns, self.target.lanes, TURNS * conditions.threads)
        self.done: list[Phase] = []
        self.prologue: list[Call] = []
        self.chains: list[tuple[list[Call], dict[str, Any]]] = []
        self.made_here: dict[Value, int] = {}  # value -> chain of the open phase
        self.read_here: set[str] = set()  # buffers that the open phase reads

    def phases(self) -> tuple[Phase, ...]:
        for operation in self.function.operations:
            getattr(self, f"plan_{operation.name}", self._unknown)(operation)
        self._close()
        return tuple(self.done)

    def _unknown(self, operation: Operation) -> None:
        raise LumenBug(
            f"{operation.name} is left after fusion in @{self.function.name}; no kernel does it alone"
        )

    def _close(self) -> None:
        if self.prologue or self.chains:
            chains = tuple(Chain(tuple(calls), **shape) for calls, shape in self.chains)
            self.done.append(Phase(tuple(self.prologue), chains))
        self.prologue, self.chains, self.made_here, self.read_here = [], [], {}, set()

    def _needs_barrier(self, operation: Operation) -> bool:
        return any(operand in self.made_here for operand in operation.operands)

    def _read(self, operation: Operation) -> None:
        self.read_here.update(self.places.of[operand].name for operand in operation.operands)

    def _matmul(self, weight: Value, tile: MatmulTile) -> str:
        """The symbol of the kernel that multiplies one matrix of a weight."""
        form = self.formats[weight.type.element]
        return self.needs.request(
            "matmul",
            f"matmul {form!r} {tile} {self.target.name}",
            lambda name: build_matmul(form, self.target, tile, name),
        )

    def _written(self, result: Value, accumulate: Value | None) -> str:
        """The buffer, if known before, that a product is written to or added to."""
        if accumulate is not None:
            return self.places.of[accumulate].name
        return self.places.state_name() if result in self.function.results else ""

    def _place(self, result: Value, accumulate: Value | None) -> Stored:
        """Give a product its memory: that of what it is added to, or its own."""
        if accumulate is not None:
            stored = self.places.of[accumulate]
        elif result in self.function.results:
            stored = self.places.state(result)
        else:
            stored = self.places.new_buffer(result)
        self.places.of[result] = stored
        return stored

    @property
    def _chunk(self) -> tuple[Bound, Bound]:
        """The tokens of a unit that goes by tokens."""
        return share(TOKEN_CHUNK, self.tokens)

    def _chain(self, calls: list[Call], results: list[Value], **shape: object) -> None:
        self.made_here.update((result, len(self.chains)) for result in results)
        self.chains.append((calls, shape))

    def _token_chain(self, call: Call, results: list[Value]) -> None:
        if self.decode:
            self._chain([call], results, units=1)
        else:
            self._chain([call], results, **self._by_tokens)

    @property
    def _by_tokens(self) -> dict[str, Any]:
        return {"tokens": self.tokens, "per": TOKEN_CHUNK, "each": True}  # scratch is that of one chunk

    def _token_chain_of(self, operation: Operation) -> int | None:
        """The open chain over tokens that makes all that the operation needs of this phase, if any."""
        chains = {self.made_here[operand] for operand in operation.operands if operand in self.made_here}
        if len(chains) != 1:
            return None
        (chain,) = chains
        return chain if self.chains[chain][1] == self._by_tokens else None

    def _join(self, chain: int, call: Call, results: list[Value]) -> None:
        self.chains[chain][0].append(call)
        self.made_here.update((result, chain) for result in results)


def fresh_names(operation: Operation) -> Names:
    """Names that do not depend on where the operation stands: its text then decides its kernel."""
    names = Names()
    for index, operand in enumerate(operation.operands):
        if operand not in names.given:
            names.given[operand] = f"%a{index}: {operand.type}"
    return names
