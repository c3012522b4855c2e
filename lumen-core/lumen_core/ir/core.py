"""The tensor IR as data: SSA values, operations, blocks, functions and modules.

How to walk it: `module.functions[name]` is a `Function`; its `body` is a `Block`, which has `arguments`
(values), `operations` (in the order in which they run) and `results` (the values that `return`, or `yield`
inside a region, hands out).
An `Operation` has a `definition` (its kind, shared by all of that kind), `operands`, `attributes`, `results`
and, for `rowwise` only, a `region`: a block whose arguments stand for the operands one to one and which sees
nothing else of the function.
A `Value` has a `type` and a `name` (a hint for printing); values and operations are compared by identity,
functions and modules by structure.

A kind of operation is one `Definition`: its operands, attributes, result rule and numpy `reference`.
Parser, printer, verifier and interpreter are derived from it; to add an operation, add a definition.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from lumen_core.types import TensorType

Attribute = int | float | str | tuple


class RuleError(Exception):
    """Operands or attributes that an operation's definition does not allow."""


@dataclass(frozen=True, eq=False)
class Definition:
    """A kind of operation.

    operands    their names; "?x" may be left out (last only), "*xs" is any number (last only)
    attributes  name -> default; `REQUIRED` where there is none
    rule        the result types that operands, attributes and region give; raises RuleError
    reference   the meaning: reference(context, operation, arrays) -> tuple of arrays
    family      what passes ask for: "elementwise", "reduction", "shape", "model", "quantized", "region", ...
    """

    name: str
    operands: tuple[str, ...]
    rule: Callable[[Operation], tuple[TensorType, ...]]
    reference: Callable[[Any, Operation, Sequence[Any]], tuple]
    family: str
    attributes: Mapping[str, Attribute | None] = field(default_factory=dict)
    has_region: bool = False
    summary: str = ""

    def check(self, operation: Operation) -> tuple[TensorType, ...]:
        """Return the result types, or raise RuleError saying what does not fit."""
        most = len(self.operands)
        fewest = sum(1 for name in self.operands if name[0] not in "?*")
        given = len(operation.operands)
        if given < fewest or (given > most and not any(name.startswith("*") for name in self.operands)):
            wanted = str(fewest) if fewest == most else f"{fewest} to {most}"
            raise RuleError(f"{self.name} takes {wanted} operands, found {given}")
        for name in operation.attributes:
            if name not in self.attributes:
                known = ", ".join(self.attributes) or "none"
                raise RuleError(f"{self.name} has no attribute `{name}` (it has: {known})")
        for name, default in self.attributes.items():
            if default is REQUIRED and name not in operation.attributes:
                raise RuleError(f"{self.name} needs the attribute `{name}`")
        if self.has_region != (operation.region is not None):
            raise RuleError(f"{self.name} {'needs a' if self.has_region else 'takes no'} region")
        return self.rule(operation)


REQUIRED = None  # the default of an attribute that must be given


class Value:
    """One SSA value: the result of an operation or the argument of a block."""

    __slots__ = ("name", "owner", "type")

    def __init__(self, type: TensorType, name: str = "", owner: Operation | None = None):
        self.type = type
        self.name = name
        self.owner = owner

    def __repr__(self) -> str:
        return f"%{self.name or '?'}: {self.type}"


class Operation:
    """One step: a definition applied to operands. Its result types follow from the definition's rule."""

    __slots__ = ("attributes", "definition", "operands", "region", "results")

    def __init__(
        self,
        definition: Definition,
        operands: Sequence[Value],
        attributes: Mapping[str, Attribute] | None = None,
        region: Block | None = None,
        names: Sequence[str] = (),
    ):
        self.definition = definition
        self.operands = list(operands)
        self.attributes = {key: _frozen(value) for key, value in (attributes or {}).items()}
        self.region = region
        types = definition.check(self)
        padded = list(names) + [""] * (len(types) - len(names))
        self.results = [Value(type, name, self) for type, name in zip(types, padded, strict=False)]

    @property
    def name(self) -> str:
        return self.definition.name

    @property
    def family(self) -> str:
        return self.definition.family

    @property
    def result(self) -> Value:
        """The only result."""
        (value,) = self.results
        return value

    def attribute(self, name: str) -> Any:
        """Return an attribute or its default."""
        return self.attributes.get(name, self.definition.attributes[name])

    def __repr__(self) -> str:
        return f"<{self.name} {self.operands} {self.attributes}>"


class Block:
    """Operations in order, between the arguments that come in and the results that go out."""

    __slots__ = ("arguments", "operations", "results")

    def __init__(
        self,
        arguments: Iterable[Value] = (),
        operations: Iterable[Operation] = (),
        results: Iterable[Value] = (),
    ):
        self.arguments = list(arguments)
        self.operations = list(operations)
        self.results = list(results)

    def uses(self) -> dict[Value, list[Operation]]:
        """Map every value to the operations of this block that read it; `results` do not count."""
        users: dict[Value, list[Operation]] = {}
        for operation in self.operations:
            for operand in dict.fromkeys(operation.operands):
                users.setdefault(operand, []).append(operation)
        return users


class Function:
    """A named block; `arguments` carry the names by which callers bind them."""

    __slots__ = ("body", "name")

    def __init__(self, name: str, body: Block):
        self.name = name
        self.body = body

    @property
    def arguments(self) -> list[Value]:
        return self.body.arguments

    @property
    def operations(self) -> list[Operation]:
        return self.body.operations

    @property
    def results(self) -> list[Value]:
        return self.body.results

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Function):
            return NotImplemented
        names = [value.name for value in self.arguments] == [value.name for value in other.arguments]
        return self.name == other.name and names and _same_block(self.body, other.body)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"<func @{self.name}, {len(self.operations)} operations>"


class Module:
    """Functions by name."""

    __slots__ = ("functions",)

    def __init__(self, functions: Iterable[Function] = ()):
        self.functions = {function.name: function for function in functions}

    def __getitem__(self, name: str) -> Function:
        return self.functions[name]

    def __iter__(self) -> Iterator[Function]:
        return iter(self.functions.values())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Module):
            return NotImplemented
        return self.functions == other.functions

    __hash__ = None  # type: ignore[assignment]


def _frozen(value: Any) -> Attribute:
    return tuple(_frozen(item) for item in value) if isinstance(value, list | tuple) else value


def _same_attributes(left: Mapping[str, Attribute], right: Mapping[str, Attribute]) -> bool:
    # repr tells 1 from 1.0 and finds nan equal to itself
    return left.keys() == right.keys() and all(repr(left[key]) == repr(right[key]) for key in left)


def _same_block(left: Block, right: Block) -> bool:
    pairs: dict[Value, Value] = {}

    def match(ours: Sequence[Value], theirs: Sequence[Value]) -> bool:
        if [value.type for value in ours] != [value.type for value in theirs]:
            return False
        pairs.update(zip(ours, theirs, strict=True))
        return True

    def mapped(values: Sequence[Value]) -> list[Value | None]:
        return [pairs.get(value) for value in values]

    if len(left.operations) != len(right.operations) or not match(left.arguments, right.arguments):
        return False
    for a, b in zip(left.operations, right.operations, strict=True):
        if a.definition is not b.definition or not _same_attributes(a.attributes, b.attributes):
            return False
        if mapped(a.operands) != b.operands or not match(a.results, b.results):
            return False
        if a.region is not None and b.region is not None and not _same_block(a.region, b.region):
            return False
    return mapped(left.results) == right.results
