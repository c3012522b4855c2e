"""From what a user names to an opened model: a shipped name, a file, a checkpoint directory, a name on a hub.

In: `demo`, `model.gguf`, `./checkpoint`, `org/name` or `hf:org/name[@revision][:file]`.  Out: a `ModelFile`.
A path that exists always wins over a hub's name.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

from lumen_core.engine.gathering import gathered_checkpoint, gathered_file
from lumen_core.engine.hub import HubName, fetch, hub_name
from lumen_core.errors import ModelError, ModelFormatError
from lumen_core.plugins.registry import Registry
from lumen_core.weights.checkpoint import CONFIG, model_type, open_checkpoint, read_config
from lumen_core.weights.mapping import Checkpoint
from lumen_core.weights.model_file import ModelFile
from lumen_core.weights.packed_file import open_packed
from lumen_core.weights.tokenizer_files import read_tokenizer

Progress = Callable[[str, int, int], None]


def locate(name: str | Path, registry: Registry, progress: Progress | None = None,
           revision: str | None = None) -> Path:  # fmt: skip
    """Return the file or directory that a name stands for, fetching it if it is a hub's name."""
    if not isinstance(name, str | Path):
        raise ModelError(f"the name of a model is a text or a path, found {name!r:.60}")
    if not str(name).strip():
        raise ModelError("the name of the model is empty; give a file, a directory, a hub's name or `demo`")
    path = registry.file(name)
    try:
        found = path.exists()
    except OSError as error:  # a name that the system refuses
        raise ModelError(f"{path}: {error.strerror}") from None
    if isinstance(name, Path) or found:
        return path
    wanted: HubName | None = hub_name(name)
    return path if wanted is None else fetch(wanted, revision, progress)


def open_model(name: str | Path, registry: Registry, progress: Progress | None = None,
               revision: str | None = None) -> ModelFile:  # fmt: skip
    """Open what a name stands for; raises ModelFormatError, ModelError or TokenizerError."""
    path = locate(name, registry, progress, revision)
    if path.is_dir():
        path = inside(path)
    if path.is_dir():
        return open_directory(path, registry)
    file = registry.reader(path).open(path)
    try:
        return open_packed(gathered_file(registry, file))
    except BaseException:
        file.close()
        raise


def inside(directory: Path) -> Path:
    """A directory that is no checkpoint may hold one model file (the first part of a split one)."""
    if (directory / CONFIG).is_file():
        return directory
    files = sorted(directory.glob("*.gguf"))
    firsts = [path for path in files if "-of-" not in path.name or "-00001-of-" in path.name]
    if len(firsts) == 1:
        return firsts[0]
    if firsts:
        shown = ", ".join(path.name for path in firsts[:6])
        raise ModelFormatError(f"{directory} holds several models; name one of them: {shown}")
    raise ModelFormatError(f"{directory} has no {CONFIG} and no model file, so it is no model")


def checkpoint_of(directory: Path, registry: Registry) -> Checkpoint:
    """The kind of a checkpoint directory, by its `model_type`."""
    kind = model_type(directory, read_config(directory))
    known: dict[str, Checkpoint] = {}
    for entry in registry.models.values():
        for checkpoint in entry.value.checkpoints:
            known.update(dict.fromkeys(checkpoint.model_types, checkpoint))
    if kind not in known:
        raise ModelError(
            f"{directory / CONFIG}: no installed package reads checkpoints of the model_type {kind[:60]!r}\n"
            f"known: {', '.join(sorted(known)) or 'none'}"
        )
    return known[kind]


def open_directory(directory: Path, registry: Registry) -> ModelFile:
    checkpoint, config = checkpoint_of(directory, registry), read_config(directory)
    gather = partial(gathered_checkpoint, registry, directory / CONFIG, config)
    return open_checkpoint(directory, checkpoint, read_tokenizer(directory, config), gather)


def read_vocabulary(name: str | Path, registry: Registry) -> dict[str, object]:
    """The tokenizer's metadata alone; a directory needs no weights and no known model for that."""
    path = locate(name, registry)
    if path.is_dir():
        path = inside_vocabulary(path)
    if path.is_dir():
        config = read_config(path) if (path / CONFIG).is_file() else {}
        return read_tokenizer(path, config)
    if path.name == "tokenizer.json" or path.name == "tokenizer.model":
        return read_tokenizer(path.parent, {})
    with registry.reader(path).open(path) as file:
        return dict(file.metadata)


def inside_vocabulary(directory: Path) -> Path:
    if any((directory / name).is_file() for name in ("tokenizer.json", "tokenizer.model")):
        return directory
    return inside(directory)
