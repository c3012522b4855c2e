"""Model files of real shapes with random weights: what tests and benchmarks run on.

In: the name of a shape, a format or mixture, and (optionally) a file whose vocabulary is taken.
Out: a model file that any engine loads.  Which tensors there are comes from the model's own page (`.lum`),
how they lie in bytes from the formats' declarations: every model and format that is installed can be made.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from lumen_core.dsl.configuration import Configuration, configure
from lumen_core.dsl.library import load
from lumen_core.dsl.typed import TypedModel, TypedWeight
from lumen_core.engine.chosen_formats import chosen_formats
from lumen_core.engine.random_weights import RandomBlocks
from lumen_core.engine.session import format_identities, load_formats
from lumen_core.engine.shapes import Shape, shape
from lumen_core.engine.sources import open_model
from lumen_core.errors import ModelError
from lumen_core.plugins.registry import Registry
from lumen_core.quant.store import float_bytes
from lumen_core.text.vocabulary import CHARACTER_OF_BYTE, CONTROL, NORMAL, UNUSED
from lumen_core.weights.model_file import TensorPlan

_ENDINGS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_TEMPLATE = (
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def synthesize(name: str, path: str | Path, format: str = "q4_0", vocabulary: str | Path | None = None,
               seed: int = 0, overrides: Mapping[str, object] | None = None, *,
               registry: Registry | None = None, container: str = "gguf") -> Path:  # fmt: skip
    """Write a model file; an existing one is replaced only when the new one is complete.

    format      any declared format, for all matrices that it fits, or a mixture ("q4_k_m") of the container
    vocabulary  a file whose tokenizer is taken; None makes a small one of the 256 bytes
    overrides   fields of the shape to change, e.g. {"layers": 1}
    """
    registry = registry or Registry.load()
    sizes = shape(name, overrides)
    path = Path(path)
    if container not in registry.readers:
        raise ModelError(f"no installed package writes {container} files")
    reader = registry.readers[container].value
    if reader.create is None or reader.formats is None:
        raise ModelError(f"{container} files can be read, but not written")
    words = _vocabulary(registry, vocabulary, sizes)
    rows = len(words["tokenizer.ggml.tokens"])  # type: ignore[arg-type]
    model = _model(registry, sizes.architecture)
    numbers = {**sizes.metadata(), "vocab_size": rows}
    tensors = tensors_of(model, configure(model, numbers.get), sizes)
    matrices = {name: extent for name, extent in tensors.items() if len(extent) > 1}
    formats = chosen_formats(reader, registry, format, matrices, sizes.layers, False)
    forms = load_formats(registry, {*formats.values(), "f32"})
    identities = format_identities(registry, forms)
    chosen = {name: formats.get(name, "f32") for name in tensors}
    plan = [TensorPlan(name, kind, tensors[name], identities[kind]) for name, kind in chosen.items()]
    metadata = {
        "general.architecture": sizes.architecture,
        "general.name": f"{name} with random weights, seed {seed}",
        **{f"{sizes.architecture}.{key}": value for key, value in numbers.items()},
        **words,
    }
    makers = {kind: RandomBlocks(forms[kind]) for kind in dict.fromkeys(entry.format for entry in plan)}
    writer = reader.create(path, metadata, plan)
    try:
        for entry in plan:
            # each tensor has numbers of its own, whatever stands before it
            generator = np.random.default_rng([seed, zlib.crc32(entry.name.encode())])
            for chunk in _data(entry, sizes, makers[entry.format], generator):
                writer.write(chunk)
        writer.close()
    except BaseException:
        writer.abort()
        raise
    return path


def _model(registry: Registry, architecture: str) -> TypedModel:
    source = registry.model(architecture)
    return load(source.path, registry.formats, registry.folders).models[source.name]


def tensors_of(model: TypedModel, config: Configuration, sizes: Shape) -> dict[str, tuple[int, ...]]:
    """The shapes of all tensors of a file, by name; optional ones only where the shape asks for them."""
    found = {}

    def add(weight: TypedWeight, layer: int = 0) -> None:
        found[weight.tensor.format(layer=layer)] = weight.type.substitute(config.sizes).sizes

    for weight in model.weights.values():
        if weight.otherwise == "ones":
            if sizes.rope_factor:
                add(weight)
        elif weight.otherwise is None or not sizes.tied:
            add(weight)
    for layer in range(sizes.layers):
        settings = config.of_layer(layer)
        for weight in model.layer_weights.values():
            if weight.otherwise is None and settings.get(str(weight.condition), 1):
                add(weight, layer)
    return found


def _data(entry: TensorPlan, sizes: Shape, blocks: RandomBlocks,
          generator: np.random.Generator) -> Iterator[np.ndarray]:  # fmt: skip
    """Values that keep a signal alive: norms near 1, small biases, matrices by their width."""
    if len(entry.shape) > 1:
        rows, columns = int(np.prod(entry.shape[:-1])), entry.shape[-1]
        yield from blocks.rows(generator, rows, columns, columns**-0.5)
        return
    if entry.name.startswith("rope_"):
        values = np.array(sizes.rope_factors(), np.float32)
    else:
        values = generator.standard_normal(entry.shape, np.float32) * np.float32(0.1)
        if "norm" in entry.name:
            values += 1
    yield float_bytes(values, entry.format)


def _vocabulary(registry: Registry, source: str | Path | None, sizes: Shape) -> dict[str, object]:
    """The `tokenizer.*` keys, with as many tokens as the shape has rows (or more)."""
    if source is None:
        words = _byte_vocabulary()
    else:
        path = Path(source)
        with open_model(path, registry) as file:
            words = {key: value.tolist() if hasattr(value, "tolist") and key.endswith(("tokens", "merges"))
                     else value.copy() if isinstance(value, np.ndarray) else value
                     for key, value in file.metadata.items() if key.startswith("tokenizer.")}  # fmt: skip
        if "tokenizer.ggml.tokens" not in words:
            raise ModelError(f"{source} has no vocabulary (tokenizer.ggml.tokens)")
    tokens = list(words["tokenizer.ggml.tokens"])  # type: ignore[call-overload]
    missing = sizes.vocabulary - len(tokens)
    if missing > 0:
        words["tokenizer.ggml.tokens"] = tokens + [f"[PAD{len(tokens) + i}]" for i in range(missing)]
        for key, value in (("token_type", UNUSED), ("scores", 0)):
            known = words.get(f"tokenizer.ggml.{key}")
            if isinstance(known, np.ndarray):
                words[f"tokenizer.ggml.{key}"] = np.append(known, np.full(missing, value, known.dtype))
    return words


def _byte_vocabulary() -> dict[str, object]:
    """256 bytes and the marks of a chat: enough to run, and to read any text."""
    tokens = [CHARACTER_OF_BYTE[byte] for byte in range(256)]
    kinds = [NORMAL] * 256 + [CONTROL] * len(_ENDINGS)
    return {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": "gpt-2",
        "tokenizer.ggml.tokens": [*tokens, *_ENDINGS],
        "tokenizer.ggml.token_type": np.array(kinds, np.int32),
        "tokenizer.ggml.merges": [],
        "tokenizer.ggml.bos_token_id": 256,
        "tokenizer.ggml.eos_token_id": 258,
        "tokenizer.ggml.padding_token_id": 256,
        "tokenizer.ggml.add_bos_token": False,
        "tokenizer.chat_template": _TEMPLATE,
    }
