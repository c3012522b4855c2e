"""Model file -> model file in other formats, tensor by tensor: `plan` what each becomes, then `write`.

In: an opened file, the name of a format or mixture, overrides by pattern. Out: a file that exists under its
name only when it is complete. Memory stays at some pieces of rows, however large the model is.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from math import prod
from pathlib import Path

import numpy as np

from lumen_core.engine.chosen_formats import chosen_formats
from lumen_core.engine.convert import portable
from lumen_core.engine.encoders import compile_encoder
from lumen_core.engine.output_file import require_safe_output
from lumen_core.engine.session import file_formats, format_identities, load_formats
from lumen_core.errors import LumenError, ModelError, ModelFormatError, UnsupportedFormatError
from lumen_core.plugins.registry import Registry
from lumen_core.quant.encode import encode
from lumen_core.quant.normal_form import NormalForm
from lumen_core.quant.search import Engine
from lumen_core.quant.transcode import in_order
from lumen_core.runtime.cache import ObjectCache, default_directory
from lumen_core.target import Target
from lumen_core.weights.model_file import (
    FileTensor,
    FormatIdentity,
    Importance,
    ModelFile,
    Reader,
    TensorPlan,
)

_PIECE = 1 << 20  # weights that a thread converts at a time
_AHEAD = 4  # pieces per thread that wait to be written

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Change:
    """What one tensor becomes."""

    tensor: FileTensor
    format: str
    bytes: int
    fallback: str | None = None  # the format that was wanted, where its blocks do not divide the rows

    @property
    def elements(self) -> int:
        return prod(self.tensor.shape)


@dataclass(frozen=True)
class Job:
    """Everything that `write` needs; `poor`: tensors whose formats are poor without importances."""

    file: ModelFile
    reader: Reader
    mixture: str
    changes: tuple[Change, ...]
    forms: Mapping[str, NormalForm]
    identities: Mapping[str, FormatIdentity]
    importance: Importance | None = None
    poor: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(change.bytes for change in self.changes)


def plan(
    file: ModelFile,
    mixture: str,
    overrides: Sequence[tuple[str, str]] = (),
    *,
    registry: Registry,
    importance: Importance | None = None,
    requantize: bool = False,
    container: str = "gguf",
) -> Job:
    """Decide the format of every tensor.

    Args:
        mixture: a format for all matrices, or a mixture as the container names them ("q4_k_m").
        overrides: (regular expression, format): tensors whose name it matches get that format; of several
            that match, the last.
        requantize: allow sources whose weights are quantized already.

    Raises:
        UnsupportedFormatError, LumenError.
    """
    if container not in registry.readers:
        raise ModelError(f"no installed package writes {container} files")
    reader = registry.readers[container].value
    if reader.create is None or reader.formats is None:
        raise ModelError(f"{container} files can be read, but not written")
    layers = file.metadata.get(f"{file.architecture}.block_count")
    shapes = {name: tensor.shape for name, tensor in file.tensors.items()}
    count = layers if isinstance(layers, int) else 0
    chosen = chosen_formats(reader, registry, mixture, shapes, count, importance is not None)
    poor = reader.want_importance(mixture, chosen) if reader.want_importance and importance is None else []
    wanted: dict[str, str] = {}
    for pattern, format in overrides:
        names = _matching(pattern, shapes)
        for name in names:
            chosen |= chosen_formats(reader, registry, f"pure-{format}", {name: shapes[name]}, 0, False)
            wanted[name] = format
    forms = file_formats(registry, file) | load_formats(registry, set(chosen.values()))
    if not requantize:
        _refuse_twice(file, chosen, forms)
    changes = []
    for name, tensor in file.tensors.items():
        format = chosen[name]
        size = prod(tensor.shape[:-1]) * forms[format].row_bytes(tensor.shape[-1])
        asked = wanted.get(name)
        fallback = asked if asked not in (None, format) and len(tensor.shape) > 1 else None
        changes.append(Change(tensor, format, size, fallback))
    if importance is not None:
        _require_match(importance, changes)
    identities = format_identities(registry, forms)
    return Job(file, reader, mixture, tuple(changes), forms, identities, importance, tuple(poor))


def _matching(pattern: str, names: Mapping[str, object]) -> list[str]:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise LumenError(f"{pattern!r} is not a regular expression: {error}") from None
    found = [name for name in names if expression.search(name)]
    if not found:
        example = next(iter(names), "nothing")
        raise LumenError(f"no tensor's name matches {pattern!r}; the file has names like {example}")
    return found


def _refuse_twice(file: ModelFile, chosen: Mapping[str, str], forms: Mapping[str, NormalForm]) -> None:
    for name, tensor in file.tensors.items():
        if forms[tensor.format].kind != "float" and chosen[name] != tensor.format:
            raise LumenError(
                f"{file.path} is quantized already ({name} is {tensor.format}); quantizing it again adds up "
                "the errors. Start from the original, or give `requantize`"
            )


def _require_match(importance: Importance, changes: Sequence[Change]) -> None:
    known = {change.tensor.name: change.tensor for change in changes}
    if not any(name in known for name in importance.sums):
        raise LumenError("the importance file names none of the model's tensors; it is of another model")
    for name, sums in importance.sums.items():
        shape = known[name].shape if name in known else ()
        if shape and sums.size not in (shape[-1], prod(shape[:-2]) * shape[-1]):
            raise LumenError(
                f"the importance file has {sums.size} columns for {name}, the model has "
                f"{prod(shape[:-2]) * shape[-1]}; it is of another model"
            )


def write(
    job: Job, path: str | Path, target: Target, threads: int = 1, progress: Progress | None = None
) -> Path:
    """Convert every tensor by code for `target`; the file appears when it is complete, or not at all."""
    path = Path(path)
    require_safe_output(path, job.file)
    free = shutil.disk_usage(path.parent).free
    if free < job.bytes:
        raise LumenError(f"{path} needs {job.bytes} bytes, but its disk has {free} left")
    assert job.reader.create is not None
    entries = [
        TensorPlan(change.tensor.name, change.format, change.tensor.shape, job.identities[change.format])
        for change in job.changes
    ]
    writer = job.reader.create(path, _metadata(job), entries)
    total, done = sum(change.elements for change in job.changes), 0
    objects = ObjectCache(default_directory())

    @cache
    def engine(format: str, weighted: bool) -> Engine:
        return compile_encoder(job.forms[format], target, objects, weighted)

    try:
        with ThreadPoolExecutor(threads, thread_name_prefix="lumen-quantize") as pool:
            for change in job.changes:
                if progress is not None:
                    progress("quantizing", done, total)
                for data in _converted(job, change, engine, pool, threads):
                    writer.write(data)
                job.file.release(change.tensor)
                done += change.elements
        if progress is not None:
            progress("quantizing", total, total)
        writer.close()
    except BaseException:
        writer.abort()
        raise
    return path


def _metadata(job: Job) -> dict[str, object]:
    found = job.file.metadata
    if job.file.path.is_dir():  # a checkpoint's own names for things
        found = portable(found, [])
    kept = {key: value for key, value in found.items() if not key.startswith("split.")}
    if job.reader.labels is not None:
        kept |= job.reader.labels(job.mixture)
    if job.importance is not None:
        kept["quantize.imatrix.entries_count"] = len(job.importance.sums)
        kept["quantize.imatrix.chunks_count"] = job.importance.chunks
        kept["quantize.imatrix.dataset"] = ", ".join(job.importance.datasets)
    return kept


def _converted(
    job: Job,
    change: Change,
    engines: Callable[[str, bool], Engine],
    pool: ThreadPoolExecutor,
    threads: int,
) -> Iterator[np.ndarray]:
    """The bytes of a tensor, piece by piece in order; a tensor that keeps its format is copied."""
    tensor = change.tensor
    if tensor.format == change.format and tensor.order is None:
        yield tensor.data
        return
    source, form = job.forms[tensor.format], job.forms[change.format]
    matrix = tensor.data.reshape(-1, source.row_bytes(tensor.shape[-1]))
    importance = job.importance.of(tensor.name, tensor.shape[-1]) if job.importance is not None else None
    engine = engines(change.format, importance is not None)
    step = max(1, _PIECE // tensor.shape[-1])

    def piece(first: int) -> np.ndarray:
        rows = matrix[first : first + step]
        matters = _of_rows(importance, len(matrix), first, len(rows))
        try:
            return encode(form, in_order(source.decode(rows), tensor.order), matters, engine)
        except UnsupportedFormatError as error:
            raise ModelFormatError(f"tensor {tensor.name} (rows from {first}): {error}") from None

    starts = range(0, len(matrix), step)
    for begin in range(0, len(starts), _AHEAD * threads):
        yield from pool.map(piece, starts[begin : begin + _AHEAD * threads])


def _of_rows(importance: np.ndarray | None, rows: int, first: int, count: int) -> np.ndarray | None:
    """The importance of some rows: one vector for all, or one per matrix of a stack."""
    if importance is None or len(importance) == 1:
        return None if importance is None else importance[0]
    return importance[np.arange(first, first + count) * len(importance) // rows]
