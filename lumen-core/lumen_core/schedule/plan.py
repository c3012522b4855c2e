"""Fused tensor IR -> a plan: which kernels run, on what memory, split over threads how, with barriers where.

Each operation becomes a kernel call. Calls that may run side by side, each thread on its own share, form a
phase; between phases stands a barrier. A head-wise operation that follows a matmul joins its chain: the
thread that made the rows of a head also rotates and caches them. So does one that needs only pieces of the
rows (pieces.py).

A plan is for panels of a number of token columns. With one column there is one token: row-wise work in token
space is so little that every thread does it for itself, into memory of its own. With more, such work is a
phase of its own, split by tokens.
"""

from __future__ import annotations

import math

from lumen_core.ir.core import Function, Operation, Value
from lumen_core.ir.operations.model import SCALING
from lumen_core.ir.printer import print_operation
from lumen_core.quant.cache_layout import CacheLayout
from lumen_core.schedule.attention import attention_block, attention_items, build_attention, partial_bytes
from lumen_core.schedule.blocking import choose_unit, kept_near
from lumen_core.schedule.cache import block_cache
from lumen_core.schedule.conditions import Conditions
from lumen_core.schedule.matmul import MatmulTile
from lumen_core.schedule.phases import (
    LEAST_PART,
    TOKEN_CHUNK,
    Argument,
    Call,
    Needs,
    Number,
    Phase,
    Rotary,
    Slot,
    share,
)
from lumen_core.schedule.places import Stored
from lumen_core.schedule.plan_experts import ExpertPlanner
from lumen_core.schedule.planner import fresh_names
from lumen_core.schedule.reorder import build_reorder
from lumen_core.schedule.returns import build_returns
from lumen_core.schedule.rows import build_rows
from lumen_core.schedule.rowwise import build_rowwise
from lumen_core.schedule.segments import DIRECT


def plan(function: Function, conditions: Conditions, needs: Needs) -> tuple[Phase, ...]:
    """Return the phases of a fused function and add what they need to `needs`.

    Arguments of the function are slots of the same name.
    """
    return _Planner(function, conditions, needs).phases()


