"""`model x like y`: a page that says only how it differs, made whole.

In: a module, and where the page of another model is found. Out: the module with every such model spelt out:
its own settings, weights, caches and functions take the place of those of the same name and stand behind the
others; what `without` names is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from lumen_core.dsl import ast
from lumen_core.dsl.signatures import suggestion
from lumen_core.source import Diagnostics

FindModule = Callable[[str], ast.Module | None]  # the module that declares a model, None if there is none
_DEEPEST = 16

_Entry = TypeVar("_Entry", bound=Any)
_PARTS = ("config", "weights", "layer_weights", "caches", "functions")


def derived(module: ast.Module, find: FindModule, diagnostics: Diagnostics) -> ast.Module:
    """Return the module without `like`; models whose base is wrong are reported and left out."""
    if not any(model.base or model.without for model in module.models):
        return module
    items: list[ast.Item] = []
    for item in module.items:
        whole = _whole(item, module, find, diagnostics, 0) if isinstance(item, ast.Model) else item
        if whole is not None:
            items.append(whole)
    return replace(module, items=tuple(items))


def _whole(
    model: ast.Model, module: ast.Module, find: FindModule, diagnostics: Diagnostics, depth: int
) -> ast.Model | None:
    if model.base is None:
        for name in model.without:
            diagnostics.error(f"`without {name}`: this model is like no other", model.span)
        return model
    elsewhere = module
    base = next((item for item in module.models if item.name == model.base and item is not model), None)
    if base is None:
        elsewhere = find(model.base) or ast.Module(())
        base = next((item for item in elsewhere.models if item.name == model.base), None)
    if base is None or depth >= _DEEPEST:
        what = "is like itself" if base is not None else f"is like `{model.base}`, which has no page"
        diagnostics.error(f"model `{model.name}` {what}", model.span)
        return None
    whole = _whole(base, elsewhere, find, diagnostics, depth + 1)
    if whole is None:
        return None
    known = {entry.name for part in _PARTS for entry in getattr(whole, part)}
    for name in model.without:
        if name not in known:
            help = suggestion(name, known)
            diagnostics.error(f"`{model.base}` has no `{name}` to leave out", model.span, help=help)
    # A weight of a layer may become one of the model and so on: a name stands in one section.
    own = {entry.name for part in _PARTS for entry in getattr(model, part)}
    parts: dict[str, Any] = {
        part: _merged(getattr(whole, part), getattr(model, part), own, {*model.without}) for part in _PARTS
    }
    return replace(model, base=None, without=(), unused=(*whole.unused, *model.unused), **parts)


def _merged(
    base: Sequence[_Entry], own: Sequence[_Entry], changed: set[str], without: set[str]
) -> tuple[_Entry, ...]:
    """Own entries take the place of the base's; a new one stands before the own one that it precedes."""
    inherited = {entry.name for entry in base} - without
    before: dict[str, list[_Entry]] = {}
    fresh: list[_Entry] = []
    for entry in own:
        fresh.append(entry)
        if entry.name in inherited:
            before[entry.name], fresh = fresh, []
    merged: list[_Entry] = []
    for entry in base:
        if entry.name in before:
            merged += before[entry.name]
        elif entry.name not in without and entry.name not in changed:
            merged.append(entry)
    return (*merged, *fresh)
