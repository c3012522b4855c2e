"""The tensor IR: data, text form, verifier and interpreter (`core` says how to walk it)."""

from lumen_core.ir.build import Builder
from lumen_core.ir.core import Block, Definition, Function, Module, Operation, RuleError, Value
from lumen_core.ir.interpret import interpret
from lumen_core.ir.operations import DEFINITIONS
from lumen_core.ir.operations.values import QuantizedArray
from lumen_core.ir.parser import parse_module
from lumen_core.ir.printer import print_function, print_module
from lumen_core.ir.verify import InvalidModule, verify

__all__ = [
    "DEFINITIONS",
    "Block",
    "Builder",
    "Definition",
    "Function",
    "InvalidModule",
    "Module",
    "Operation",
    "QuantizedArray",
    "RuleError",
    "Value",
    "interpret",
    "parse_module",
    "print_function",
    "print_module",
    "verify",
]