class _Planner(ExpertPlanner):
    # --------------------------------------------------------------- operations

    def plan_fused_rows(self, operation: Operation) -> None:
        table, ids = operation.operands
        if self._needs_barrier(operation):
            self._close()
        form = self.formats[table.type.element]
        self.needs.raw.add(table.name)
        (result,) = operation.results
        final = result in self.function.results
        stored = self.places.state(result) if final else self.places.new_buffer(result)
        self.places.of[result] = stored
        symbol = self.needs.request(
            "rows", f"rows {form!r} {self.target.name}", lambda name: build_rows(form, self.target, name)
        )
        arguments = (
            Slot(f"raw.{table.name}"),
            self.places.of[ids].argument,
            *stored.rows,
            Number(self.places.elements(result)),
            *share(1 if self.decode else TOKEN_CHUNK, self.tokens),
        )
        self._token_chain(Call(symbol, arguments), [result])

    def plan_fused_matmul(self, operation: Operation) -> None:
        activation, weight = operation.operands[:2]
        accumulate = operation.operands[2] if len(operation.operands) > 2 else None
        (result,) = operation.results
        if self._needs_barrier(operation) or self._written(result, accumulate) in self.read_here:
            self._close()
        form = self.formats[weight.type.element]
        rows, length = weight.type.sizes
        self.needs.packed.add(weight.name)
        if not self.decode and form.kind == "float" and self.decides(result):
            self.plan_by_token(operation)
            return
        groups = -(-rows // self.target.lanes)
        unit = self._groups_per_unit(result)
        if self.pieces.are_kept(result):
            stored = self.places.of[result] = self.places.new_unit(unit * self.target.lanes)
        else:
            stored = self._place(result, accumulate)
        self._read(operation)
        arguments = (
            self.places.weight(weight),
            self.parts.place(operation, self.places.of[activation], self.columns),
            self.parts.place(operation, stored),
            Number(stored.stride),
            Number(length),
            *share(unit, Number(groups)),
            self.parts.count(operation),
        )
        call = Call(self._matmul(weight, MatmulTile(self.columns, accumulate is not None)), arguments)
        partners = {self.made_here[v] for v in self.pieces.partners(result) if v in self.made_here}
        if partners:  # one chain, a unit after the other, so that what reads both finds them near
            self._join(min(partners), call, [result])
        else:
            each, split = self.pieces.behind(result) > 0, self.parts.cut(operation)
            self._chain([call], [result], units=-(-groups // unit), each=each, split=split)

    def _groups_per_unit(self, product: Value) -> int:
        """Row groups that a thread does together: a head, where a head-wise operation follows."""
        lanes = self.target.lanes
        for operation in self.function.operations:
            headwise = operation.name == "rowwise" and operation.attributes["space"] == "head"
            if headwise and product in operation.operands:
                size = self._head_size(operation)
                return math.lcm(size, lanes) // lanes
        if self.decode:
            return 1
        together = [product, *self.pieces.partners(product)]
        cuts = [self._near(value) for value in together]
        near = max(bytes for bytes, _ in cuts)
        if self.pieces.are_kept(product):
            near += len(together) * -(-self.capacity // self.parts.most) * self.target.vector_bytes
        groups = -(-self.places.elements(product) // lanes)
        least = math.lcm(max(1, self.pieces.behind(product) // lanes), *(of_tile for _, of_tile in cuts))
        return choose_unit(groups, least, near, self.places.threads, self.target)

    def _near(self, product: Value) -> tuple[int, int]:
        """Of the weights that a product is made with: what `kept_near` says."""
        assert product.owner is not None
        weight = product.owner.operands[1]
        form, many = self.formats[weight.type.element], self.capacity >= LEAST_PART
        return kept_near(form, weight.type.sizes[1], self.columns, many, self.target)

    def _head_size(self, operation: Operation) -> int:
        return operation.results[0].type.shape[-1].value or 0

    def plan_rowwise(self, operation: Operation) -> None:
        if self.is_of_batches(operation):
            count = self.rows_of_batch(operation)
            for result in operation.results:
                self.places.of[result] = self._result_memory(operation, result, private=True)
            self._join(
                self._batches, self._rowwise_call(operation, head=False, rows=count), operation.results
            )
            return
        head = operation.attributes["space"] == "head"
        chains = {self.made_here[o] for o in operation.operands if o in self.made_here}
        final = any(self._is_state(operation, result) for result in operation.results)
        # Work on heads goes on where a thread made their rows, work on tokens where it went token by token.
        by_tokens = self._token_chain_of(operation) is not None
        piece = self.pieces.size(operation) if len(chains) == 1 and not by_tokens else 0
        joins = piece > 0 or (len(chains) == 1 and head != by_tokens and (head or not final))
        if chains and not joins:
            self._close()
        self._read(operation)
        if final and not joins:  # nothing else of this phase may still read what it overwrites
            self._close()
            self._read(operation)
        private = self.decode and not head and not final
        for result in operation.results:
            self.places.of[result] = self._result_memory(operation, result, private)
        call = self._rowwise_call(operation, head, piece=piece)
        if joins:
            (chain,) = chains
            self._join(chain, call, operation.results)
        elif head:
            heads = operation.results[0].type.shape[1].value or 0
            self._chain([call], operation.results, units=heads, split=self.parts.cut(operation))
        elif self.decode and not final:
            self.prologue.append(call)
        else:
            self._token_chain(call, operation.results)
            if final:
                self._close()

    def _result_memory(self, operation: Operation, result: Value, private: bool) -> Stored:
        assert operation.region is not None
        inner = operation.region.results[operation.results.index(result)]
        maker = inner.owner.name if inner.owner is not None else ""
        if maker == "append":
            assert inner.owner is not None
            position = operation.region.arguments.index(inner.owner.operands[0])
            return self.places.of[operation.operands[position]]
        if maker == "quantize":
            return self.places.new_panels(result, private)
        if self._is_state(operation, result):
            return self.places.state(result)
        if operation.attributes["space"] == "head" and len(operation.results) == 1:
            # What a thread reads of a head it has read before it writes there: those lines are near.
            for operand in operation.operands:
                if self._is_alike(operand, result) and self._memory_readers(operand) == [operation]:
                    return self.places.of[operand]
        return self.places.new_buffer(result, private)

    def _is_alike(self, value: Value, result: Value) -> bool:
        """Tell whether a value that the function made, and keeps to itself, has rows like a result's."""
        if value.owner is None or value in self.function.results or value.type.element != result.type.element:
            return False
        same = value.type.shape[0] == result.type.shape[0]
        return same and self.places.elements(value) == self.places.elements(result)

    def _is_state(self, operation: Operation, result: Value) -> bool:
        """Tell whether row-wise work writes what the function is for (x, or the logits), or its beginning."""
        assert operation.region is not None
        inner = operation.region.results[operation.results.index(result)]
        if inner.owner is not None and inner.owner.name == "append":
            return False
        return result in self.function.results or any(
            reader.name == "fused_matmul" and result in reader.operands[2:]
            for reader in self.function.operations
        )

    def _rowwise_call(
        self, operation: Operation, head: bool, rows: Argument | None = None, piece: int = 0
    ) -> Call:
        """The call of a region's kernel; `rows` is how many it does where it is not the step's tokens.

        `piece` is the elements of a piece where it works on pieces of the rows.
        """
        assert operation.region is not None
        text = print_operation(operation, fresh_names(operation))
        given = dict(zip(operation.region.arguments, operation.operands, strict=True))
        caches = tuple(
            self.places.roles[given[value.owner.operands[0]].name]
            for value in operation.region.results
            if value.owner is not None and value.owner.name == "append"
        )
        layout = self._cache_layout() if caches else None
        symbol = self.needs.request(
            "rowwise",
            f"rowwise {text} {self.columns} {caches} {layout!r} {piece} {self.target.name}",
            lambda name: build_rowwise(operation, self.target, self.columns, caches, layout, name, piece),
        )
        cos, sin = self._rotary(operation)
        arguments: list[Argument] = []
        for operand in (*operation.operands, *operation.results):
            stored = self.places.of[operand]
            arguments.append(self.places.plain(operand))
            arguments.append(Number(stored.stride))
        arguments += [cos, sin, self.places.slots, Slot("staging") if caches else Number(0)]
        if head:
            size, lanes = self._head_size(operation), self.target.lanes
            per_unit = math.lcm(size, lanes) // size
            heads = Number(operation.results[0].type.shape[1].value or 0)
            if operation.operands[0] not in self.made_here and not any(
                o in self.made_here for o in operation.operands
            ):
                per_unit = 1
            arguments += [
                *self.parts.range(operation),
                *share(per_unit, heads),
            ]
        elif piece > 0:
            elements = self.places.elements(operation.operands[0])
            per_unit = self._groups_per_unit(operation.operands[0]) * self.target.lanes // piece
            arguments += [*self.parts.range(operation), *share(per_unit, Number(elements // piece))]
        elif rows is not None or self.decode:
            count = rows or Number(self.places.rows(operation.results[0]))
            arguments += [Number(0), count, Number(0), Number(1)]
        else:
            arguments += [*self._chunk, Number(0), Number(1)]
        return Call(symbol, tuple(arguments))

    def _rotary(self, operation: Operation) -> tuple[Argument, Argument]:
        assert operation.region is not None
        for inner in operation.region.operations:
            if inner.name == "rope":
                given = dict(zip(operation.region.arguments, operation.operands, strict=True))
                factors = given[inner.operands[2]]
                pairs = factors.type.sizes[0]
                theta = inner.attributes["theta"]
                assert isinstance(theta, int | float)
                scaling = tuple((name, float(inner.attribute(name))) for name in SCALING)
                magnitude = float(inner.attribute("magnitude"))
                number = self.needs.rotary(Rotary(float(theta), factors.name, pairs, scaling, magnitude))
                return Slot(f"cos{number}"), Slot(f"sin{number}")
        return Number(0), Number(0)

    def plan_attention(self, operation: Operation) -> None:
        self._close()
        queries = operation.operands[0]
        (result,) = operation.results
        self._read(operation)
        # What an item reads of the queries it writes no sooner than all have read it: those lines are near.
        last = queries.owner is not None and self._memory_readers(queries)[-1] is operation
        stored = self.places.of[queries] if last else self.places.new_buffer(result)
        self.places.of[result] = stored
        layout = self._cache_layout()
        self.needs.partials = max(self.needs.partials, self.capacity * partial_bytes(operation, self.target))
        self.needs.buffer("attention.arrivals", 8 * self.capacity * layout.heads)
        for block in (1,) if self.decode else (1, attention_block(operation, self.capacity)):
            shown = print_operation(operation, fresh_names(operation))
            symbol = self.needs.request(
                "attention",
                f"attention {shown} {block} {layout!r} {self.target.name}",
                lambda name, block=block: build_attention(operation, layout, self.target, block, name),  # type: ignore[misc]
            )
            arguments = (
                self.places.of[queries].argument,
                *stored.rows,
                Slot("cache.keys", layer=True),
                Slot("staging"),
                self.places.pages,
                Slot("attention.partials"),
                Slot("attention.parts"),
                Slot("attention.arrivals"),
                Slot("segments"),
                Slot("segment_count"),
                *share(),
            )
            self._chain([Call(symbol, arguments)], [result], items=attention_items(operation, block))
        if self.places.window and self.capacity > DIRECT:
            self._close()
            self._return_pages(layout)

    def _memory_readers(self, value: Value) -> list[Operation]:
        """The operations that read the memory of a value, of those whose operands have theirs."""
        of, name = self.places.of, self.places.of[value].name
        return [
            other
            for other in self.function.operations
            if any(operand in of and of[operand].name == name for operand in other.operands)
        ]

    def _return_pages(self, layout: CacheLayout) -> None:
        """Copy staged pages to their places in the ring, beside what the next phase does."""
        symbol = self.needs.request(
            "returns",
            f"returns {layout.page_bytes} {self.target.name}",
            lambda name: build_returns(layout.page_bytes, self.target, name),
        )
        arguments = (
            Slot("cache.keys", layer=True),
            Slot("staging"),
            self.places.returns,
            *share(),
        )
        self._chain([Call(symbol, arguments)], [], tokens=self.places.return_count)

    def _cache_layout(self) -> CacheLayout:
        """The layout of the cache that this function's attention reads."""
        assert self.cache is not None
        return block_cache(self.function, self.cache, self.formats, self.target)

    def plan_reorder(self, operation: Operation) -> None:
        """Gather activations into the order of a weight's columns."""
        x, order = operation.operands
        if self._needs_barrier(operation):
            self._close()
        self.needs.ordered.add(order.name.removesuffix(".order"))
        (result,) = operation.results
        to = self.places.of[result] = self.places.new_buffer(result, self.decode)
        symbol = self.needs.request(
            "reorder", f"reorder {self.target.name}", lambda name: build_reorder(name)
        )
        tokens = (Number(0), Number(1)) if self.decode else self._chunk
        call = Call(
            symbol,
            (
                self.places.plain(x),
                self.places.of[order].argument,
                to.argument,
                Number(self.places.of[x].stride),
                Number(to.stride),
                Number(self.places.elements(x)),
                *tokens,
            ),
        )
        if self.decode:
            self._read(operation)
            self.prologue.append(call)
        else:
            self._close()
            self._read(operation)
            self._token_chain(call, [result])
            self._close()

    def plan_reshape(self, operation: Operation) -> None:
        """A view: the same bytes under another shape."""
        self.places.of[operation.results[0]] = self.places.of[operation.operands[0]]
        if operation.operands[0] in self.made_here:
            self.made_here[operation.results[0]] = self.made_here[operation.operands[0]]
