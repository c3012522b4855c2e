"""A model page meets a file: its settings, and for every weight the page names the tensor that holds it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lumen_core.dsl.configuration import SCALING_KEYS, Configuration, configure
from lumen_core.dsl.library import load
from lumen_core.dsl.typed import TypedModel, TypedModule, TypedWeight
from lumen_core.errors import LumenError, ModelError
from lumen_core.plugins.registry import Registry
from lumen_core.types import Dim
from lumen_core.weights.model_file import FileTensor, ModelFile

DEFAULT_CONTEXT = 4096  # tokens, where nobody asks for more: keys and values cost memory
LARGEST_LAYERS = 1000
# Keys below "<architecture>." that no step computes with, or that tensors say as well.
_WITHOUT_EFFECT = frozenset((
    "context_length", "vocab_size", "attention.value_length", "attention.causal", "tensor_data_layout",
    "rope.dimension_count", "rope.dimension_sections", "rope.scaling.finetuned", "pooling_type",
    "use_parallel_residual", "nextn_predict_layers",
))  # fmt: skip


@dataclass(frozen=True)
class BoundModel:
    """Settings and tensors of one file.

    weights  model weights by name
    layers   weights of every layer by name; a weight that only some layers have is missing in the others
    context  tokens of a text in training
    remarks  settings of the file that nothing computes with
    """

    configuration: Configuration
    weights: Mapping[str, FileTensor]
    layers: tuple[Mapping[str, FileTensor], ...]
    context: int
    remarks: tuple[str, ...] = ()

    @property
    def reach(self) -> int:
        """Tokens that positions reach: those of the training, or as far as the file stretches them."""
        scalings = self.configuration.scalings.values()
        return max([self.context, *(int(one.factor * one.original) for one in scalings)])

    @property
    def parameters(self) -> int:
        """Numbers in all tensors, each counted once."""
        seen = {id(t): t for table in (self.weights, *self.layers) for t in table.values()}
        return sum(int(np.prod(t.shape, dtype=object)) for t in seen.values() if t.name)


def context_length(asked: int | None, bound: BoundModel) -> int:
    """Return the tokens that a conversation may have: as asked, those of the training for 0, else a few.

    Where a file stretches its positions (YaRN), what is asked for may go beyond the training.
    """
    if asked is None or asked == 0:
        return min(bound.context, DEFAULT_CONTEXT) if asked is None else bound.context
    if not isinstance(asked, int) or not 1 <= asked <= bound.reach:
        limit = (
            "the model's training" if bound.reach == bound.context else "as far as positions are stretched"
        )
        raise LumenError(f"the context must be 1 to {bound.reach} tokens ({limit}), found {asked!r}")
    return asked


def load_page(registry: Registry, architecture: str) -> tuple[TypedModule, TypedModel]:
    """Return the checked page of the model for an architecture."""
    source = registry.model(architecture)
    module = load(source.path, folders=registry.folders)
    return module, module.models[source.name]


def bind(model: TypedModel, file: ModelFile) -> BoundModel:
    """Find every weight of the page in the file; raises ModelError naming what is missing or misshapen."""
    try:
        configuration = configure(model, lambda key: _metadata(file, key))
    except ModelError as error:
        raise ModelError(f"{file.path}: {error}") from None
    layers = configuration.sizes.get("L")
    if layers is None or layers > LARGEST_LAYERS:
        expected = f"a model page names their number L, at most {LARGEST_LAYERS}"
        raise ModelError(f"{file.path}: {layers} layers; {expected}")
    sizes: dict[str, Dim | int] = dict(configuration.sizes)
    weights: dict[str, FileTensor] = {}
    used: set[str] = set()
    for weight in model.weights.values():
        weights[weight.name] = _find(file, weight, weight.tensor, sizes, weights, used)
    found = []
    for layer in range(layers):
        table: dict[str, FileTensor] = {}
        settings = configuration.of_layer(layer)
        for weight in model.layer_weights.values():
            if weight.condition is not None and not settings[weight.condition]:
                continue
            name = weight.tensor.replace("{layer}", str(layer))
            table[weight.name] = _find(file, weight, name, sizes, table, used)
        found.append(table)
    surplus = sorted(name for name in set(file.tensors) - used if not _unused(name, model.unused, layers))
    if surplus:
        shown = ", ".join(surplus[:5]) + (f" and {len(surplus) - 5} more" if len(surplus) > 5 else "")
        raise ModelError(
            f"{file.path}: the model {model.name} has no use for the tensor(s) {shown}; "
            "the file is of another architecture than it says, or of a newer version of it"
        )
    context = _metadata(file, "context_length")
    limit = int(context) if isinstance(context, int | np.integer) and int(context) > 0 else 2048
    return BoundModel(configuration, weights, tuple(found), limit, _remarks(model, file))


def _unused(name: str, patterns: tuple[str, ...], layers: int) -> bool:
    """Tell whether the page says that nothing reads the tensor; `{beyond}` is a number from `layers` on."""
    for pattern in patterns:
        parts = [re.escape(part).replace(r"\*", ".*") for part in pattern.split("{beyond}")]
        found = re.fullmatch(r"(\d+)".join(parts), name)
        if found and all(int(number) >= layers for number in found.groups()):
            return True
    return False


def _remarks(model: TypedModel, file: ModelFile) -> tuple[str, ...]:
    """Settings that have a value, and that neither the page reads nor is known to change nothing."""
    keys = {str(entry.key) for entry in model.config}
    read = keys | _WITHOUT_EFFECT | {f"{key}.{part}" for key in keys for part in SCALING_KEYS}
    start = f"{file.architecture}."
    left = []
    for name, value in file.metadata.items():
        key = name.removeprefix(start)
        if key != name and key not in read and np.any(value):  # type: ignore[call-overload]
            left.append(f"{name} = {str(value)[:60]} is not used")
    return (*file.remarks, *left)


def _metadata(file: ModelFile, key: str) -> object:
    value = file.metadata.get(f"{file.architecture}.{key}")
    if value is None and key == "vocab_size":
        tokens = file.metadata.get("tokenizer.ggml.tokens")
        return len(tokens) if tokens is not None else None  # type: ignore[arg-type]
    if isinstance(value, np.ndarray) and value.ndim == 1 and value.size and (value == value[0]).all():
        return value[0].item()  # one number per layer, all the same
    return value


def _find(
    file: ModelFile,
    weight: TypedWeight,
    name: str,
    sizes: Mapping[str, Dim | int],
    known: Mapping[str, FileTensor],
    used: set[str],
) -> FileTensor:
    shape = weight.type.substitute(sizes).sizes
    tensor = file.tensors.get(name)
    if tensor is None and weight.otherwise == "ones":
        ones = np.ones(shape, np.float32)
        return FileTensor("", "f32", shape, ones.reshape(-1).view(np.uint8))
    if tensor is None and weight.otherwise is not None:
        return known[weight.otherwise]
    if tensor is None:
        raise ModelError(f"{file.path}: the tensor {name} is missing; the model {file.architecture} needs it")
    used.add(name)
    if tensor.shape != shape:
        raise ModelError(
            f"{file.path}: the tensor {name}{f' ({tensor.origin})' if tensor.origin else ''} has shape "
            f"{list(tensor.shape)}, expected {list(shape)} "
            f"from the file's own settings"
        )
    return tensor
