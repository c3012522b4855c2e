"""A model's weights packed once and for all, in a file that the next start only maps.

In: the name of a model, a path, a target. Out: a file of packed weights (`weights/packed_file.py`) of the
container that the path's suffix names. Memory holds one matrix at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from lumen_core import __version__
from lumen_core.codegen.llvm import emit_llvm
from lumen_core.engine.memory import pack_functions
from lumen_core.engine.output_file import require_safe_output
from lumen_core.engine.session import Linker, Session, compile_model, format_identities, packing_digests
from lumen_core.engine.sources import open_model
from lumen_core.engine.targets import choose_target
from lumen_core.errors import LumenError
from lumen_core.plugins.registry import Registry
from lumen_core.runtime.cache import ObjectCache
from lumen_core.runtime.cores import available_threads
from lumen_core.runtime.link import Library, compile_object
from lumen_core.runtime.memory import allocate
from lumen_core.schedule.phases import Request
from lumen_core.target import Target
from lumen_core.weights.model_file import ModelFile, Reader, TensorPlan
from lumen_core.weights.packed_file import WEIGHTS, PackedFile, describe
from lumen_core.weights.packing import Packer

Progress = Callable[[str, int, int], None]


def pack(
    source: str | Path,
    path: str | Path,
    *,
    target: str | None = None,
    threads: int | None = None,
    force: bool = False,
    progress: Progress | None = None,
    registry: Registry | None = None,
) -> Path:
    """Write a model's packed weights for a target, of this machine or another; return the path.

    Args:
        target: a target's name; None takes the best that this machine runs.
        threads: threads that pack; None takes the cores that this process may use.
        force: replace a file that exists.

    Raises:
        ModelFormatError, ModelError, UnsupportedFormatError, TargetError, LumenError.
    """
    registry = registry or Registry.load()
    path = Path(path)
    reader = registry.container(path)
    chosen = choose_target(registry, target, run=False)
    threads = threads or available_threads()
    with open_model(source, registry, progress) as file:
        _require_packable(file, path, force)
        linker = packers_for(choose_target(registry, None))
        session = compile_model(registry, file, chosen, threads, ObjectCache(None), linker=linker)
        packer = Packer(file, session.formats, chosen.lanes, pack_functions(session), threads)
        try:
            _write(path, reader, file, session, packer, registry, progress)
        finally:
            packer.close()
    return path


def _require_packable(file: ModelFile, path: Path, force: bool) -> None:
    """Refuse what a packed file cannot say, and a place that holds something."""
    if isinstance(file, PackedFile):
        raise LumenError(f"{file.path} is packed already; pack the file that it was made from")
    require_safe_output(path, file)
    if path.exists() and not force:
        raise LumenError(f"{path} exists; choose another name or give `force`")
    if any(tensor.order is not None for tensor in file.tensors.values()):
        raise LumenError(
            f"{file.path}: columns of its weights are sorted (act-order), which a packed file cannot "
            "say; convert it first"
        )


def _write(
    path: Path,
    reader: Reader,
    file: ModelFile,
    session: Session,
    packer: Packer,
    registry: Registry,
    progress: Progress | None,
) -> None:
    """Write the packed matrices, then what programs read as it is in the source; nothing if that fails."""
    assert reader.create is not None
    needs = session.needs
    matrices = [(tensor, packer.size(tensor)) for tensor in session.tensors(needs.packed)]
    formats = sorted({tensor.format for tensor, _ in matrices})
    digests = packing_digests(registry, formats, session.formats, session.target)
    metadata = {key: value for key, value in file.metadata.items() if not key.startswith("split.")}
    metadata |= describe(matrices, digests, session.target.name, __version__)
    read = needs.raw | needs.plain | {rotary.factors for rotary in needs.rotaries}
    kept = [tensor for tensor in session.tensors(read) if tensor.name]
    identities = format_identities(registry, session.formats)
    total = sum(size for _, size in matrices)
    plan = [TensorPlan(WEIGHTS, "i8", (total,))]  # first, where the alignment of the data begins
    plan += [TensorPlan(t.name, t.format, t.shape, identities[t.format]) for t in kept]
    writer = reader.create(path, metadata, plan)
    try:
        done = 0
        for tensor, size in matrices:
            if progress is not None:
                progress("packing weights", done, total)
            packed = allocate(size, "packed weights")
            packer.pack(tensor, packed)
            writer.write(packed)
            done += size
        for tensor in kept:
            writer.write(tensor.data)
        writer.close()
    except BaseException:
        writer.abort()
        raise


def packers_for(here: Target) -> Linker:
    """Return a linker of the pack programs alone, which may follow another target's layout but run here."""

    def link_packers(requests: Mapping[str, Request], target: Target, cache: ObjectCache) -> Library:
        symbols = [symbol for symbol in requests if symbol.startswith("pack_")]
        kernels = [requests[symbol].build() for symbol in symbols]
        return Library([compile_object(emit_llvm(kernel, here), here) for kernel in kernels], symbols)

    return link_packers
