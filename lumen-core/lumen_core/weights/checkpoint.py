"""A checkpoint directory (config.json, safetensors, tokenizer files) as a `ModelFile`.

In: the directory, the `Checkpoint` that its `model_type` chose, and the tokenizer's metadata.
Out: the same names and keys that a single file of that model has.  A tensor whose rows need another order,
or that is stacked from several, is put together when its bytes are asked for, so that nothing is kept twice.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np

from lumen_core.errors import ModelFormatError
from lumen_core.weights.mapping import Checkpoint
from lumen_core.weights.model_file import FileTensor, MadeTensor, MappedFile, ModelFile
from lumen_core.weights.safetensors import open_safetensors, read_json
from lumen_core.weights.settings import read_settings

CONFIG = "config.json"
_SHOWN = 5


def read_config(directory: Path) -> dict[str, Any]:
    config = read_json(directory / CONFIG)
    if not isinstance(config, dict):
        raise ModelFormatError(f"{directory / CONFIG} is no table of settings")
    return config


def model_type(directory: Path, config: Mapping[str, Any]) -> str:
    kind = config.get("model_type")
    if not isinstance(kind, str) or not kind:
        raise ModelFormatError(f"{directory / CONFIG}: model_type is missing, so the model is not known")
    return kind


Gather = Callable[[dict[str, FileTensor]], dict[str, FileTensor]]


def open_checkpoint(
    directory: Path,
    checkpoint: Checkpoint,
    vocabulary: Mapping[str, object],
    gather: Gather = dict,
) -> ModelFile:
    """Map a directory's tensors under our names; raises ModelFormatError naming what does not fit.

    gather  makes one tensor of the several that hold a quantized weight
    """
    config = read_config(directory)
    if checkpoint.section:
        section = config.get(checkpoint.section)
        if not isinstance(section, dict):
            raise ModelFormatError(f"{directory / CONFIG}: the section {checkpoint.section} is missing")
        shared = {key: config[key] for key in ("tie_word_embeddings",) if key in config}
        config = {**section, **shared}
    settings = read_settings(directory / CONFIG, config, checkpoint)
    keys, divisors = settings.keys, settings.divisors
    found, sources = open_safetensors(directory)
    try:
        tensors = _Names(directory, checkpoint, keys, gather(found)).all(
            bool(config.get("tie_word_embeddings", False))
        )
        if divisors is not None:
            data = divisors.view(np.uint8)
            tensors["rope_freqs.weight"] = FileTensor("rope_freqs.weight", "f32", divisors.shape, data)
        name = config.get("_name_or_path")
        metadata = {
            "general.architecture": checkpoint.architecture,
            "general.name": name if isinstance(name, str) and name else directory.resolve().name,
            **{f"{checkpoint.architecture}.{key}": value for key, value in keys.items()},
            **padded(directory, vocabulary, tensors),
        }
        remarks = tuple(f"{CONFIG}: {one} is not used" for one in settings.unused)
        return ModelFile(directory, checkpoint.architecture, metadata, tensors, sources, remarks=remarks)
    except BaseException:
        found.clear()
        _close(sources)
        raise


def _close(sources: Iterable[MappedFile]) -> None:
    for source in sources:
        source.close()


class _Names:
    """Their tensors under our names."""

    def __init__(self, directory: Path, checkpoint: Checkpoint, keys: Mapping[str, object],
                 found: dict[str, FileTensor]):  # fmt: skip
        self.directory = directory
        self.checkpoint = checkpoint
        self.keys = keys
        self.found = found
        self.used: set[str] = set()
        self.missing: list[str] = []

    def all(self, tied: bool) -> dict[str, FileTensor]:
        layers = self.keys["block_count"]
        assert isinstance(layers, int)
        tensors: dict[str, FileTensor] = {}
        for ours, names in self.checkpoint.tensors.items():
            several = (names,) if isinstance(names, str) else names
            if tied and ours == self.checkpoint.head:
                self.used.update(several)  # stored or not, it is the embedding
                continue
            for layer in range(layers) if "{layer}" in ours else (0,):
                name = ours.replace("{layer}", str(layer))
                theirs = self.there([one.replace("{layer}", str(layer)) for one in several])
                tensor = self.one(ours, name, theirs)
                if tensor is not None:
                    tensors[name] = tensor
            if len(self.missing) > _SHOWN:
                break
        if self.missing:
            raise ModelFormatError(f"{self.directory}: missing tensor(s): {_some(self.missing)}")
        self.refuse_surplus()
        return tensors

    def there(self, names: Sequence[str]) -> str:
        """The first of the names that the directory has; the first of all if it has none."""
        stored = (name.split("[")[0].replace("{expert}", "0") for name in names)
        return next((name for name, one in zip(names, stored, strict=True) if one in self.found), names[0])

    def one(self, pattern: str, name: str, theirs: str) -> FileTensor | None:
        if "{expert}" in theirs:
            count = self.keys.get("expert_count")
            if not isinstance(count, int) or not 0 < count < 1 << 16:
                raise ModelFormatError(f"{self.directory / CONFIG}: the number of experts is {count!r}")
            parts = [self.found.get(theirs.replace("{expert}", str(number))) for number in range(count)]
            if pattern in self.checkpoint.optional and not any(parts):
                return None
            for number, part in enumerate(parts):
                if part is None:
                    self.missing.append(f"{theirs.replace('{expert}', str(number))} (part of {name})")
                    return None
            return self.stacked(name, theirs, [part for part in parts if part is not None])
        theirs, _, share = theirs.rstrip("]").partition("[")
        tensor = self.found.get(theirs)
        if tensor is None:
            if pattern not in self.checkpoint.optional:
                self.missing.append(f"{theirs} ({name})")
            return None
        self.used.add(theirs)
        if share:
            number, count = map(int, share.split("/"))
            return self.part(name, tensor, number, count)
        heads_key = self.checkpoint.interleaved.get(pattern)
        if heads_key is not None:
            return self.interleaved(name, tensor, heads_key)
        shape = tensor.shape
        if len(shape) == 3 and shape[1] == 1:  # a convolution over one channel each
            shape = (shape[0], shape[2])
        if shape != tensor.shape:
            return FileTensor(name, tensor.format, shape, tensor.data, tensor.name)
        return tensor.named(name, tensor.name)

    def stacked(self, name: str, theirs: str, parts: list[FileTensor]) -> FileTensor:
        first = parts[0]
        for part in parts:
            self.used.add(part.name)
            if (part.shape, part.format) != (first.shape, first.format):
                raise ModelFormatError(
                    f"{self.directory}: tensor {part.name} is {part.format} {list(part.shape)}, but "
                    f"{first.name} is {first.format} {list(first.shape)}"
                )
        if first.order is not None:
            raise ModelFormatError(f"{self.directory}: {first.name}: sorted columns of experts are not read")
        return MadeTensor(name, first.format, (len(parts), *first.shape), theirs,
                          lambda: np.concatenate([part.data for part in parts]), parts,
                          sum(part.nbytes for part in parts))  # fmt: skip

    def part(self, name: str, tensor: FileTensor, number: int, count: int) -> FileTensor:
        """Rows of every matrix of a stack: part `number` of `count` that stand one behind the other."""
        *stack, rows, length = tensor.shape if len(tensor.shape) > 1 else (1, 1, *tensor.shape)
        if rows % count:
            raise ModelFormatError(
                f"{self.directory}: tensor {tensor.name} with shape {list(tensor.shape)} does not divide "
                f"into {count} parts"
            )

        def make() -> np.ndarray:
            parts = tensor.data.reshape(int(np.prod(stack)), count, -1)
            return np.ascontiguousarray(parts[:, number])

        shape = (*stack, rows // count, length)
        return MadeTensor(name, tensor.format, shape, tensor.name, make, (tensor,), tensor.nbytes // count,
                          tensor.order)  # fmt: skip

    def interleaved(self, name: str, tensor: FileTensor, heads_key: str) -> FileTensor:
        """Rows of each head: first half, second half -> pairs (0, half), (1, half + 1), ..."""
        heads = self.keys.get(heads_key, self.keys["attention.head_count"])
        if not isinstance(heads, int) or heads < 1 or not tensor.shape or tensor.shape[0] % (2 * heads):
            raise ModelFormatError(
                f"{self.directory}: tensor {tensor.name} with shape {list(tensor.shape)} does not divide "
                f"into {heads} heads of pairs"
            )
        half = tensor.shape[0] // (2 * heads)

        def make() -> np.ndarray:
            return tensor.data.reshape(heads, 2, half, -1).swapaxes(1, 2).copy()

        return MadeTensor(name, tensor.format, tensor.shape, tensor.name, make, (tensor,), tensor.nbytes,
                          tensor.order)  # fmt: skip

    def is_ignored(self, name: str, pattern: str) -> bool:
        before, beyond, behind = pattern.partition("{beyond}")
        if not beyond:
            return fnmatchcase(name, pattern)
        number, dot, rest = name.removeprefix(before).partition(behind[:1])
        layers = self.keys["block_count"]
        assert isinstance(layers, int)
        fits = name.startswith(before) and number.isdecimal() and fnmatchcase(dot + rest, behind)
        return fits and int(number) >= layers

    def refuse_surplus(self) -> None:
        surplus = [
            name
            for name in sorted(self.found.keys() - self.used)
            if not any(self.is_ignored(name, pattern) for pattern in self.checkpoint.ignored)
            and not self.zero_bias(name)
        ]
        if surplus:
            raise ModelFormatError(
                f"{self.directory}: the model {self.checkpoint.architecture} has no use for the tensor(s) "
                f"{_some(surplus)}; the checkpoint is of another kind than its model_type says"
            )

    def zero_bias(self, name: str) -> bool:
        """Tell whether a tensor is a bias of zeros: some quantizers give one to every module."""
        return name.endswith(".bias") and not self.found[name].data.any()


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(name[:120] for name in names[:_SHOWN]) + more


def padded(
    directory: Path, vocabulary: Mapping[str, object], tensors: Mapping[str, FileTensor]
) -> dict[str, object]:
    """Give a token to every row of the embedding; rows beyond the tokenizer's are never shown."""
    tokens, kinds = vocabulary.get("tokenizer.ggml.tokens"), vocabulary.get("tokenizer.ggml.token_type")
    table = tensors.get("token_embd.weight")
    result = dict(vocabulary)
    if table is None or not isinstance(tokens, list) or not isinstance(kinds, np.ndarray) or not table.shape:
        return result
    rows, count = table.shape[0], len(tokens)
    if count > rows:
        while count > rows and re.fullmatch(r"\[PAD\d+\]", tokens[count - 1]):
            count -= 1
        if count > rows:
            raise ModelFormatError(
                f"{directory}: the tokenizer has {len(tokens)} tokens, but the embedding ({table.origin}) "
                f"has {rows} rows; they do not belong together"
            )
    result["tokenizer.ggml.tokens"] = tokens[:count] + [f"[PAD{number}]" for number in range(count, rows)]
    result["tokenizer.ggml.token_type"] = np.concatenate(
        [kinds[:count], np.full(rows - count, 5, np.int32)]  # 5: never produced nor read
    )
    scores = vocabulary.get("tokenizer.ggml.scores")
    if isinstance(scores, np.ndarray):
        low = np.full(rows - count, -1e6, np.float32)
        result["tokenizer.ggml.scores"] = np.concatenate([scores[:count], low])
    return result
