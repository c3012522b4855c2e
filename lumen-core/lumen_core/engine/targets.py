"""The target that code is made for: the best of this machine, or one that is named.

In: a registry, perhaps a name. Out: a `Target`, or a TargetError that says what there is in its place.
"""

from __future__ import annotations

import platform
from difflib import get_close_matches

from lumen_core.errors import TargetError
from lumen_core.plugins.registry import Registry
from lumen_core.runtime.link import host_features
from lumen_core.target import Backend, Target


def choose_target(registry: Registry, name: str | None, run: bool = True) -> Target:
    """Return the named target, or the best that this machine runs; raises TargetError.

    run  the code is to run here; otherwise any target will do, by name or as `machine-system+feature`
    """
    features, machine = host_features(), platform.machine()
    backends = [entry.value for entry in registry.backends.values()]
    usable = [target for backend in backends for target in backend.usable(machine, features)]
    if name is None:
        if not usable:
            known = [target.name for backend in backends for target in backend.targets]
            message = f"no installed backend runs on this machine ({machine})"
            raise TargetError(registry.explained(message, known))
        return usable[0]
    if not isinstance(name, str):
        raise TargetError(f"a target is given by its name, found {name!r}")
    for target in usable:
        if target.name == name:
            return target
    everything = {target.name: target for backend in backends for target in backend.targets}
    if not run:
        described = [everything.get(name), *(backend.described(name) for backend in backends)]
        found = next((target for target in described if target is not None), None)
        if found is not None:
            return found
    if name in everything:
        runs = ", ".join(target.name for target in usable)
        raise TargetError(f"this machine lacks the features of {name}; it runs {runs}")
    raise TargetError(f"unknown target {name}{_why_unknown(name, backends, run)}")


def _why_unknown(name: str, backends: list[Backend], run: bool) -> str:
    """What is wrong with a target's name, and what there is in its place."""
    place, *wanted = name.lower().split("+")
    machine, _, system = place.partition("-")
    for backend in backends:
        if not run and machine in backend.machines:
            if system not in backend.systems:
                return f": a system of {machine} is {' or '.join(backend.systems)}, as in {backend.example}"
            features = backend.features
            if unknown := [feature for feature in wanted if feature not in features]:
                return f": {place} has no feature {', '.join(unknown)}; known: {', '.join(features)}"
            return (
                f": no target has {' and '.join(wanted)} together; `lumen backends list` shows what each has"
            )
    names = [target.name for backend in backends for target in backend.targets]
    near = get_close_matches(name, names, n=1, cutoff=0.6)
    meant = f" (did you mean {near[0]}?)" if near else ""
    examples = [backend.example for backend in backends if backend.systems]
    described = (
        f"; or a machine, a system and what it has, as in {examples[0]}" if examples and not run else ""
    )
    return f"{meant}; known: {', '.join(names) or 'none'}{described}"
