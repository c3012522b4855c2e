"""Loads and runs mutations of a model file: `python -m kit.hostile_models MODEL FOLDER FIRST COUNT`.

A process of its own, so that a crash is a finding like any other. Prints a line for every mutation that
did anything but run or raise a LumenError, and at last how many ran and how many were refused.
"""

from __future__ import annotations

import random
import resource
import sys
import traceback
from pathlib import Path

import numpy as np

from lumen_core.engine.loading import load
from lumen_core.errors import LumenError
from lumen_core.plugins.registry import Registry
from lumen_core.weights.model_file import TensorPlan
from lumen_quant_gguf.container import open_file
from lumen_quant_gguf.writer import create

NUMBERS = [
    0,
    1,
    2,
    3,
    5,
    7,
    31,
    33,
    64,
    96,
    127,
    255,
    256,
    1000,
    65536,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**62,
]
VALUES = [*NUMBERS, -1, -(2**31), 0.0, 1e-45, 1e38, -1.0, float("nan"), float("inf"), "", "text", True, False,
          np.arange(4, dtype=np.int32), np.zeros(0, np.float32), ["a", "b"], []]  # fmt: skip
MEMORY = 6 << 30


def mutate(model: Path, path: Path, seed: int) -> str:
    """Write a mutation; return what was done."""
    choice = random.Random(seed)
    if seed % 3 == 0:
        content = bytearray(model.read_bytes())
        places = [choice.randrange(4, min(len(content), 9000)) for _ in range(choice.choice([1, 1, 2, 5]))]
        for place in places:
            content[place] = choice.choice([0, 255, content[place] ^ 128, choice.randrange(256)])
        path.write_bytes(content)
        return f"bytes {places}"
    with open_file(model) as file:
        table = {
            key: value.copy() if isinstance(value, np.ndarray)
            else value.tolist() if hasattr(value, "tolist") else value
            for key, value in file.metadata.items()
        }  # fmt: skip
        keys = [key for key in table if key.startswith("llama.") or key.endswith(("_id", "_type", "_token"))]
        done = {key: choice.choice(VALUES) for key in choice.sample(keys, choice.choice([1, 1, 2, 3]))}
        table |= done
        tensors = list(file.tensors.values())
        if choice.random() < 0.2:
            tensors.remove(choice.choice(tensors))
        writer = create(path, table, [TensorPlan(t.name, t.format, t.shape) for t in tensors])
        for tensor in tensors:
            writer.write(tensor.data)
        writer.close()
    return f"keys {done}, {len(tensors)} tensors"


def main(model: str, folder: str, first: str, count: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    registry, path = Registry.load(), Path(folder) / "mutation.gguf"
    ran = refused = 0
    for seed in range(int(first), int(first) + int(count)):
        what = mutate(Path(model), path, seed)
        print(f"seed {seed}: {what}", file=sys.stderr, flush=True)
        try:
            with load(path, threads=1, registry=registry, cache=Path(folder) / "objects") as loaded:
                loaded.generate("ab", max_tokens=2, seed=1)
                loaded.logits([0, 1])
            ran += 1
        except LumenError as error:
            refused += bool(str(error))
        except BaseException:
            print(f"seed {seed}: {what}\n{traceback.format_exc()}", flush=True)
    print(f"ran {ran}, refused {refused}")


if __name__ == "__main__":
    main(*sys.argv[1:])
