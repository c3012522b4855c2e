"""Parts of a prompt's tokens, one for each thread: which work is cut by them, and what its kernels are given.

A thread that makes some rows of the weights for its own part of the tokens, in phase after phase, finds what
it reads in its own cache; of what the others made it reads keys and values. The weights are read once for
every part, so that a part is no smaller than LEAST_PART tokens.
"""

from __future__ import annotations

from lumen_core.ir.core import Function, Operation
from lumen_core.schedule.phases import LEAST_PART, TOKEN_CHUNK, Argument, Moved, Number, Slot, Tokens
from lumen_core.schedule.places import Stored


class TokenParts:
    """The parts of a step of at most `capacity` tokens in panels of `columns`; there are at most `most`."""

    def __init__(self, function: Function, tokens: Slot | Number, columns: int, capacity: int, threads: int):
        self.function = function
        self.tokens = tokens
        whole = TOKEN_CHUNK % columns == 0  # panels lie in one part
        self.most = max(1, min(threads, capacity // LEAST_PART)) if whole else 1

    def cut(self, operation: Operation) -> bool:
        """Tell whether an operation on parts of rows is cut by tokens too.

        What enters the cache is not: there two tokens may share a word.
        """
        if operation.name == "fused_matmul":
            readers = [other for other in self.function.operations if operation.results[0] in other.operands]
            heads = [other for other in readers if other.attributes.get("space") == "head"]
            return self.most > 1 and all(map(self.cut, heads))
        assert operation.region is not None
        makers = [value.owner.name for value in operation.region.results if value.owner is not None]
        return self.most > 1 and "append" not in makers

    def place(self, operation: Operation, stored: Stored, columns: int = 1) -> Argument:
        """Where the tokens of the unit's part are in a buffer of rows, or of panels of so many columns."""
        if not self.cut(operation):
            return stored.argument
        return Moved(stored.argument, Tokens("first", columns), stored.stride)

    def range(self, operation: Operation) -> tuple[Argument, Argument]:
        """The first and the end of the part's tokens."""
        return (Tokens("first"), Tokens("end")) if self.cut(operation) else (Number(0), self.tokens)

    def count(self, operation: Operation) -> Argument:
        """How many tokens the part has."""
        return Tokens("count") if self.cut(operation) else self.tokens
