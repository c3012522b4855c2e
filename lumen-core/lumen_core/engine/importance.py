"""Which columns of a model's matrices matter: the mean square of what reaches them while it reads a text.

In: an opened model file and token ids. Out: `Importance`. The model runs on the interpreter, layer by layer:
all chunks of text pass one layer before the next is decoded, so that memory holds one layer of weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from lumen_core.engine.binding import bind, load_page
from lumen_core.engine.session import file_formats, lower
from lumen_core.errors import LumenError
from lumen_core.ir.core import Function, Operation
from lumen_core.ir.interpret import interpret
from lumen_core.ir.operations.quantized import plain
from lumen_core.lower.expression import order_name
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import Formats
from lumen_core.quant.transcode import in_order
from lumen_core.weights.model_file import FileTensor, Importance, ModelFile

Progress = Callable[[str, int, int], None]


class Collector:
    """Adds up squares, tensor by tensor: sums [matrices, K] and counts [matrices]."""

    def __init__(self) -> None:
        self.sums: dict[str, np.ndarray] = {}
        self.counts: dict[str, np.ndarray] = {}

    def watch(self, tensors: Mapping[str, FileTensor]) -> Callable[[Operation, Sequence[Any]], None]:
        """Return what the interpreter shows operations to; `tensors` by the names of arguments."""

        def observe(operation: Operation, arrays: Sequence[Any]) -> None:
            if operation.name == "fused_matmul":
                x, chosen = plain(arrays[0]), None
            elif operation.name == "fused_expert_matmul":
                chosen, x = arrays[0], plain(arrays[1])
                x = x if len(x) == chosen.size else np.repeat(x, chosen.shape[1], axis=0)
            else:
                return
            tensor = tensors.get(operation.operands[1 if chosen is None else 2].name)
            if tensor is None:
                return
            squares = np.square(x.reshape(-1, x.shape[-1]), dtype=np.float32).astype(np.float64)
            squares = in_order(squares, tensor.order)
            owners = np.zeros(len(squares), np.intp) if chosen is None else chosen.reshape(-1)
            matrices = 1 if chosen is None else tensor.shape[0]
            sums = self.sums.setdefault(tensor.name, np.zeros((matrices, squares.shape[1])))
            for matrix in np.unique(owners):
                sums[matrix] += squares[owners == matrix].sum(0)
            counts = self.counts.setdefault(tensor.name, np.zeros(matrices))
            counts += np.bincount(owners, minlength=matrices)

        return observe


def collect(
    file: ModelFile,
    ids: Sequence[int],
    *,
    registry: Registry,
    chunk: int = 512,
    chunks: int | None = None,
    head: bool = False,
    dataset: str = "",
    progress: Progress | None = None,
) -> Importance:
    """Let the model read a text in chunks that know nothing of each other.

    Args:
        ids: the text's tokens; what fills no whole chunk at the end is left out.
        chunks: the most chunks to read; None reads all.
        head: also watch the output matrix.
    """
    module, page = load_page(registry, file.architecture)
    formats = file_formats(registry, file)
    bound = bind(page, file)
    lowered = lower(module, page, bound, formats)
    if len(ids) < 2:
        raise LumenError("the text has less than two tokens")
    chunk = min(chunk, len(ids), bound.context)
    pieces = [np.array(ids[start : start + chunk]) for start in range(0, len(ids) - chunk + 1, chunk)]
    pieces = pieces[:chunks]
    collector = Collector()
    common = _arrays(bound.weights, formats, whole=False)
    functions = {name: _by_name(lowered.fused, name) for name in ("embed", "block", "head")}
    states = [_call(functions["embed"][0], {**common, "ids": piece}, formats)[0] for piece in pieces]
    layers = len(bound.layers)
    for layer, tensors in enumerate(bound.layers):
        block = functions["block"][lowered.layer_variants[layer]]
        weights = {**common, **_arrays(tensors, formats, whole=True), **_empty_caches(block)}
        watch = collector.watch(tensors)
        for index, state in enumerate(states):
            if progress is not None:
                progress("reading", layer * len(pieces) + index, layers * len(pieces))
            given = {**weights, "x": state, "positions": np.arange(len(state))}
            states[index] = _call(block, given, formats, watch)[0]
        for tensor in tensors.values():
            file.release(tensor)
    if head:
        given = {**common, **_arrays(bound.weights, formats, whole=True)}
        for state in states:
            _call(functions["head"][0], {**given, "x": state}, formats, collector.watch(bound.weights))
    if progress is not None:
        progress("reading", layers * len(pieces), layers * len(pieces))
    for name, sums in collector.sums.items():
        if not np.isfinite(sums).all():
            raise LumenError(f"the activations in front of {name} are not finite; the file is damaged")
    return Importance(
        {name: sums.astype(np.float32) for name, sums in collector.sums.items()},
        {name: counts.astype(np.float32) for name, counts in collector.counts.items()},
        len(pieces),
        chunk,
        (dataset,) if dataset else (),
    )


def _by_name(functions: Sequence[Function], name: str) -> list[Function]:
    return [function for function in functions if function.name == name]


def _call(
    function: Function,
    arrays: Mapping[str, Any],
    formats: Formats,
    observe: Callable[[Operation, Sequence[Any]], None] | None = None,
) -> list[Any]:
    given = [arrays[argument.name] for argument in function.arguments]
    return interpret(function, given, formats, observe=observe)


def _arrays(tensors: Mapping[str, FileTensor], formats: Formats, whole: bool) -> dict[str, np.ndarray]:
    """Weights by name: decoded, or (matrices that only rows are taken from) as rows of bytes."""
    found = {}
    for name, tensor in tensors.items():
        form = formats[tensor.format]
        rows = tensor.data.reshape(-1, form.row_bytes(tensor.shape[-1]))
        if tensor.order is not None:
            found[order_name(name)] = tensor.order
        if whole or len(tensor.shape) == 1:
            found[name] = form.decode(rows).reshape(tensor.shape)
        else:
            found[name] = rows
    return found


def _empty_caches(block: Function) -> dict[str, np.ndarray]:
    """Caches of no tokens, for the arguments whose first size is that of the past."""
    found = {}
    for argument in block.arguments:
        shape = argument.type.shape
        if len(shape) > 1 and str(shape[0]) == "P":
            found[argument.name] = np.zeros((0, *(size.value or 0 for size in shape[1:])), np.float16)
    return found
