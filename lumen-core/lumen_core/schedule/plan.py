"""Fused tensor IR -> a plan: which kernels run, on what memory, split over threads how, with barriers where.

Each operation becomes a kernel call. Calls that may run side by side, each thread on its own share, form a
phase; between phases stands a barrier. A head-wise operation that follows a matmul joins its chain: the
thread that made the rows of a head also rotates and caches them.

Two modes. "decode" has one token: row-wise work in token space is so little that every thread does it for
itself, into memory of its own. "prefill" has many: such work is a phase of its own, split by tokens.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from lumen_core.errors import LumenBug
from lumen_core.ir.core import Function, Operation, Value
from lumen_core.ir.kernel import Kernel
from lumen_core.ir.printer import Names, print_operation
from lumen_core.quant.layout import ActivationLayout
from lumen_core.quant.normal_form import NormalForm
from lumen_core.schedule.attention import attention_block, build_attention
from lumen_core.schedule.matmul import MatmulTile, build_matmul, tile_columns
from lumen_core.schedule.rows import build_rows
from lumen_core.schedule.rowwise import build_rowwise
from lumen_core.target import Target

TOKEN_CHUNK = 16  # tokens that a thread takes at a time in row-wise work
GROUP_CHUNK = 4  # row groups that a thread takes at a time in a wide matmul


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
    """The first (or, `upper`, the end) unit of the thread's share, in other units: min(unit * scale, limit)."""

    upper: bool
    scale: int = 1
    limit: Slot | Number | None = None


Argument = Slot | Private | Number | Bound


@dataclass(frozen=True)
class Call:
    """Call a kernel by its symbol; what it returns goes where the slot `result` points."""

    symbol: str
    arguments: tuple[Argument, ...]
    result: Slot | None = None


@dataclass(frozen=True)
class Chain:
    """Calls that run one after the other on the same share of `units`.

    A chain over tokens has ceil(tokens / per) * times units.
    """

    calls: tuple[Call, ...]
    units: int = 0
    tokens: Slot | None = None
    per: int = 1
    times: int = 1


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
    """A table of angles that a rope needs: theta and the weight that divides the frequencies."""

    theta: float
    factors: str
    pairs: int


@dataclass
class Needs:
    """What the plans of a model need from the engine, collected over all of them."""

    kernels: dict[str, Request] = field(default_factory=dict)
    buffers: dict[str, int] = field(default_factory=dict)  # name -> bytes
    rotaries: dict[Rotary, int] = field(default_factory=dict)
    packed: set[str] = field(default_factory=set)  # weights that a matmul reads
    raw: set[str] = field(default_factory=set)  # weights whose rows are gathered
    plain: set[str] = field(default_factory=set)  # weights read as f32

    def request(self, kind: str, content: str, build: Callable[[str], Kernel]) -> str:
        symbol = f"{kind}_{hashlib.sha256(content.encode()).hexdigest()[:16]}"
        self.kernels.setdefault(symbol, Request(symbol, content, lambda: build(symbol)))
        return symbol

    def buffer(self, name: str, bytes: int) -> None:
        self.buffers[name] = max(self.buffers.get(name, 0), bytes)

    def rotary(self, table: Rotary) -> int:
        return self.rotaries.setdefault(table, len(self.rotaries))


def plan(
    function: Function,
    mode: str,
    target: Target,
    formats: Mapping[str, NormalForm],
    layer_weights: frozenset[str],
    capacity: int,
    threads: int,
    needs: Needs,
) -> tuple[Phase, ...]:
    """Return the phases of a fused function and add what they need to `needs`.

    `capacity` is the most tokens of a step in this mode; arguments of the function are frame slots of the
    same name, those named in `layer_weights` are slots of the layer's record.
    """
    return _Planner(function, mode, target, formats, layer_weights, capacity, threads, needs).phases()


@dataclass
class _Stored:
    """Where a value is: the argument to pass, the bytes between tokens (or of a panel), its buffer's name."""

    argument: Argument
    stride: int
    name: str


