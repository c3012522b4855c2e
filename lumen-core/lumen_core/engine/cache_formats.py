"""How a model's keys and values are kept: what its page says, or what the user wants.

In: `q8_0`, or `q8_0:q4_0` for keys and values of their own. Out: normal forms.
"""

from __future__ import annotations

from lumen_core.dsl.typed import TypedModel
from lumen_core.errors import LumenError
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse
from lumen_core.schedule.cache import CacheFormats


def cache_formats(wanted: str | None, registry: Registry, model: TypedModel) -> CacheFormats:
    """Return the formats; None takes the page's own. Raises UnsupportedFormatError for an unknown name."""
    if wanted is None:
        declared = [type.element for type in model.caches.values()] or ["f32"]  # a model may keep nothing
        names = (declared * 2)[:2]
    else:
        names = wanted.lower().split(":")
        names = names * 2 if len(names) == 1 else names
        if len(names) != 2 or not all(names):
            raise LumenError(
                "the format of keys and values is one name, or two with a colon between (q8_0:f16), "
                f"found {wanted!r}"
            )
    keys, values = (analyse(registry.format(name)) for name in names)
    return CacheFormats(keys, values)
