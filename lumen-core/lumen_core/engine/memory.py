"""The memory of a loaded model: weights, buffers, key/value pages and the frame that programs read.

In: a compiled session and its file. Out: a frame whose every slot points where the programs expect it.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping

import numpy as np

from lumen_core.engine.pools import cache_bytes, plan_pools, staging_pages
from lumen_core.engine.sequence import Pages, Sequence
from lumen_core.engine.session import Session
from lumen_core.engine.step_input import StepInput
from lumen_core.runtime.link import Function
from lumen_core.runtime.memory import address, allocate
from lumen_core.schedule.attention import PART
from lumen_core.schedule.cache import block_cache
from lumen_core.schedule.places import window_of
from lumen_core.schedule.rope import rope_tables
from lumen_core.schedule.sampling import SETTINGS
from lumen_core.schedule.step import COUNTER_BYTES, COUNTERS
from lumen_core.weights.model_file import FileTensor, ModelFile
from lumen_core.weights.packing import Packer

RECENT = 4096  # tokens that a repetition penalty can look back

Progress = Callable[[str, int, int], None]


class Memory:
    """Everything that the programs of one model touch.

    context    tokens that a sequence may have
    sequences  of that length that the cache has room for; pages that no token has reached cost no memory
    """

    def __init__(self, session: Session, file: ModelFile, context: int, threads: int, yield_function: int,
                 progress: Progress, sequences: int = 1):  # fmt: skip
        self.session = session
        self.context = context
        self.layers = len(session.bound.layers)
        self._alive: list[np.ndarray] = []  # memory that only addresses refer to
        block = session.lowered.function("block")
        self.cache = block_cache(block, session.cache_formats, session.formats, session.target)
        windows = [window_of(session.lowered.function("block", v)) for v in session.lowered.layer_variants]
        self.pools = plan_pools(windows, self.cache.page_bytes, context, sequences)
        records = session.records
        self.frame = allocate(8 * (len(records.frame) + 64), "the frame").view("<i8")
        self._frame_words = self.frame.data  # numpy is slow at single numbers
        self._layer_words = len(records.layer)
        self.layer_records = allocate(8 * self._layer_words * self.layers, "layer records").view("<i8")
        self.layer_records = self.layer_records.reshape(self.layers, self._layer_words)
        self.pages = [Pages(pool) for pool in self.pools]
        self._place_buffers()
        self._place_cache()
        self._place_rotaries(context)
        self._place_weights(file, threads, progress)
        self.set("counters", address(self._new(threads * COUNTERS * COUNTER_BYTES, "work counters")))
        kinds = len(session.records.profile.places) if session.records.profile else 0
        self.profile = self._new(8 * (1 + kinds), "the profile").view("<i8")
        self.set("profile", address(self.profile))
        self.set("barrier", address(self._new(64, "barrier")))
        self.set("layers", address(self.layer_records))
        self.set("layer_count", self.layers)
        self.set("layer_bytes", 8 * self._layer_words)
        self.set("yield", yield_function)
        self.settings = self._new(64, "sampling settings")[: SETTINGS.itemsize].view(SETTINGS)
        self.set("sampling.settings", address(self.settings))
        self.recent = self._new(4 * RECENT, "recent tokens").view("<i4")
        self.set("sampling.recent", address(self.recent))
        self.sampled = self.buffers["sampling.token"].view("<i8").data
        self.step = StepInput(max(session.chunk, 1), self.pools, self._new, self.set)

    def sequence(self) -> Sequence:
        """Return a new sequence without tokens."""
        return Sequence(self.pages, self.context)

    # ------------------------------------------------------------------- slots

    def set(self, name: str, value: int) -> None:
        """Write a frame slot, if any program reads it."""
        place = self.session.records.frame.get(name)
        if place is not None:
            self._frame_words[place // 8] = value

    def _set_layer(self, layer: int, name: str, value: int) -> None:
        place = self.session.records.layer.get(name)
        if place is not None:
            self.layer_records[layer, place // 8] = value

    def _new(self, bytes: int, what: str, piece: int = 0) -> np.ndarray:
        made = allocate(bytes, what, piece)
        self._alive.append(made)
        return made

    # ------------------------------------------------------------------- parts

    def _place_buffers(self) -> None:
        self.buffers: dict[str, np.ndarray] = {}
        for name, bytes in self.session.needs.buffers.items():
            self.buffers[name] = self._new(bytes + 64, f"the buffer {name}")
            self.set(name, address(self.buffers[name]))

    @property
    def cache_bytes(self) -> int:
        """Bytes of all keys and values that the context has room for."""
        return cache_bytes(self.pools, self.cache.page_bytes, self.session.chunk)

    @property
    def cache_bytes_per_token(self) -> int:
        """Bytes that one more token takes in the layers that keep all."""
        return sum(pool.token_bytes for pool in self.pools if not pool.window)

    def _place_cache(self) -> None:
        what = f"a context of {self.context} tokens"
        for pool in self.pools:
            start = address(self._new(pool.bytes, what, pool.layer_bytes))
            for layer in pool.layers:
                self._set_layer(layer, "cache.keys", start)
                self._set_layer(layer, "cache.values", start + self.cache.value_offset)
                self._set_layer(layer, "variant", self.session.lowered.layer_variants[layer])
                start += pool.layer_bytes
        staging = self._new(staging_pages(self.pools, self.session.chunk) * self.cache.page_bytes, what)
        self.set("staging", address(staging) + staging.nbytes)
        parts = -(-self.context // PART)
        self.set("attention.parts", parts)
        partials = self._new(self.session.needs.partials * parts, "parts of attention")
        self.set("attention.partials", address(partials))

    def _place_rotaries(self, context: int) -> None:
        for rotary, number in self.session.needs.rotaries.items():
            cosine, sine = rope_tables(rotary, self._plain(rotary.factors), context)
            for name, table in (("cos", cosine), ("sin", sine)):
                kept = self._new(table.nbytes, "rotary angles").view("<f4")
                kept[:] = table.reshape(-1)
                self.set(f"{name}{number}", address(kept))

    def _plain(self, name: str) -> np.ndarray:
        tensor = self.session.bound.weights[name]
        return self.session.formats[tensor.format].decode(tensor.data)

    def _place_weights(self, file: ModelFile, threads: int, progress: Progress) -> None:
        session, needs = self.session, self.session.needs
        tables: list[tuple[int | None, Mapping[str, FileTensor]]] = [(None, session.bound.weights)]
        tables += list(enumerate(session.bound.layers))
        packer = Packer(file, session.formats, session.target.lanes, pack_functions(session), threads)
        try:
            packer.pack_all(session.tensors(needs.packed), progress)
            for layer, table in tables:
                for name, tensor in table.items():
                    if name in needs.packed:
                        packed = packer.packed[id(tensor)]
                        self._alive.append(packed)
                        self._point(layer, name, packed)
                    if name in needs.plain:
                        plain = packer.plain(tensor)
                        self._alive.append(plain)
                        self._point(layer, f"plain.{name}", plain)
                    if name in needs.ordered:
                        assert tensor.order is not None
                        self._alive.append(tensor.order)
                        self._point(layer, f"{name}.order", tensor.order)
                    if name in needs.raw:
                        raw = tensor.data
                        self._alive.append(raw)
                        self._point(layer, f"raw.{name}", raw)
        finally:
            packer.close()

    def _point(self, layer: int | None, name: str, array: np.ndarray) -> None:
        if layer is None:
            self.set(name, address(array))
        else:
            self._set_layer(layer, name, address(array))

    def arrays(self) -> list[np.ndarray]:
        """Everything that a slot may point into, and the tables of slots themselves."""
        return [self.frame, self.layer_records, *self._alive]

    def look_back(self, recent: np.ndarray) -> None:
        """Say which ids the repetition penalty applies to."""
        self.recents = len(recent)
        self.recent[: self.recents] = recent
        self.set("sampling.recents", self.recents)


def pack_functions(session: Session) -> dict[str, Function]:
    """Return the native function of every pack program, by format."""
    pointer, number = ctypes.c_void_p, ctypes.c_int64
    return {
        symbol.removeprefix("pack_"): session.library.function(
            symbol, None, pointer, pointer, number, number, number, number
        )
        for symbol in session.kernels
        if symbol.startswith("pack_")
    }
