"""What functions are planned for: a machine, the formats of weights and cache, the size of a step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lumen_core.quant.normal_form import NormalForm
from lumen_core.schedule.cache import CacheFormats
from lumen_core.target import Target


@dataclass(frozen=True)
class Conditions:
    """
    layer_weights  arguments of functions that are slots of the layer's record, not of the frame
    cache          how keys and values are kept; what has no attention needs none
    columns        token columns of an activation panel; with one there is one token
    capacity       the most tokens of a step
    """

    target: Target
    formats: Mapping[str, NormalForm]
    layer_weights: frozenset[str] = frozenset()
    cache: CacheFormats | None = None
    threads: int = 1
    columns: int = 1
    capacity: int = 1
