"""Run a whole lowered model on the numpy interpreter: what compiled models are compared with.

In: @embed, a @block per layer and @head of the tensor IR (before or after fusion) and arrays by name.
Out: logits f32 [T, V] and the caches, a list of arrays [P + T, ...] per layer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lumen_core.ir import Function, interpret


def call(function: Function, arrays: Mapping[str, Any], formats: Mapping[str, Any]) -> list[Any]:
    """Interpret a function with its arguments taken from `arrays` by name."""
    return interpret(function, [arrays[argument.name] for argument in function.arguments], formats)


@dataclass
class Oracle:
    """A model and its caches; `step` feeds tokens behind those that came before.

    weights  model weights by name
    layers   the layers' weights by name, one mapping per layer
    caches   cache names, in the order in which a block returns them
    """

    embed: Function
    blocks: Sequence[Function]
    head: Function
    weights: Mapping[str, Any]
    layers: Sequence[Mapping[str, Any]]
    formats: Mapping[str, Any]
    caches: Sequence[str] = ("keys", "values")
    state: list[dict[str, np.ndarray]] = field(default_factory=list)
    seen: int = 0

    def __post_init__(self) -> None:
        self.state = [self._empty(block) for block in self.blocks]

    def _empty(self, block: Function) -> dict[str, np.ndarray]:
        shapes = {argument.name: argument.type.shape[1:] for argument in block.arguments}
        return {
            name: np.zeros((0, *(size.value for size in shapes[name])), np.float16) for name in self.caches
        }

    def step(self, ids: Sequence[int]) -> np.ndarray:
        """Return the logits of every token of `ids`, f32 [T, V]."""
        (x,) = call(self.embed, {**self.weights, "ids": np.asarray(ids)}, self.formats)
        for layer, (block, weights) in enumerate(zip(self.blocks, self.layers, strict=True)):
            positions = np.arange(self.seen, self.seen + len(ids))
            arrays = {**self.weights, **weights, **self.state[layer], "x": x, "positions": positions}
            x, *caches = call(block, arrays, self.formats)
            self.state[layer] = dict(zip(self.caches, caches, strict=True))
        self.seen += len(ids)
        (logits,) = call(self.head, {**self.weights, "x": x}, self.formats)
        return logits
