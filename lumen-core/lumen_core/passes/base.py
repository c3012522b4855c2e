"""What a pass is, and how one is run.

A pass takes a valid function and returns a new valid one; it never changes what it was given.
Its docstring says what it requires and establishes, and shows a function `Before:` and `After:` it, which a
test runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from lumen_core.errors import LumenBug
from lumen_core.ir.core import Function, Module
from lumen_core.ir.printer import print_function
from lumen_core.ir.verify import InvalidModule, verify


@dataclass(frozen=True)
class Pass:
    """A rewriting of functions; subclasses set `name` and define `apply`. Their fields are their options."""

    name: ClassVar[str] = ""

    def apply(self, function: Function) -> Function:
        raise NotImplementedError

    def run(self, module: Module) -> Module:
        """Apply to every function and verify what comes out."""
        return Module(self.run_function(function) for function in module)

    def run_function(self, function: Function) -> Function:
        after = self.apply(function)
        try:
            verify(after)
        except InvalidModule as error:
            before = print_function(function)
            raise LumenBug(
                f"the pass {self.name} broke @{function.name}: {error}\nbefore it:\n{before}"
            ) from error
        return after
