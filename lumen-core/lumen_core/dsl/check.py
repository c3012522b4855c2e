"""The type checker's front: ast.Module -> TypedModule, or one SourceError with every finding.

Each kind of item has its file: `check_format.py`, `check_function.py` (with `check_expression.py`,
`operators.py`, `check_call.py`, `rules.py` for what stands in a body) and `check_model.py`.
"""

from __future__ import annotations

from collections.abc import Collection
from functools import lru_cache

from lumen_core.dsl import ast, builtins
from lumen_core.dsl.calls import check_expansion, check_recursion
from lumen_core.dsl.check_format import check_format
from lumen_core.dsl.check_function import check_function
from lumen_core.dsl.check_model import check_model
from lumen_core.dsl.signatures import Signature, resolve_signature
from lumen_core.dsl.typed import TypedFunction, TypedModel, TypedModule
from lumen_core.source import Diagnostics
from lumen_core.types import SCALARS

_EMPTY = ast.Module(())
_KINDS = {ast.Format: "format", ast.Function: "function", ast.Model: "model", ast.Table: "table"}


def check(module: ast.Module, standard: ast.Module, formats: Collection[str] = ()) -> TypedModule:
    """Return the typed module; raises SourceError with every finding.

    standard  the standard library, whose functions are in scope
    formats   names of formats declared elsewhere, which may stand as element types
    """
    diagnostics = Diagnostics()
    typed = check_sound(module, standard, formats, frozenset(), diagnostics)
    diagnostics.raise_if_any()
    return typed


@lru_cache(maxsize=4)
def _checked(standard: ast.Module) -> TypedModule:
    return check(standard, _EMPTY)


def check_sound(
    module: ast.Module,
    standard: ast.Module,
    formats: Collection[str],
    broken: Collection[str],
    diagnostics: Diagnostics,
) -> TypedModule:
    """Return what is right of a module; `broken` names its items that did not parse."""
    library = _checked(standard) if standard.items else TypedModule({}, {}, {})
    elements = frozenset({*formats, *broken, *(item.name for item in module.formats)}) - set(SCALARS)
    _names(module, library, diagnostics)
    for format in module.formats:
        check_format(format, diagnostics)
    signatures: dict[str, Signature | None] = {
        function.name: resolve_signature(function, (), {}, diagnostics) for function in standard.functions
    }
    signatures |= dict.fromkeys(broken)
    for function in module.functions:
        signatures[function.name] = resolve_signature(function, elements, {}, diagnostics)
    functions: dict[str, TypedFunction] = {}
    calls: dict[str, set[str]] = {}
    for function in module.functions:
        signature = signatures[function.name]
        if signature is None:
            continue
        typed, calls[function.name] = check_function(signature, signatures, {}, elements, diagnostics)
        if typed is not None:
            functions[function.name] = typed
    check_recursion({function.name: function for function in module.functions}, calls, diagnostics)
    models: dict[str, TypedModel] = {}
    for item in module.models:
        model = check_model(item, signatures, elements, diagnostics)
        if model is not None:
            models[model.name] = model
    everything = {**library.functions, **functions}
    if not diagnostics.found:
        scopes = [everything, *({**everything, **model.functions} for model in models.values())]
        check_expansion(scopes, diagnostics)
    declared = {item.name: item for item in module.formats}
    return TypedModule(declared, everything, models, frozenset(functions))


def _names(module: ast.Module, library: TypedModule, diagnostics: Diagnostics) -> None:
    """Report items whose name is taken."""
    taken: dict[tuple[str, str], ast.Item] = {}
    for item in module.items:
        kind = _KINDS[type(item)]
        first = taken.setdefault((kind, item.name), item)
        if first is not item:
            line = first.span.source.position(first.span.start)[0]
            note = f"the first is in line {line}"
            diagnostics.error(f"the {kind} `{item.name}` is declared twice", item.span, notes=(note,))
        if kind != "function":
            continue
        if item.name in builtins.names():
            message = f"`{item.name}` is a function of the language"
        elif item.name in library.functions:
            message = f"the standard library already has a function `{item.name}`"
        else:
            continue
        diagnostics.error(message, item.span, help="take another name")
