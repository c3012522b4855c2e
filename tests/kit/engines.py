"""A compiled model by its parts, and the same model on the interpreter: what the engine's tests compare."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from kit.oracle import Oracle

from lumen_backend_x86.backend import BACKEND
from lumen_core.codegen.objects import host_features
from lumen_core.engine.memory import Memory
from lumen_core.engine.runner import Runner
from lumen_core.engine.sequence import Sequence
from lumen_core.engine.session import Session, compile_model
from lumen_core.engine.targets import choose_target
from lumen_core.ir import Function
from lumen_core.plugins.registry import Registry
from lumen_core.runtime.cache import ObjectCache
from lumen_core.runtime.team import Team
from lumen_core.weights.model_file import FileTensor

# Of this machine's targets the best without pairs of bf16, to which attention rounds while the interpreter
# does not: that is more than some tests tell apart. None: what the machine runs best.
EXACT = next(
    (
        target.name
        for target in BACKEND.usable(platform.machine(), host_features())
        if target.find("dot2_bf16") is None
    ),
    None,
)


class Engine:
    """A session, its memory and its threads, with every knob that `load` keeps to itself."""

    def __init__(self, registry: Registry, path: Path, cache: Path, target: str | None = None,
                 threads: int = 1, chunk: int = 256, context: int = 512,
                 sequences: int = 1, kv_format: str | None = None):  # fmt: skip
        self.file = registry.reader(path).open(path)
        chosen = choose_target(registry, target)
        self.session: Session = compile_model(
            registry, self.file, chosen, threads, ObjectCache(cache), chunk, kv_format=kv_format
        )
        self.team = Team(threads, self.session.library)
        yield_function = self.team.yield_function
        self.memory = Memory(
            self.session, self.file, context, threads, yield_function, lambda *_: None, sequences
        )
        self.runner = Runner(self.session, self.memory, self.team)

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self.team.close()
        self.file.close()

    def sequence(self, seed: int | None = None) -> Sequence:
        """A new conversation, its pages in order or shuffled."""
        if seed is not None:
            random = np.random.default_rng(seed)
            for pages in self.memory.pages:
                pages.free = random.permutation(pages.free).tolist()
        return self.memory.sequence()

    def step(self, work: list[tuple[Sequence, list[int]]]) -> list[np.ndarray]:
        """Logits after each token of several sequences that go on side by side."""
        rows = self.runner.scores(range(self.runner.step(work)))
        return np.split(rows, np.cumsum([len(ids) for _, ids in work])[:-1])

    def prefill(self, ids: list[int], seed: int | None = None) -> np.ndarray:
        """Logits after each of `ids`, all fed at once."""
        sequence = self.sequence(seed)
        rows = self.runner.logits(sequence, ids)
        sequence.release()
        return rows

    def decode(self, ids: list[int], seed: int | None = None, before: int = 0) -> np.ndarray:
        """Logits after each of `ids[before:]`, fed one by one behind a prefill of the others."""
        sequence = self.sequence(seed)
        if before:
            self.runner.prefill(sequence, ids[:before])
        rows = []
        for token in ids[before:]:
            self.runner.decode(sequence, token)
            rows.append(self.runner.next_logits().copy())
        sequence.release()
        return np.stack(rows)


def oracle(session: Session) -> Oracle:
    """The session's functions before any fusion, on the interpreter."""
    functions: dict[str, list[Function]] = {"embed": [], "block": [], "head": []}
    for function in session.lowered.tensor:
        functions[function.name].append(function)
    elements = {a.name: a.type.element for f in session.lowered.tensor for a in f.arguments}

    def arrays(tensors: Mapping[str, FileTensor]) -> dict[str, Any]:
        found = {}
        for name, tensor in tensors.items():
            if tensor.order is not None:
                found[f"{name}.order"] = tensor.order
            if elements.get(name) == "f32":
                found[name] = session.formats[tensor.format].decode(tensor.data).reshape(tensor.shape)
            else:
                found[name] = tensor.data.reshape(*tensor.shape[:-1], -1)
        return found

    blocks = [functions["block"][variant] for variant in session.lowered.layer_variants]
    layers = [arrays(layer) for layer in session.bound.layers]
    weights = arrays(session.bound.weights)
    (embed,), (head,) = functions["embed"], functions["head"]
    caches = tuple(a.name for a in blocks[0].arguments if a.type.shape and "P" in a.type.shape[0].symbols)
    return Oracle(embed, blocks, head, weights, layers, session.formats, caches)


def token_ids(count: int, vocabulary: int = 259, seed: int = 0) -> list[int]:
    return np.random.default_rng(seed).integers(0, vocabulary, count).tolist()
