"""What a model file costs to run: bytes to read and operations to do, from its tensors alone.

In: a model file. Out: `Work`, which a benchmark sets beside the limits of the machine.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

from lumen_core.engine.session import load_formats
from lumen_core.engine.sources import open_model
from lumen_core.plugins.registry import Registry

LAYER = re.compile(r"blk\.\d+\.")  # of a layer; the others are the embedding, the last norm and the head


@dataclass(frozen=True)
class Work:
    """What a model file costs: to generate one token, and to take one token of a prompt in.

    operations_per_token  by the unit that does them: "int8", "bf16", "f32"
    """

    size: int
    parameters: int
    bytes_per_token: int
    operations_per_token: Mapping[str, int]


def file_work(path: Path) -> Work:
    """Return what a file's tensors cost, of experts only those that a token chooses.

    The embedding is read row by row unless it is the head as well.
    """
    registry = Registry.load()
    with open_model(path, registry) as file:
        tensors = file.tensors.values()
        forms = load_formats(registry, {tensor.format for tensor in tensors})
        head = "output.weight" if "output.weight" in file.tensors else "token_embd.weight"
        read = [tensor for tensor in tensors if LAYER.match(tensor.name) or tensor.name == head]
        operations: dict[str, int] = {}
        for tensor in read:
            if len(tensor.shape) > 1 and tensor.name != head:
                form = forms[tensor.format]
                unit = "int8" if form.kind == "integer" else form.activation
                operations[unit] = operations.get(unit, 0) + 2 * file.used(tensor, prod(tensor.shape))
        return Work(
            size=file.size,
            parameters=sum(prod(tensor.shape) for tensor in tensors),
            bytes_per_token=sum(file.used(tensor, tensor.nbytes) for tensor in read),
            operations_per_token=operations,
        )
