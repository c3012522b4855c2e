"""Which published model a file is, what chat format it speaks, and what of it will not work.

In: an opened file and the registry.  Out: names and problems in words; nothing is loaded or compiled.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lumen_core.engine.binding import BoundModel, bind
from lumen_core.engine.session import load_formats, load_page
from lumen_core.errors import LumenError
from lumen_core.plugins.registry import Registry
from lumen_core.plugins.sources import Release
from lumen_core.text.template import render
from lumen_core.text.tokenizer import build
from lumen_core.weights.model_file import ModelFile

_FACTORS = "rope_freqs.weight"  # follows from settings and is in no count of parameters


@dataclass(frozen=True)
class Identity:
    """`releases` are those with this number of parameters; several may have one shape.

    `problems` will not work, `remarks` are what one should know, such as settings that nothing here
    computes with.
    """

    parameters: int
    releases: tuple[Release, ...]
    chat: str
    problems: tuple[str, ...]
    remarks: tuple[str, ...]


def identify(file: ModelFile, registry: Registry) -> Identity:
    parameters = sum(math.prod(tensor.shape) for name, tensor in file.tensors.items() if name != _FACTORS)
    problems: list[str] = []
    entry = registry.architectures.get(file.architecture)
    known = entry.value.releases if entry is not None else ()
    releases = tuple(one for one in known if one.parameters == parameters)
    bound: list[BoundModel] = []
    if file.tensors:
        _run(problems, "weights", lambda: bound.append(bind(load_page(registry, file.architecture)[1], file)))
        formats = {tensor.format for tensor in file.tensors.values()}
        for name in sorted(formats):
            _run(problems, f"tensors of the format {name}", lambda name=name: load_formats(registry, {name}))
    remarks = list(bound[0].remarks if bound else file.remarks)
    chat = _chat(file, registry, problems, remarks)
    return Identity(parameters, releases, chat, tuple(problems), tuple(remarks))


def _run(problems: list[str], what: str, trial: object) -> None:
    try:
        trial()  # type: ignore[operator]
    except LumenError as problem:
        problems.append(f"{what}: {str(problem).splitlines()[0]}")


def _chat(file: ModelFile, registry: Registry, problems: list[str], remarks: list[str]) -> str:
    try:
        tokenizer = build(file.metadata)
    except LumenError as problem:
        problems.append(f"text: {problem}")
        return ""
    family = registry.chat_family(file.architecture, frozenset(tokenizer.vocabulary))
    template = tokenizer.chat_template or (family.template if family is not None else "")
    if not template:
        problems.append("chat: the file has no chat template; plain prompts work")
    else:
        _run(problems, "chat", lambda: render(template, [{"role": "user", "content": "?"}]))
        if not tokenizer.chat_template:
            remarks.append("chat: the file has no template; that of the family is used")
    return family.name if family is not None else ""