class _Planner:
    def __init__(
        self,
        function: Function,
        mode: str,
        target: Target,
        formats: Mapping[str, NormalForm],
        layer_weights: frozenset[str],
        capacity: int,
        threads: int,
        needs: Needs,
    ):
        self.function = function
        self.decode = mode == "decode"
        self.target = target
        self.formats = formats
        self.layer_weights = layer_weights
        self.capacity = capacity
        self.threads = threads
        self.needs = needs
        self.columns = 1 if self.decode else tile_columns(target)
        self.tokens: Slot | Number = Number(1) if self.decode else Slot("tokens")
        self.stored: dict[Value, _Stored] = {}
        self.done: list[Phase] = []
        self.prologue: list[Call] = []
        self.chains: list[tuple[list[Call], dict]] = []  # type: ignore[type-arg]
        self.made_here: dict[Value, int] = {}  # value -> chain of the open phase
        self.read_here: set[str] = set()  # buffers that the open phase reads
        self.roles = self._cache_roles()
        for argument in function.arguments:
            name = argument.name
            if name in self.roles:
                name = f"cache.{self.roles[name]}"
                self.stored[argument] = _Stored(Slot(name, layer=True), 0, name)
            elif name == "x":
                # The head may start at any token, so it has a pointer of its own.
                slot = Slot("head_x" if function.name == "head" else "x")
                self.stored[argument] = _Stored(slot, self._stride(argument), "x")
            else:
                self.stored[argument] = _Stored(Slot(name, layer=name in layer_weights), 0, name)

    def phases(self) -> tuple[Phase, ...]:
        for operation in self.function.operations:
            getattr(self, f"plan_{operation.name}", self._unknown)(operation)
        self._close()
        return tuple(self.done)

    def _unknown(self, operation: Operation) -> None:
        raise LumenBug(f"{operation.name} is left after fusion in @{self.function.name}; no kernel does it alone")

    # ------------------------------------------------------------------- memory

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

    def _elements(self, value: Value) -> int:
        """Elements of one token."""
        return math.prod(size.value or 0 for size in value.type.shape[1:])

    def _stride(self, value: Value) -> int:
        """Bytes between tokens: whole row groups, so that matmul stores whole vectors."""
        lanes = self.target.lanes
        return -(-self._elements(value) // lanes) * lanes * 4

    def _new_buffer(self, value: Value, private: bool = False) -> _Stored:
        name = f"{self.function.name}.{value.owner.name if value.owner else ''}{len(self.stored)}"
        stride = self._stride(value)
        return self._reserve(name, stride, stride * self.capacity, private)

    def _reserve(self, name: str, stride: int, bytes: int, private: bool) -> _Stored:
        if private:
            bytes = -(-bytes // 64) * 64 + 64  # a line apart, so that threads do not share one
            name += ".private"
            self.needs.buffer(name, bytes * self.threads)
            return _Stored(Private(name, self.needs.buffers[name] // self.threads), stride, name)
        self.needs.buffer(name, bytes)
        return _Stored(Slot(name), stride, name)

    def _new_panels(self, value: Value, private: bool) -> _Stored:
        layout = ActivationLayout(value.type.element, self.columns)
        length = self._elements(value)
        name = f"{self.function.name}.{value.type.element}.{len(self.stored)}.m{self.columns}"
        return self._reserve(name, layout.panel_bytes(length), layout.bytes(self.capacity, length), private)

    # ------------------------------------------------------------------- phases

    def _close(self) -> None:
        if self.prologue or self.chains:
            chains = tuple(Chain(tuple(calls), **shape) for calls, shape in self.chains)
            self.done.append(Phase(tuple(self.prologue), chains))
        self.prologue, self.chains, self.made_here, self.read_here = [], [], {}, set()

    def _needs_barrier(self, operation: Operation) -> bool:
        return any(operand in self.made_here for operand in operation.operands)

    def _read(self, operation: Operation) -> None:
        self.read_here.update(self.stored[operand].name for operand in operation.operands)

    def _chain(self, calls: list[Call], results: list[Value], **shape: object) -> None:
        self.made_here.update((result, len(self.chains)) for result in results)
        self.chains.append((calls, shape))

    # --------------------------------------------------------------- operations

    def plan_fused_rows(self, operation: Operation) -> None:
        table, ids = operation.operands
        if self._needs_barrier(operation):
            self._close()
        form = self.formats[table.type.element]
        self.needs.raw.add(table.name)
        (result,) = operation.results
        if result in self.function.results:
            stored = _Stored(Slot("x"), self._stride(result), "x")
            self.needs.buffer("x", stored.stride * self.capacity)
        else:
            stored = self._new_buffer(result)
        self.stored[result] = stored
        symbol = self.needs.request(
            "rows", f"rows {form!r} {self.target.name}", lambda name: build_rows(form, self.target, name)
        )
        raw = Slot(f"raw.{table.name}")
        per = 1 if self.decode else TOKEN_CHUNK
        arguments = (
            raw,
            self.stored[ids].argument,
            stored.argument,
            Number(stored.stride),
            Number(self._elements(result)),
            Bound(False, per, self.tokens),
            Bound(True, per, self.tokens),
        )
        self._token_chain(Call(symbol, arguments), [result])

    def _token_chain(self, call: Call, results: list[Value]) -> None:
        if self.decode:
            self._chain([call], results, units=1)
        else:
            self._chain([call], results, tokens=self.tokens, per=TOKEN_CHUNK)

    def plan_fused_matmul(self, operation: Operation) -> None:
        activation, weight = operation.operands[:2]
        accumulate = operation.operands[2] if len(operation.operands) > 2 else None
        if self._needs_barrier(operation) or (
            accumulate is not None and self.stored[accumulate].name in self.read_here
        ):
            self._close()
        form = self.formats[weight.type.element]
        rows, length = weight.type.sizes
        self.needs.packed.add(weight.name)
        (result,) = operation.results
        if accumulate is not None:
            self.stored[result] = self.stored[accumulate]
        elif result in self.function.results:
            stride = self._stride(result)
            self.stored[result] = self._reserve(self.function.name + ".out", stride, stride * self.capacity, False)
        else:
            self.stored[result] = self._new_buffer(result)
        self._read(operation)
        stored = self.stored[result]
        tile = MatmulTile(self.columns, accumulate is not None)
        symbol = self.needs.request(
            "matmul",
            f"matmul {form!r} {tile} {self.target.name}",
            lambda name: build_matmul(form, self.target, tile, name),
        )
        groups = -(-rows // self.target.lanes)
        unit = self._groups_per_unit(result)
        arguments = (
            self._weight(weight),
            self.stored[activation].argument,
            stored.argument,
            Number(stored.stride),
            Number(length),
            Bound(False, unit, Number(groups)),
            Bound(True, unit, Number(groups)),
            self.tokens,
        )
        self._chain([Call(symbol, arguments)], [result], units=-(-groups // unit))

    def _weight(self, weight: Value) -> Slot:
        return Slot(weight.name, layer=weight.name in self.layer_weights)

    def _groups_per_unit(self, result: Value) -> int:
        """Row groups that one thread must do together: a head, where a head-wise operation follows."""
        lanes = self.target.lanes
        for operation in self.function.operations:
            if operation.name == "rowwise" and operation.attributes["space"] == "head" and result in operation.operands:
                size = self._head_size(operation)
                return math.lcm(size, lanes) // lanes
        return 1 if self.decode else GROUP_CHUNK

    def _head_size(self, operation: Operation) -> int:
        return operation.results[0].type.shape[-1].value or 0

    def plan_rowwise(self, operation: Operation) -> None:
        head = operation.attributes["space"] == "head"
        chains = {self.made_here[o] for o in operation.operands if o in self.made_here}
        joins = head and len(chains) == 1
        if chains and not joins:
            self._close()
            chains = set()
        self._read(operation)
        private = self.decode and not head
        for result in operation.results:
            self.stored[result] = self._result_memory(operation, result, private)
        call = self._rowwise_call(operation, head)
        if joins:
            (chain,) = chains
            self.chains[chain][0].append(call)
            self.made_here.update((result, chain) for result in operation.results)
        elif head:
            heads = operation.results[0].type.shape[1].value or 0
            self._chain([call], operation.results, units=heads)
        elif self.decode:
            self.prologue.append(call)
        else:
            self._close()
            self._read(operation)
            self._token_chain(call, operation.results)
            self._close()

    def _result_memory(self, operation: Operation, result: Value, private: bool) -> _Stored:
        assert operation.region is not None
        inner = operation.region.results[operation.results.index(result)]
        maker = inner.owner.name if inner.owner is not None else ""
        if maker == "append":
            assert inner.owner is not None
            position = operation.region.arguments.index(inner.owner.operands[0])
            return self.stored[operation.operands[position]]
        if maker == "quantize":
            return self._new_panels(result, private)
        if result in self.function.results:
            raise LumenBug(f"@{self.function.name} ends in row-wise work, which has no place to write x")
        return self._new_buffer(result, private)

    def _rowwise_call(self, operation: Operation, head: bool) -> Call:
        assert operation.region is not None
        text = print_operation(operation, _fresh_names(operation))
        caches = tuple(
            self.roles[operation.operands[operation.region.arguments.index(value.owner.operands[0])].name]
            for value in operation.region.results
            if value.owner is not None and value.owner.name == "append"
        )
        symbol = self.needs.request(
            "rowwise",
            f"rowwise {text} {self.columns} {caches} {self.target.name}",
            lambda name: build_rowwise(operation, self.target, self.columns, caches, name),
        )
        cos, sin = self._rotary(operation)
        arguments: list[Argument] = []
        for operand in (*operation.operands, *operation.results):
            stored = self.stored[operand]
            arguments.append(self._plain(operand))
            cache = isinstance(stored.argument, Slot) and stored.argument.name.startswith("cache.")
            arguments.append(Slot("page_bytes") if cache else Number(stored.stride))
        arguments += [cos, sin, Slot("pages"), Slot("position")]
        if head:
            size, lanes = self._head_size(operation), self.target.lanes
            per_unit = math.lcm(size, lanes) // size
            heads = Number(operation.results[0].type.shape[1].value or 0)
            if operation.operands[0] not in self.made_here and not any(
                o in self.made_here for o in operation.operands
            ):
                per_unit = 1
            arguments += [Number(0), self.tokens, Bound(False, per_unit, heads), Bound(True, per_unit, heads)]
        elif self.decode:
            arguments += [Number(0), Number(1), Number(0), Number(1)]
        else:
            arguments += [Bound(False, TOKEN_CHUNK, self.tokens), Bound(True, TOKEN_CHUNK, self.tokens)]
            arguments += [Number(0), Number(1)]
        return Call(symbol, tuple(arguments))

    def _plain(self, operand: Value) -> Argument:
        """The argument of an operand; weights that row-wise work reads are f32 arrays."""
        stored = self.stored[operand]
        if operand.owner is None and operand.name not in ("x", "positions", "ids") and operand.name not in self.roles:
            self.needs.plain.add(operand.name)
            return Slot(f"plain.{operand.name}", layer=operand.name in self.layer_weights)
        return stored.argument

    def _rotary(self, operation: Operation) -> tuple[Argument, Argument]:
        assert operation.region is not None
        for inner in operation.region.operations:
            if inner.name == "rope":
                given = dict(zip(operation.region.arguments, operation.operands, strict=True))
                factors = given[inner.operands[2]]
                pairs = factors.type.sizes[0]
                number = self.needs.rotary(Rotary(inner.attributes["theta"], factors.name, pairs))
                return Slot(f"cos{number}"), Slot(f"sin{number}")
        return Number(0), Number(0)

    def plan_attention(self, operation: Operation) -> None:
        self._close()
        queries, keys = operation.operands[:2]
        kv_heads = keys.type.shape[1].value or 0
        (result,) = operation.results
        stored = self.stored[result] = self._new_buffer(result)
        self._read(operation)
        block = 1 if self.decode else attention_block(operation, self.target)
        symbol = self.needs.request(
            "attention",
            f"attention {print_operation(operation, _fresh_names(operation))} {block} {self.target.name}",
            lambda name: build_attention(operation, self.target, block, name),
        )
        arguments = (
            self.stored[queries].argument,
            stored.argument,
            Number(stored.stride),
            Slot("cache.keys", layer=True),
            Slot("page_bytes"),
            Slot("pages"),
            Slot("position"),
            self.tokens,
            Bound(False),
            Bound(True),
        )
        call = Call(symbol, arguments)
        if self.decode:
            self._chain([call], [result], units=kv_heads)
        else:
            self._chain([call], [result], tokens=self.tokens, per=block, times=kv_heads)

    def plan_reshape(self, operation: Operation) -> None:
        """A view: the same bytes under another shape."""
        self.stored[operation.results[0]] = self.stored[operation.operands[0]]
        if operation.operands[0] in self.made_here:
            self.made_here[operation.results[0]] = self.made_here[operation.operands[0]]


def _fresh_names(operation: Operation) -> Names:
    names = Names()
    for index, operand in enumerate(operation.operands):
        if operand not in names.given:
            names.given[operand] = f"%a{index}: {operand.type}"
    return names
