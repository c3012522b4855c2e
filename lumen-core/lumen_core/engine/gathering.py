"""Weights that lie in several tensors: found among a file's tensors, and made one each.

In: the tensors of a checkpoint directory with its `quantization_config`, or of a model file with a format
that has a part in a tensor of its own. Out: the same, a weight's parts replaced by the one that they make.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from lumen_core.dsl import ast
from lumen_core.dsl.origins import GROUP, narrow_bits
from lumen_core.dsl.specialise import ALL, default, optional_fields, specialise
from lumen_core.errors import LumenError, ModelFormatError
from lumen_core.plugins.registry import Registry
from lumen_core.weights.gather import BLOCKS, columns_in_order, gather, is_everywhere
from lumen_core.weights.model_file import FileTensor, ModelFile

_CONFIGS = ("quantization_config", "compression_config")


def gathered_checkpoint(
    registry: Registry, path: Path, config: Mapping[str, Any], tensors: Mapping[str, FileTensor]
) -> dict[str, FileTensor]:
    """Return a directory's tensors with one for each quantized weight; raises ModelFormatError."""
    settings = next((config[key] for key in _CONFIGS if config.get(key)), None)
    if settings is None:
        return dict(tensors)
    method = settings.get("quant_method") if isinstance(settings, dict) else None
    if not isinstance(method, str) or method not in registry.schemes:
        raise ModelFormatError(
            f"{path}: the weights are quantized ({str(method)[:40]}), which no installed package reads; "
            f"known: {', '.join(sorted(registry.schemes)) or 'none'}. Take the original checkpoint or "
            "a GGUF file"
        )
    scheme = registry.schemes[method].value
    try:
        choose = scheme.choose(settings)
    except LumenError as error:
        raise ModelFormatError(f"{path}: {error}") from None
    found: dict[str, FileTensor] = {}
    modules: dict[str, dict[str, FileTensor]] = {}
    for name, tensor in tensors.items():
        if any(fnmatchcase(name, pattern) for pattern in scheme.unread):
            continue
        module, _, suffix = name.rpartition(".")
        modules.setdefault(module, {})[suffix] = tensor
    for module, parts in modules.items():
        format = choose(module, parts)
        rest = parts
        if format is not None:
            weight, used = _weight(registry, format, f"{module}.{BLOCKS}", parts, module)
            found[weight.name] = weight
            rest = {suffix: tensor for suffix, tensor in parts.items() if suffix not in used}
        found.update((tensor.name, tensor) for tensor in rest.values())
    return found


def gathered_file(registry: Registry, file: ModelFile) -> ModelFile:
    """Give the weights of a file the parts of theirs that lie in tensors beside them; the same file."""
    tensors = dict(file.tensors)
    for name, tensor in file.tensors.items():
        entry = registry.declarations.get(tensor.format)
        module, _, suffix = name.rpartition(".")
        if entry is None or suffix != BLOCKS:
            continue
        elsewhere = [field.origin is not None for field in entry.value.fields]
        if not any(elsewhere) or all(elsewhere):  # whole rows: nothing lies beside them
            continue
        parts = {BLOCKS: tensor}
        for field in entry.value.fields:
            if field.origin is not None and f"{module}.{field.origin.tensor}" in tensors:
                parts[field.origin.tensor] = tensors[f"{module}.{field.origin.tensor}"]
        weight, used = _weight(registry, tensor.format, name, parts, module)
        if len(used) > 1:
            tensors[name] = weight
            for part in used - {BLOCKS}:
                tensors.pop(f"{module}.{part}", None)
    file.tensors = tensors
    return file


def _weight(
    registry: Registry, format: str, name: str, parts: Mapping[str, FileTensor], origin: str
) -> tuple[FileTensor, set[str]]:
    """The weight that some of a module's tensors make, and which ones those are."""
    entry, arguments = registry.family(format)
    declaration = entry.value
    given = dict(zip(declaration.generics, arguments, strict=True))
    block = None if given.get(str(declaration.block)) == ALL else specialise(declaration, arguments).block
    present, used = [], set()
    for field in declaration.fields:
        suffix = BLOCKS if field.origin is None else field.origin.tensor
        if suffix not in parts:
            continue
        used.add(suffix)
        if field in optional_fields(declaration) and _says_something(
            declaration, arguments, field, parts[suffix], block
        ):
            present.append(field.name)
    specialised = specialise(declaration, arguments, present)
    return gather(specialised, name, parts, origin), used


def _says_something(
    declaration: ast.Format,
    arguments: list[str],
    field: ast.Field,
    tensor: FileTensor,
    block: ast.Size | None,
) -> bool:
    """Tell whether an optional tensor differs from what its absence means.

    block  weights of a group; None where a row is one
    """
    if field.dtype == GROUP:
        assert not isinstance(block, str)
        return columns_in_order(tensor, block) is not None
    usual = default(declaration, arguments, field)
    special = specialise(declaration, arguments, [field.name])
    dtype = next(other.dtype for other in special.fields if other.name == field.name)
    return usual is None or not is_everywhere(tensor, usual, narrow_bits(dtype))
