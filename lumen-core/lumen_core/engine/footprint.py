"""How much memory a model file needs, known without loading it: its weights, its keys and values.

In: an opened file, and how many tokens of context. Out: bytes.
"""

from __future__ import annotations

from dataclasses import dataclass

from lumen_core.dsl.typed import TypedModel, TypedModule
from lumen_core.engine.binding import BoundModel, bind, context_length, load_page
from lumen_core.engine.cache_formats import cache_formats
from lumen_core.engine.pools import cache_bytes, chunk_tokens, plan_pools
from lumen_core.lower.model import lower_step
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import Formats, analyse
from lumen_core.quant.cache_layout import PAGE, CacheLayout, check_cache_format
from lumen_core.schedule.places import window_of
from lumen_core.weights.model_file import ModelFile


@dataclass(frozen=True)
class Ring:
    """Layers that see `window` tokens keep `tokens` of a sequence, in `bytes` for all of these layers."""

    window: int
    layers: int
    tokens: int
    bytes: int


@dataclass(frozen=True)
class Footprint:
    """weights: as large packed as in the file, but for padding; cache: keys and values of a full context.

    cache_per_token  what one more token takes
    rings            what layers that see a window keep instead
    """

    context: int
    trained_context: int
    weights: int
    cache_per_token: int
    cache: int
    rings: tuple[Ring, ...]


def footprint(
    file: ModelFile, registry: Registry, context: int | None = None, kv_format: str | None = None
) -> Footprint:
    """Return what a load with this context and format of keys and values takes.

    Raises ModelError where the file is no whole model, UnsupportedFormatError for a format that does not fit.
    """
    module, model = load_page(registry, file.architecture)
    bound = bind(model, file)
    entries = [type.substitute(bound.configuration.sizes).shape[1:] for type in model.caches.values()]
    heads, size = (number.value or 1 for number in entries[0]) if entries else (1, 1)
    kept = cache_formats(kv_format, registry, model)
    check_cache_format(kept.keys, size, "keys")
    check_cache_format(kept.values, size, "values")
    page = CacheLayout(heads, size, 16, kept.keys, kept.values).page_bytes
    wanted = context_length(context, bound)
    pools = plan_pools(_windows(module, model, bound, registry), page, wanted)
    return Footprint(
        wanted,
        bound.context,
        sum(tensor.nbytes for tensor in file.tensors.values()),
        sum(pool.token_bytes for pool in pools if not pool.window),
        cache_bytes(pools, page, chunk_tokens(file)),
        tuple(
            Ring(pool.window, len(pool.layers), pool.pages * PAGE, pool.bytes)
            for pool in pools
            if pool.window
        ),
    )


def _windows(module: TypedModule, model: TypedModel, bound: BoundModel, registry: Registry) -> list[int]:
    """How many tokens every layer sees, 0 for all; formats do not matter to that."""
    weights = {**model.weights, **model.layer_weights}
    plain, formats = dict.fromkeys(weights, "f32"), Formats({"f32": analyse(registry.format("f32"))})
    known: dict[tuple[int, ...], int] = {}
    found = []
    for number in range(len(bound.layers)):
        settings = bound.configuration.of_layer(number)
        key = tuple(settings.values())
        if key not in known:
            block = lower_step(module, model, "block", bound.configuration, plain, formats, settings)
            known[key] = window_of(block)
        found.append(known[key])
    return found
