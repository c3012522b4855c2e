"""`model x like y with part, ...`: a page that says only how it differs, made whole.

In: a module, and where the page of another model or part is found. Out: the module with every such model
spelt out: a part's changes are made to the base, then the model's own. Their settings, weights, caches and
functions take the place of those of the same name and stand behind the others; what `without` names is left
out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from lumen_core.dsl import ast
from lumen_core.dsl.signatures import suggestion
from lumen_core.source import Diagnostics

FindModule = Callable[[str], ast.Module | None]  # the module that declares a model or part
_DEEPEST = 16

_Entry = TypeVar("_Entry", bound=Any)
_SECTIONS = ("config", "weights", "layer_weights", "caches", "functions")


def derived(module: ast.Module, find: FindModule, diagnostics: Diagnostics) -> ast.Module:
    """Return the module without `like`, `with` and parts; a model whose base is wrong is reported."""
    if not module.parts and not any(model.base or model.parts or model.without for model in module.models):
        return module
    items: list[ast.Item] = []
    for item in module.items:
        if isinstance(item, ast.Model) and item.partial:
            continue
        whole = _whole(item, module, find, diagnostics, 0) if isinstance(item, ast.Model) else item
        if whole is not None:
            items.append(whole)
    return replace(module, items=tuple(items))


def _whole(
    model: ast.Model, module: ast.Module, find: FindModule, diagnostics: Diagnostics, depth: int
) -> ast.Model | None:
    if model.base is None and not model.parts:
        for name in model.without:
            diagnostics.error(f"`without {name}`: this model is like no other", model.span)
        return model
    whole = ast.Model(model.name, (), (), (), (), ())
    if model.base is not None:
        elsewhere = module
        base = next((item for item in module.models if item.name == model.base and item is not model), None)
        if base is None:
            elsewhere = find(model.base) or ast.Module(())
            base = next((item for item in elsewhere.models if item.name == model.base), None)
        if base is None or depth >= _DEEPEST:
            what = "is like itself" if base is not None else f"is like `{model.base}`, which has no page"
            diagnostics.error(f"model `{model.name}` {what}", model.span)
            return None
        inherited = _whole(base, elsewhere, find, diagnostics, depth + 1)
        if inherited is None:
            return None
        whole = inherited
    for name in model.parts:
        places = (module, find(name) or ast.Module(()))
        part = next((item for place in places for item in place.parts if item.name == name), None)
        if part is None:
            diagnostics.error(f"model `{model.name}` is with `{name}`, which is no part", model.span)
            return None
        whole = _changed(whole, part, f"what `{model.name}` is like", diagnostics)
    return _changed(whole, model, f"`{model.base}`" if not model.parts else "that", diagnostics)


def _changed(whole: ast.Model, change: ast.Model, what: str, diagnostics: Diagnostics) -> ast.Model:
    """Return `change` as a whole model: what it says in the place of what `whole` says."""
    known = {entry.name for section in _SECTIONS for entry in getattr(whole, section)}
    for name in change.without:
        if name not in known:
            help = suggestion(name, known)
            diagnostics.error(f"{what} has no `{name}` to leave out", change.span, help=help)
    # A weight of a layer may become one of the model and so on: a name stands in one section.
    own = {entry.name for section in _SECTIONS for entry in getattr(change, section)}
    sections: dict[str, Any] = {
        section: _merged(getattr(whole, section), getattr(change, section), own, {*change.without})
        for section in _SECTIONS
    }
    unused = (*whole.unused, *change.unused)
    return replace(change, base=None, without=(), parts=(), partial=False, unused=unused, **sections)


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
