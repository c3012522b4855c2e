"""How much memory a model file needs, known without loading it: its weights, its keys and values.

In: an opened file, and how many tokens of context. Out: bytes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from lumen_core.engine.binding import bind, context_length, load_page
from lumen_core.plugins.registry import Registry
from lumen_core.types import SCALARS
from lumen_core.weights.model_file import ModelFile


@dataclass(frozen=True)
class Footprint:
    """weights: as large packed as in the file, but for padding; cache: keys and values of a full context."""

    context: int
    trained_context: int
    weights: int
    cache_per_token: int

    @property
    def cache(self) -> int:
        return self.context * self.cache_per_token


def footprint(file: ModelFile, registry: Registry, context: int | None = None) -> Footprint:
    """Return what a load with this context takes; raises ModelError where the file is no whole model."""
    _, model = load_page(registry, file.architecture)
    bound = bind(model, file)
    entries = [type.substitute(bound.configuration.sizes) for type in model.caches.values()]
    sizes = [
        math.prod(size.value or 1 for size in entry.shape[1:]) for entry in entries
    ]  # but for the tokens
    token = sum(size * SCALARS[entry.element] // 8 for size, entry in zip(sizes, entries, strict=True))
    return Footprint(
        context_length(context, bound.context),
        bound.context,
        sum(tensor.data.nbytes for tensor in file.tensors.values()),
        token * len(bound.layers),
    )
