"""Gather the work that goes row by row into `rowwise` regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from lumen_core.ir.build import Builder, finished, started
from lumen_core.ir.core import Function, Operation, Value
from lumen_core.passes.base import Pass

# how many axes the rows of a space have: token [T, D], head [T, H, E]
SPACES = {2: "token", 3: "head"}


def is_uniform(operation: Operation) -> bool:
    """Tell whether the operation gives the same for every row and is cheap enough to repeat."""
    if operation.family not in ("constant", "elementwise", "shape"):
        return False
    types = [value.type for value in [*operation.operands, *operation.results]]
    return not any(size.symbols for type in types for size in type.shape)


def space_of(operation: Operation) -> str | None:
    """Return the space in which the operation can go row by row, or None."""
    known = operation.family in ("elementwise", "reduction")
    if not known and operation.name not in ("reshape", "rope", "append", "quantize"):
        return None
    # the cache that `append` returns is longer than the rows that it adds
    rows = operation.operands[1].type if operation.name == "append" else operation.result.type
    if not rows.shape or not rows.shape[0].symbols:
        return None
    if operation.name == "reshape" and operation.operands[0].type.shape[:1] != rows.shape[:1]:
        return None
    return SPACES.get(len(rows.shape))


class Groups:
    """The operations of a function in groups that never need each other in a circle."""

    def __init__(self, operations: Sequence[Operation]):
        self.operations = operations
        self.of = {operation: place for place, operation in enumerate(operations)}  # operation -> its group

    def members(self) -> dict[int, list[Operation]]:
        groups: dict[int, list[Operation]] = {}
        for operation in self.operations:
            groups.setdefault(self.of[operation], []).append(operation)
        return groups

    def levels(self) -> dict[int, int] | None:
        """Return how many groups must run before each one, one after another; None if there is a circle."""
        needs: dict[int, set[int]] = {group: set() for group in self.of.values()}
        for operation in self.operations:
            group = self.of[operation]
            owners = (value.owner for value in operation.operands)
            needs[group].update(self.of[owner] for owner in owners if owner is not None and owner in self.of)
            needs[group].discard(group)
        levels: dict[int, int] = {}
        while len(levels) < len(needs):
            ready = [g for g, needed in needs.items() if g not in levels and needed <= levels.keys()]
            if not ready:
                return None
            levels.update({g: 1 + max((levels[other] for other in needs[g]), default=-1) for g in ready})
        return levels

    def merge(self, left: Operation, right: Operation) -> None:
        """Put the groups of both together unless that closes a circle."""
        before = dict(self.of)
        source, target = self.of[right], self.of[left]
        self.of = {operation: target if group == source else group for operation, group in before.items()}
        if self.levels() is None:
            self.of = before


def grouped(operations: Sequence[Operation]) -> Groups:
    """Join every operation that goes row by row with the producers of its operands in the same space."""
    groups = Groups([operation for operation in operations if not is_uniform(operation)])
    for operation in groups.operations:
        space = space_of(operation)
        for operand in operation.operands:
            owner = operand.owner
            if space is None or owner is None or owner not in groups.of or space_of(owner) != space:
                continue
            if groups.of[owner] != groups.of[operation]:
                groups.merge(owner, operation)
    return groups


@dataclass(frozen=True)
class FuseRowwise(Pass):
    """Gather the work that goes row by row into `rowwise` regions.

    Requires: canonicalize, fuse_matmul and split_early.
    Establishes: elementwise work, reductions, rope, append, splits, merges and quantize on rows of tokens or
    heads stand in `rowwise` regions; operations are ordered by how much must run before them, so that those
    of one level can run side by side.
    Constants and reshaped weights are repeated in the regions that read them.

    Before:
        func @f(%x: tensor<f32, [T, 32]>, %w: tensor<q4_0, [8, 32]>) -> (tensor<f32, [T, 2, 4]>) {
          %0 = silu %x : tensor<f32, [T, 32]>
          %1 = quantize %0 {activation = "i8g32"} : tensor<i8g32, [T, 32]>
          %2 = fused_matmul %1, %w : tensor<f32, [T, 8]>
          %3 = reshape %2 {shape = ["T", 2, 4]} : tensor<f32, [T, 2, 4]>
          %4 = neg %3 : tensor<f32, [T, 2, 4]>
          return %4
        }
    After:
        func @f(%x: tensor<f32, [T, 32]>, %w: tensor<q4_0, [8, 32]>) -> (tensor<f32, [T, 2, 4]>) {
          %0 = rowwise %x {space = "token"} (%x) {
            %0 = silu %x : tensor<f32, [T, 32]>
            %1 = quantize %0 {activation = "i8g32"} : tensor<i8g32, [T, 32]>
            yield %1
          } : tensor<i8g32, [T, 32]>
          %1 = fused_matmul %0, %w : tensor<f32, [T, 8]>
          %2 = rowwise %1 {space = "head"} (%0) {
            %1 = reshape %0 {shape = ["T", 2, 4]} : tensor<f32, [T, 2, 4]>
            %2 = neg %1 : tensor<f32, [T, 2, 4]>
            yield %2
          } : tensor<f32, [T, 2, 4]>
          return %2
        }
    """

    name: ClassVar[str] = "fuse_rowwise"

    def apply(self, function: Function) -> Function:
        groups = grouped(function.operations)
        levels, members = groups.levels(), groups.members()
        assert levels is not None
        place = {operation: number for number, operation in enumerate(function.operations)}
        builder, values = started(function)
        for operation in function.operations:
            if operation not in groups.of:
                builder.copy(operation, values)  # what no other operation but regions read is dead code now
        for group in sorted(members, key=lambda number: (levels[number], place[members[number][0]])):
            space = space_of(members[group][0])
            if space is None:
                builder.copy(members[group][0], values)
            else:
                _emit_region(builder, values, function, members[group], space)
        return finished(function, builder, values)


def _emit_region(
    builder: Builder, values: dict[Value, Value], function: Function, members: list[Operation], space: str
) -> None:
    inner = Builder()
    copies: dict[Value, Value] = {}
    operands: list[Value] = []
    own = set(members)

    def enter(value: Value) -> None:
        """Make `value` known inside: repeated if it is uniform, as an argument otherwise."""
        if value in copies or value.owner in own:
            return
        if value.owner is not None and is_uniform(value.owner):
            for operand in value.owner.operands:
                enter(operand)
            inner.copy(value.owner, copies)
        else:
            operands.append(values[value])
            copies[value] = inner.argument(value.type, value.name)

    for operation in members:
        for operand in operation.operands:
            enter(operand)
        inner.copy(operation, copies)
    read_outside = {
        operand for operation in function.operations if operation not in own for operand in operation.operands
    }
    read_outside.update(function.results)
    handed = [value for operation in members for value in operation.results if value in read_outside]
    inner.block.results = [copies[value] for value in handed]
    names = [value.name for value in handed]
    fused = builder.operation("rowwise", operands, {"space": space}, inner.block, names)
    values.update(zip(handed, fused.results, strict=True))
