"""A checkpoint directory into one model file that other engines read too.

In: the name of a model (usually a directory) and a path.  Out: a file of the container that its suffix names.
Matrices keep their bytes (or become the element type that is asked for), vectors become f32. What one file
cannot say otherwise, such as how texts are composed, stays in it as the original `tokenizer.json`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from lumen_core.engine.output_file import require_safe_output
from lumen_core.engine.rewriting import Rewriting
from lumen_core.engine.session import format_identities, load_formats
from lumen_core.engine.sources import checkpoint_of, open_model
from lumen_core.errors import LumenError, ModelError, TokenizerError
from lumen_core.plugins.registry import Registry
from lumen_core.text.huggingface import JSON_KEY, PROTO_KEY
from lumen_core.text.recognize import recognized
from lumen_core.text.vocabulary import BYTE_LEVEL
from lumen_core.weights.model_file import FileTensor, ModelFile, TensorPlan

Progress = Callable[[str, int, int], None]
ELEMENTS = ("f32", "f16", "bf16")


def convert(source: str | Path, path: str | Path, element: str | None = None, *, force: bool = False,
            progress: Progress | None = None, registry: Registry | None = None) -> list[str]:  # fmt: skip
    """Write a model file; return remarks on what other engines will not do as this one.

    element  of the matrices: f32, f16 or bf16; or a format, for quantized matrices that the container cannot
             say as they are. None keeps what the checkpoint has, where that can be said exactly
    force    replace a file that exists
    """
    registry = registry or Registry.load()
    path = Path(path)
    reader = registry.container(path)
    assert reader.create is not None
    if path.exists() and not force:
        raise LumenError(f"{path} exists; choose another name or give `force`")
    with open_model(source, registry) as file:
        require_safe_output(path, file)
        remarks = [*file.remarks, *_elsewhere(file, registry)]
        metadata = portable(file.metadata, remarks)
        tensors = list(file.tensors.values())
        forms = load_formats(registry, {t.format for t in tensors})
        if element is not None and element not in ELEMENTS and forms.keys() <= {*ELEMENTS, *reader.holds}:
            raise LumenError(
                f"{element} is no element type; known: {', '.join(ELEMENTS)}. `lumen quantize` makes other "
                "formats of them"
            )
        rewriting = Rewriting(registry, forms, reader.holds, element)
        formats = [_element(t, element) if t.format in ELEMENTS else rewriting.format(t) for t in tensors]
        identities = format_identities(registry, {name: forms[name] for name in set(formats)})
        plan = [TensorPlan(t.name, name, t.shape, identities[name])
                for t, name in zip(tensors, formats, strict=True)]  # fmt: skip
        writer = reader.create(path, metadata, plan)
        try:
            for number, (tensor, entry) in enumerate(zip(tensors, plan, strict=True)):
                if progress is not None:
                    progress("writing", number, len(tensors))
                if tensor.format in ELEMENTS:
                    writer.write(_data(tensor, entry.format, lambda t: forms[t.format].decode(t.data)))
                else:
                    for piece in rewriting.pieces(tensor, entry.format):
                        writer.write(piece)
                file.release(tensor)
            writer.close()
        except BaseException:
            writer.abort()
            raise
    return remarks


def _elsewhere(file: ModelFile, registry: Registry) -> Sequence[str]:
    """What other engines do not compute as the checkpoint's settings say."""
    if not file.path.is_dir():
        return ()
    start = f"{file.architecture}."
    settings = {
        key.removeprefix(start): value for key, value in file.metadata.items() if key.startswith(start)
    }
    return checkpoint_of(file.path, registry).elsewhere(settings)


def portable(metadata: Mapping[str, object], remarks: list[str]) -> dict[str, object]:
    """Metadata that say the same to engines that do not run a `tokenizer.json`."""
    result = {key: value for key, value in metadata.items() if key != PROTO_KEY}
    by_bytes = metadata.get("tokenizer.ggml.model") == BYTE_LEVEL
    if by_bytes and JSON_KEY in metadata and "tokenizer.ggml.pre" not in metadata:
        name = recognized(metadata)
        if name is None:
            remarks.append(
                "no other engine has a name for how this tokenizer cuts texts; only Lumen reads it right"
            )
        else:
            result["tokenizer.ggml.pre"] = name
    if JSON_KEY in metadata and '"NFC"' in str(metadata[JSON_KEY]):
        remarks.append(
            "the tokenizer composes texts (NFC) first; other engines do not, so decomposed Hangul differs"
        )
    if PROTO_KEY in metadata and "tokenizer.ggml.scores" not in metadata:
        raise TokenizerError("the SentencePiece model has no scores")
    return result


def _element(tensor: FileTensor, element: str | None) -> str:
    if len(tensor.shape) < 2:
        return "f32"
    return element if element in ELEMENTS else tensor.format


def _data(tensor: FileTensor, wanted: str, decode: Callable[[FileTensor], np.ndarray]) -> np.ndarray:
    data = tensor.data
    if wanted != tensor.format:
        values = np.ascontiguousarray(decode(tensor), np.float32).reshape(-1)
        data = _encoded(values, wanted, tensor.name)
    return data


def _encoded(values: np.ndarray, wanted: str, name: str) -> np.ndarray:
    if wanted == "f32":
        return values.view(np.uint8)
    if wanted == "f16":
        with np.errstate(over="ignore"):
            halves = values.astype(np.float16)
        if not np.isfinite(halves).all() and np.isfinite(values).all():
            raise ModelError(f"the tensor {name} has numbers beyond the range of f16; choose bf16 or f32")
        return halves.view(np.uint8)
    bits = values.view(np.uint32)
    rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16  # to the nearest, ties to even
    quiet = np.where(np.isnan(values), bits >> 16 | 0x40, rounded)
    return quiet.astype(np.uint16).view(np.uint8)
