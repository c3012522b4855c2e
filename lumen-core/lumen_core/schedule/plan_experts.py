"""Planning a mixture of experts: which experts each token takes, their products, the blend.

With one token the products are of the chosen matrices alone, each split by row groups. With more, the rows of
every expert are put together in batches; a batch is a unit, for which one thread gathers the tokens' columns,
makes all products and the work between them in memory of its own, and leaves a row for every choice.
"""

from __future__ import annotations

from collections.abc import Callable

from lumen_core.errors import LumenBug
from lumen_core.ir.core import Operation, Value
from lumen_core.ir.kernel import Kernel
from lumen_core.ir.printer import print_operation
from lumen_core.quant.layout import ActivationLayout, WeightLayout
from lumen_core.schedule.experts import build_blend, build_by_token, build_gather
from lumen_core.schedule.matmul import MatmulTile
from lumen_core.schedule.phases import TOKEN_CHUNK, Argument, Bound, Call, Item, Moved, Number, share
from lumen_core.schedule.places import Stored
from lumen_core.schedule.planner import Planner, fresh_names
from lumen_core.schedule.routing import Grouping, build_group, build_pick, build_top_k

UNIT = Bound(False)  # a unit that is done by itself


class ExpertPlanner(Planner):
    """Plans the operations of ir/operations/experts.py, and the work on the rows of choices between them."""

    _grouping: Grouping | None = None  # of the open or the last batches
    _batches: int = -1  # the open chain that goes by batches
    _gathered: dict[Value, Stored]

    # ------------------------------------------------------------------ routing

    def decides(self, value: Value) -> bool:
        """Tell whether the choice of experts depends on the value."""
        for operation in self.function.operations:
            if value in operation.operands:
                if operation.name == "top_k":
                    return True
                if operation.name == "rowwise" and any(map(self.decides, operation.results)):
                    return True
        return False

    def plan_top_k(self, operation: Operation) -> None:
        def build(name: str) -> Kernel:
            return build_top_k(operation, name)

        self._by_row(operation, "topk", print_operation(operation, fresh_names(operation)), build)

    def plan_pick(self, operation: Operation) -> None:
        count = operation.result.type.shape[-1].value or 0
        self._by_row(operation, "pick", f"pick {count}", lambda name: build_pick(count, name))

    def _by_row(self, operation: Operation, kind: str, text: str, build: Callable[[str], Kernel]) -> None:
        """Plan name((operand, stride) of every operand, (output, stride), first, last): a token at a time."""
        chain = None if self.decode else self._token_chain_of(operation)
        if chain is None and self._needs_barrier(operation):
            self._close()
        self._read(operation)
        (result,) = operation.results
        self.places.of[result] = self.places.new_buffer(result, private=self.decode)
        symbol = self.needs.request(kind, f"{text} {self.target.name}", build)
        arguments: list[Argument] = []
        for value in (*operation.operands, result):
            arguments += self.places.of[value].rows
        if self.decode:
            self.prologue.append(Call(symbol, (*arguments, Number(0), Number(1))))
            return
        call = Call(symbol, (*arguments, *self._chunk))
        if chain is None:
            self._token_chain(call, [result])
        else:
            self._join(chain, call, [result])

    def plan_by_token(self, operation: Operation) -> None:
        """A product that decides on experts: every token's by itself, so that it is that of a step of one."""
        activation, weight = operation.operands
        (result,) = operation.results
        if self._needs_barrier(operation):
            self._close()
        self._read(operation)
        form = self.formats[weight.type.element]
        rows, length = weight.type.sizes
        self.needs.packed.add(weight.name)
        stored = self.places.of[result] = self.places.new_buffer(result)
        given = self.places.of[activation]
        single = ActivationLayout(form.activation, 1)
        scratch = self.places.reserve("columns", 0, single.bytes(TOKEN_CHUNK, length), private=True)
        inner = self._matmul(weight, MatmulTile(1))
        symbol = self.needs.request(
            "bytoken",
            f"bytoken {inner} {form.activation} {self.columns} {self.target.name}",
            lambda name: build_by_token(inner, form.activation, self.columns, self.target.depth, name),
        )
        arguments = (
            self.places.weight(weight),
            *given.rows,
            scratch.argument,
            *stored.rows,
            Number(length),
            Number(-(-rows // self.target.lanes)),
            *self._chunk,
        )
        self._token_chain(Call(symbol, arguments), [result])

    # ----------------------------------------------------------------- products

    def plan_fused_expert_matmul(self, operation: Operation) -> None:
        self.needs.packed.add(operation.operands[2].name)
        if self.decode:
            self._chosen_products(operation)
        else:
            self._batch_product(operation)

    def _matrix(self, weight: Value, expert: Item) -> tuple[Argument, int, int]:
        """Where an expert's matrix is, its row groups, and the length of its rows."""
        _, rows, length = weight.type.sizes
        layout = WeightLayout(self.formats[weight.type.element], self.target.lanes)
        place = Moved(self.places.weight(weight), expert, layout.matrix_bytes(rows, length))
        return place, layout.groups(rows), length

    def _chosen_products(self, operation: Operation) -> None:
        """The products of the one token's choices.

        Those that are blended next share units, a unit being a row group of all of them: the thread that made
        it can add them up.
        """
        chosen, x, weight = operation.operands
        if self._needs_barrier(operation):
            self._close()
        self._read(operation)
        (result,) = operation.results
        stored, given = self.places.new_buffer(result), self.places.of[x]
        self.places.of[result] = stored
        step = given.stride if x in self.places.by_choice else 0
        symbol = self._matmul(weight, MatmulTile(1))
        calls, groups = [], 0
        for choice in range(chosen.type.shape[1].value or 0):
            expert = Item(self.places.of[chosen].argument, Number(choice))
            matrix, groups, length = self._matrix(weight, expert)
            arguments = (
                matrix,
                Moved(given.argument, Number(choice), step),
                Moved(stored.argument, Number(choice), stored.stride),
                Number(stored.stride),
                Number(length),
                *share(1, Number(groups)),
                Number(1),
            )
            calls.append(Call(symbol, arguments))
        readers = [other.name for other in self.function.operations if result in other.operands]
        if readers == ["blend"]:
            self._chain(calls, [result], units=groups)
        else:
            for call in calls:
                self._chain([call], [result], units=groups)

    def _batch_product(self, operation: Operation) -> None:
        chosen, x, weight = operation.operands
        self._open_batches(chosen, x, weight.type.sizes[0])
        (result,) = operation.results
        inside = all(self.is_of_batches(other) for other in self._readers(result))
        stored = self.places.of[result] = self.places.new_buffer(result, private=inside)
        places = (Grouping.EXPERT, Grouping.START, Grouping.COUNT)
        expert, start, count = (self._record(place) for place in places)
        matrix, groups, length = self._matrix(weight, expert)
        arguments = (
            matrix,
            self._columns(x, chosen, length).argument,
            stored.argument if inside else Moved(stored.argument, start, stored.stride),
            Number(stored.stride),
            Number(length),
            Number(0),
            Number(groups),
            count,
        )
        call = Call(self._matmul(weight, MatmulTile(self.columns)), arguments)
        self._join(self._batches, call, [result])

    def _readers(self, value: Value) -> list[Operation]:
        return [operation for operation in self.function.operations if value in operation.operands]

    def is_of_batches(self, operation: Operation) -> bool:
        """Tell whether the operation works on the rows of an expert's batch."""
        if self.decode:
            return False
        if operation.name == "rowwise":
            return operation.results[0] in self.places.by_choice
        return operation.name == "fused_expert_matmul"

    def _open_batches(self, chosen: Value, x: Value, experts: int) -> None:
        """Have a chain by batches open, with the rows of experts put together before it."""
        if self.made_here.get(x, -1) == self._batches >= 0:
            return
        if chosen in self.made_here or x in self.made_here:
            self._close()
        if 0 <= self._batches < len(self.chains):
            return
        choices = chosen.type.shape[1].value or 0
        grouping = Grouping(experts, choices, self.places.capacity, self.places.batch)
        self._grouping, self._gathered = grouping, {}
        memory = self._memory()
        symbol = self.needs.request(
            "group", f"group {grouping} {self.target.name}", lambda name: build_group(grouping, name)
        )
        given = self.places.of[chosen]
        self.read_here.add(given.name)
        call = Call(symbol, (*given.rows, self.tokens, memory))
        self.prologue.append(call)
        self._batches = len(self.chains)
        self._chain([], [], count=Item(memory, Number(0)), each=True)

    def _close(self) -> None:
        super()._close()
        self._batches = -1

    def _memory(self) -> Argument:
        assert self._grouping is not None
        return self.places.reserve("grouping", 0, self._grouping.bytes, private=True).argument

    def _record(self, offset: int) -> Item:
        """A number of the unit's batch."""
        return Item(self._memory(), UNIT, Grouping.RECORD, Grouping.batches + offset)

    def _columns(self, x: Value, chosen: Value, length: int) -> Stored:
        """The batch's columns of the activations: gathered once if they are the tokens', else as they are."""
        if x in self.places.by_choice:
            return self.places.of[x]
        if x not in self._gathered:
            assert self._grouping is not None
            given, choices = self.places.of[x], self._grouping.choices
            self.read_here.add(given.name)
            layout = ActivationLayout(x.type.element, self.columns, self.target.depth)
            bytes = layout.bytes(self.places.batch, length)
            name = f"gathered.{x.type.element}.{len(self._gathered)}"
            stored = self._gathered[x] = self.places.reserve(name, given.stride, bytes, private=True)
            symbol = self.needs.request(
                "gather",
                f"gather {x.type.element} {self.columns} {choices} {self.target.name}",
                lambda label: build_gather(x.type.element, self.columns, self.target.depth, choices, label),
            )
            rows = Moved(self._memory(), Number(0), 0, self._grouping.rows)
            start, count = self._record(Grouping.START), self._record(Grouping.COUNT)
            arguments = (*given.rows, rows, stored.argument, Number(length))
            self._join(self._batches, Call(symbol, (*arguments, start, count)), [])
        return self._gathered[x]

    def rows_of_batch(self, operation: Operation) -> Item:
        """How many rows row-wise work between the products of a batch has."""
        chains = {self.made_here.get(value) for value in operation.operands if value in self.places.by_choice}
        if chains != {self._batches} or self._batches < 0:
            raise LumenBug(f"work on the rows of experts stands apart in @{self.function.name}")
        return self._record(Grouping.COUNT)

    # -------------------------------------------------------------------- blend

    def plan_blend(self, operation: Operation) -> None:
        shares, x, *others = operation.operands
        accumulate = others[0] if others else None
        (result,) = operation.results
        joins = self.decode and x in self.made_here and self._is_of_groups(x)
        made = any(value in self.made_here for value in (shares, *others))
        read = self._written(result, accumulate) in self.read_here
        if made or read or (self._needs_barrier(operation) and not joins):
            self._close()
            joins = False
        stored = self._place(result, accumulate)
        self._read(operation)
        choices = shares.type.shape[1].value or 0
        grouped, lanes = not self.decode, self.target.lanes
        symbol = self.needs.request(
            "blend",
            f"blend {choices} {bool(others)} {grouped} {self.target.name}",
            lambda name: build_blend(choices, self.target, bool(others), grouped, name),
        )
        arguments: list[Argument] = []
        for value in (shares, x):
            arguments += self.places.of[value].rows
        groups = -(-self.places.elements(result) // lanes)
        places: Argument = Number(0)
        if grouped:
            assert self._grouping is not None
            places = Moved(self._memory(), Number(0), 0, self._grouping.places)
        arguments += [places, *stored.rows]
        if grouped:
            arguments += [*self._chunk, Number(0), Number(groups * lanes)]
            self._token_chain(Call(symbol, tuple(arguments)), [result])
            return
        arguments += [Number(0), Number(1), *share(lanes, Number(groups * lanes))]
        call = Call(symbol, tuple(arguments))
        if joins:
            self._join(self.made_here[x], call, [result])
        else:
            self._chain([call], [result], units=groups)

    def _is_of_groups(self, value: Value) -> bool:
        """Tell whether a chain of the open phase makes the value by row groups, one lane after another."""
        calls, shape = self.chains[self.made_here[value]]
        return shape.get("units") == -(-self.places.elements(value) // self.target.lanes) and len(calls) > 0
