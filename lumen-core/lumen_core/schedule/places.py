"""Where the values of a planned function live: frame slots, buffers shared by all threads or private to each.

In: a fused function, and the most tokens that a step may have. Out: a `Stored` for every value, and the sizes
of the buffers in `Needs`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lumen_core.errors import LumenBug
from lumen_core.ir.core import Function, Value
from lumen_core.quant.layout import ActivationLayout
from lumen_core.schedule.conditions import Conditions
from lumen_core.schedule.phases import Argument, Bound, Moved, Needs, Number, Private, Slot
from lumen_core.schedule.sampling import padded


@dataclass
class Stored:
    """Where a value is: the argument to pass, the bytes between tokens (or of a panel), its buffer's name."""

    argument: Argument
    stride: int
    name: str

    @property
    def rows(self) -> tuple[Argument, Number]:
        """Where it is, and the bytes between its tokens."""
        return self.argument, Number(self.stride)


def window_of(function: Function) -> int:
    """Return how many keys a query of a block sees at most, 0 for all."""
    found = {int(op.attribute("window")) for op in function.operations if op.name == "attention"}
    if len(found) > 1:
        raise LumenBug(f"@{function.name} has attention over windows of {sorted(found)}")
    return found.pop() if found else 0


def rows_by_choice(function: Function) -> set[Value]:
    """The values that have a row for every choice of experts: their products, and what follows from these."""
    found: set[Value] = set()
    for operation in function.operations:
        follows = operation.name == "rowwise" and not found.isdisjoint(operation.operands)
        if operation.name == "fused_expert_matmul" or follows:
            found.update(operation.results)
    return found


def token_stride(elements: int) -> int:
    """Bytes between tokens of `elements` f32 numbers.

    Whole row groups, so that matmul stores whole vectors, and whole blocks of the sampler, so that it may
    pad one row of logits without touching the next.
    """
    return 4 * padded(elements)


class Places:
    """The places of one function's values, `of[value]`; its arguments have theirs from the beginning."""

    def __init__(self, function: Function, conditions: Conditions, needs: Needs):
        self.function = function
        self.needs = needs
        self.columns, self.depth = conditions.columns, conditions.target.depth
        self.layer_weights = conditions.layer_weights
        self.capacity = conditions.capacity
        self.threads = conditions.threads
        self.of: dict[Value, Stored] = {}
        self.roles = self._cache_roles()
        self.by_choice = rows_by_choice(function)
        # layers that keep a window of the cache have pages of their own
        self.window = window_of(function)
        kind = f".{self.window}" if self.window else ""
        self.pages, self.slots, self.returns, self.return_count = (
            Slot(f"{name}{kind}") for name in ("pages", "slots", "returns", "return_count")
        )
        for argument in function.arguments:
            name = argument.name
            if name in self.roles:
                name = f"cache.{self.roles[name]}"
                self.of[argument] = Stored(Slot(name, layer=True), 0, name)
            elif name == "x":
                # The head may start at any token, so it has a pointer of its own.
                slot = Slot("head_x" if function.name == "head" else "x")
                self.of[argument] = Stored(slot, self.stride(argument), "x")
            else:
                layer = name.removesuffix(".order") in self.layer_weights
                self.of[argument] = Stored(Slot(name, layer=layer), 0, name)

    def _cache_roles(self) -> dict[str, str]:
        """Which cache arguments are keys and which are values: attention says."""
        origin: dict[Value, str] = {}
        for operation in self.function.operations:
            if operation.region is None:
                continue
            given = dict(zip(operation.region.arguments, operation.operands, strict=True))
            for inner, outer in zip(operation.region.results, operation.results, strict=True):
                if inner.owner is not None and inner.owner.name == "append":
                    origin[outer] = given[inner.owner.operands[0]].name
        roles = {}
        for operation in self.function.operations:
            if operation.name == "attention":
                roles[origin[operation.operands[1]]] = "keys"
                roles[origin[operation.operands[2]]] = "values"
        return roles

    def elements(self, value: Value) -> int:
        """Elements of one token."""
        return math.prod(size.value or 0 for size in value.type.shape[1:])

    def rows(self, value: Value) -> int:
        """Rows of one token: more than one where each of its choices of experts has a row."""
        per_token = value.type.shape[0].divided("T") if value.type.shape else None
        return (per_token.value if per_token is not None else None) or 1

    def room(self, value: Value, private: bool) -> int:
        """Rows that a buffer has: those of a step, or of a batch of one expert's rows."""
        rows = self.rows(value)
        of_batch = private and value in self.by_choice and self.columns > 1
        return self.batch if of_batch else self.capacity * rows

    @property
    def batch(self) -> int:
        """Rows of one expert that are worked on together."""
        return min(4 * self.columns, -(-self.capacity // self.columns) * self.columns)

    def stride(self, value: Value) -> int:
        """Bytes between the tokens of a buffer."""
        return token_stride(self.elements(value))

    def state_name(self) -> str:
        return "x" if self.function.name in ("embed", "block") else f"{self.function.name}.out"

    def state(self, value: Value) -> Stored:
        """Where the result of embed and block (x) and of head (its own name) lies."""
        stride = self.stride(value)
        return self.reserve(self.state_name(), stride, stride * self.capacity, False)

    def new_buffer(self, value: Value, private: bool = False) -> Stored:
        name = f"{self.function.name}.{value.owner.name if value.owner else ''}{len(self.of)}"
        stride = self.stride(value)
        return self.reserve(name, stride, stride * self.room(value, private), private)

    def new_unit(self, elements: int) -> Stored:
        """Memory of a thread for the `elements` of every token that it makes as one unit.

        It is passed as if it were a part of whole rows, which begin so much before it.
        """
        name, stride = f"{self.function.name}.unit{len(self.of)}", 4 * elements
        own = self.reserve(name, stride, stride * self.capacity, private=True)
        return Stored(Moved(own.argument, Bound(False), -stride), stride, own.name)

    def reserve(self, name: str, stride: int, bytes: int, private: bool) -> Stored:
        if private:
            bytes = -(-bytes // 64) * 64 + 64  # a line apart, so that threads do not share one
            name += ".private"
            self.needs.buffer(name, bytes * self.threads)
            return Stored(Private(name, self.needs.buffers[name] // self.threads), stride, name)
        self.needs.buffer(name, bytes)
        return Stored(Slot(name), stride, name)

    def new_panels(self, value: Value, private: bool) -> Stored:
        layout = ActivationLayout(value.type.element, self.columns, self.depth)
        length = self.elements(value)
        name = f"{self.function.name}.{value.type.element}.{len(self.of)}.m{self.columns}"
        bytes = layout.bytes(self.room(value, private), length)
        return self.reserve(name, layout.panel_bytes(length), bytes, private)

    def plain(self, operand: Value) -> Argument:
        """The argument of an operand; weights that row-wise work reads are f32 arrays."""
        stored = self.of[operand]
        given = operand.name in ("x", "positions", "ids") or operand.name in self.roles
        if operand.owner is None and not given:
            self.needs.plain.add(operand.name)
            return Slot(f"plain.{operand.name}", layer=operand.name in self.layer_weights)
        return stored.argument

    def weight(self, weight: Value) -> Slot:
        return Slot(weight.name, layer=weight.name in self.layer_weights)
