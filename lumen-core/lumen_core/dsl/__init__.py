"""The language of `.lum` files: text -> syntax tree -> typed tree.

parse(source) -> ast.Module             printer.print_module(tree) -> text
check(module, standard) -> TypedModule  typed_printer.print_typed(typed) -> text
load(path), load_text(text)             parse and check at once
configure(model, lookup)                a model's sizes and scalars for one file
"""

from lumen_core.dsl.check import check
from lumen_core.dsl.configuration import Configuration, configure
from lumen_core.dsl.library import load, load_text, standard_library
from lumen_core.dsl.parse import parse

__all__ = ["Configuration", "check", "configure", "load", "load_text", "parse", "standard_library"]
