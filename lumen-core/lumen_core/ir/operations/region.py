"""Operations that hold a block: `rowwise`, work on rows that one pass over memory does.

In token space a row is a token's vector, in head space a token's vector of one head.
The region keeps whole tensor types; that every row can be done apart is what fusion guarantees.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lumen_core.ir.core import REQUIRED, Definition, Operation
from lumen_core.ir.operations.values import Context, require
from lumen_core.types import TensorType

SPACES = ("token", "head")


def _rowwise_rule(operation: Operation) -> tuple[TensorType, ...]:
    block, space = operation.region, operation.attributes["space"]
    assert block is not None
    require(space in SPACES, f"rowwise spaces are {' and '.join(SPACES)}, found {space}")
    given = [value.type for value in operation.operands]
    taken = [value.type for value in block.arguments]
    require(given == taken, f"rowwise gives {_listed(given)} to a region that takes {_listed(taken)}")
    for inner in block.operations:
        require(inner.region is None, f"{inner.name} cannot stand inside rowwise")
    return tuple(value.type for value in block.results)


def _listed(types: Sequence[TensorType]) -> str:
    return ", ".join(map(str, types)) or "nothing"


def _rowwise(context: Context, operation: Operation, arrays: Sequence[Any]) -> tuple:
    assert operation.region is not None
    return tuple(context.run(operation.region, arrays, context))


OPERATIONS = (
    Definition(
        "rowwise", ("*inputs",), _rowwise_rule, _rowwise, "region",
        {"space": REQUIRED}, has_region=True, summary="a region that runs row by row",
    ),
)  # fmt: skip
