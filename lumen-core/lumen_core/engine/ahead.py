"""A model compiled ahead of time: objects, a C header and one image that a program without Python runs.

In: a model file and a target, of this machine or another. Out: a directory. The image holds what a loaded
model has in memory, the frame included; words that are addresses are offsets there and are listed.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from lumen_core.engine.memory import Memory, Progress
from lumen_core.engine.pack import packers_for
from lumen_core.engine.sampling import Sampling
from lumen_core.engine.session import PROGRAMS, Session, compile_model, compile_request
from lumen_core.engine.targets import choose_target
from lumen_core.errors import LumenError
from lumen_core.plugins.registry import Registry
from lumen_core.quant.cache_layout import PAGE
from lumen_core.runtime.cache import ObjectCache, default_directory
from lumen_core.runtime.memory import address
from lumen_core.schedule.places import token_stride
from lumen_core.schedule.segments import DIRECT

MAGIC = 0x4E454D554C  # "LUMEN"
IMAGE, HEADER = "model.image", "model.h"
_ALIGN = 64
_SLOTS = {
    "YIELD": "yield", "BARRIER": "barrier", "IDS": "ids", "POSITIONS": "positions",
    "TOKENS": "tokens", "SEGMENTS": "segments", "HEAD": "head_x", "STATES": "x",
    "SETTINGS": "sampling.settings", "POSITION": "sampling.position", "SAMPLED": "sampling.token",
}  # fmt: skip


@dataclass(frozen=True)
class Ahead:
    """What was written."""

    directory: Path
    target: str
    objects: int
    object_bytes: int
    image_bytes: int
    memory_bytes: int


def compile_ahead(
    model: str,
    directory: Path,
    *,
    target: str | None = None,
    context: int | None = None,
    threads: int = 1,
    registry: Registry | None = None,
    progress: Progress | None = None,
) -> Ahead:
    """Compile a model file for a target and write everything to a directory.

    Args:
        target: a target's name or `machine-system+feature`; None takes this machine's best.
        context: tokens that fit the cache; None takes the model's own, at most 4096.
        threads: native threads that the image has room for.
    """
    registry = registry or Registry.load()
    chosen = choose_target(registry, target, run=False)
    here = choose_target(registry, None)
    cache = ObjectCache(default_directory())
    path = registry.file(model)
    with registry.reader(path).open(path) as file:
        session = compile_model(registry, file, chosen, threads, cache, linker=packers_for(here))
        length = min(context or 4096, session.bound.reach)
        memory = Memory(session, file, length, threads, 0, progress or (lambda *_: None))
        Sampling(temperature=0).write(memory.settings)
        conversation = memory.sequence()
        conversation.require(length)
        tables = conversation.pages
        memory.step.write([(0, [0], tables)])
        directory.mkdir(parents=True, exist_ok=True)
        object_bytes = 0
        wanted = [request for symbol, request in session.kernels.items() if not symbol.startswith("pack_")]
        for request in wanted:
            content = compile_request(request, chosen, cache)
            (directory / f"{request.symbol}.o").write_bytes(content)
            object_bytes += len(content)
        pointing = [memory.frame, memory.layer_records, *memory.step.pages.values()]
        image = _Image([*memory.arrays(), *tables.values()], pointing)
        image.write(directory / IMAGE)
        text = _header(session, memory, image, path.stem, threads)
        (directory / HEADER).write_text(text, encoding="utf-8")
        image_bytes = (directory / IMAGE).stat().st_size
        return Ahead(directory, chosen.name, len(wanted), object_bytes, image_bytes, image.memory)


class _Image:
    """Arrays one behind the other, those that hold only zeros last and not in the file."""

    def __init__(self, arrays: list[np.ndarray], tables: list[np.ndarray]):
        unique = {(address(array), array.nbytes): array for array in arrays if array.nbytes}
        full = {key: bool(array.reshape(-1).view(np.uint8).any()) for key, array in unique.items()}
        self.places: dict[tuple[int, int], int] = {}
        self.stored: list[np.ndarray] = []
        end = 0
        for wanted in (True, False):
            for key, array in unique.items():
                if full[key] == wanted:
                    self.places[key] = end
                    end += -(-array.nbytes // _ALIGN) * _ALIGN
                    if wanted:
                        self.stored.append(array)
            if wanted:
                self.file = end
        self.memory = -(-end // 4096) * 4096
        self._starts = np.array(sorted(key[0] for key in self.places), np.int64)
        self._by_start = {start: (start, size) for start, size in sorted(self.places)}
        self.tables = {(address(table), table.nbytes): table for table in tables}

    def place(self, array: np.ndarray) -> int:
        return self.places[address(array), array.nbytes]

    def _inside(self, word: int) -> int | None:
        """The offset in the image that an address has; None for other numbers."""
        index = int(np.searchsorted(self._starts, word, "right")) - 1
        if index < 0:
            return None
        start, size = self._by_start[int(self._starts[index])]
        return self.places[start, size] + word - start if word < start + size else None

    def _moved(self, table: np.ndarray, base: int) -> Iterator[tuple[int, int, int]]:
        """(index, offset, place in the image) of every word of a table that is an address."""
        for index, word in enumerate(table.reshape(-1)):
            offset = self._inside(int(word))
            if offset is not None:
                yield index, offset, base + 8 * index

    def write(self, path: Path) -> None:
        relocations: list[int] = []
        parts = []
        for array in self.stored:
            data = array.reshape(-1)
            table = self.tables.get((address(array), array.nbytes))
            if table is not None:
                data = table.reshape(-1).copy()
                for index, offset, place in self._moved(table, self.place(array)):
                    data[index] = offset
                    relocations.append(place)
            parts.append(data.view(np.uint8))
        with path.open("wb") as file:
            file.write(struct.pack("<4Q", MAGIC, self.file, self.memory, len(relocations)))
            file.write(np.array(relocations, "<u8").tobytes())
            for part in parts:
                file.write(part.data)
                file.write(bytes(-part.nbytes % _ALIGN))


def _header(session: Session, memory: Memory, image: _Image, model: str, threads: int) -> str:
    head = session.lowered.function("head")
    numbers = {
        "MAGIC": MAGIC,
        "MEMORY": image.memory,
        "FRAME": image.place(memory.frame),
        "CONTEXT": memory.context,
        # The programs' host in C does not know of staging (schedule/segments.py).
        "CHUNK": min(session.chunk, DIRECT if any(pool.window for pool in memory.pools) else session.chunk),
        "THREADS": threads,
        "VOCABULARY": head.results[0].type.shape[-1].value or 0,
        "STATE_BYTES": token_stride(head.arguments[0].type.shape[-1].value or 0),
        "PAGE": PAGE,
    }

    def place(name: str) -> int:
        if name not in session.records.frame:
            raise LumenError(f"the programs of {model} have no slot {name}")
        return session.records.frame[name]

    numbers |= {f"SLOT_{label}": place(name) for label, name in _SLOTS.items()}
    constants = "".join(f"#define LUMEN_{name} {number}\n" for name, number in numbers.items())
    pools = [f"{{{place('slots' + pool.suffix)}, {place('pages' + pool.suffix)}}}" for pool in memory.pools]
    constants += f"#define LUMEN_POOLS {{{', '.join(pools)}}}\n"
    programs = "".join(f"void {name}(void *frame, int64_t thread, int64_t threads);\n" for name in PROGRAMS)
    text = files("lumen_core.engine").joinpath("ahead.h").read_text(encoding="utf-8")
    for name, value in (("MODEL", model), ("TARGET", session.target.name),
                        ("CONSTANTS", constants), ("PROGRAMS", programs)):  # fmt: skip
        text = text.replace(f"@{name}@", value)
    return text
