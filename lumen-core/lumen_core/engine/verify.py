"""How far a converted model is from its source: the error of every tensor, and of the model as a whole.

In: two model files. Out: relative errors by tensor; KL divergence, perplexity and agreement over a text.
Both models are never in memory at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lumen_core.engine.loading import load
from lumen_core.engine.model import Model
from lumen_core.errors import LumenError
from lumen_core.quant.normal_form import NormalForm
from lumen_core.quant.transcode import in_order
from lumen_core.weights.model_file import FileTensor, ModelFile

_PIECE = 1 << 20


@dataclass(frozen=True)
class TensorError:
    name: str
    source: str
    format: str
    error: float  # root mean square of the difference / of the source


@dataclass(frozen=True)
class Divergence:
    """What changes in the distribution of the next token."""

    tokens: int
    kl_mean: float  # nats
    kl_max: float
    same_top: float  # share of positions whose likeliest token is the same
    perplexity_source: float
    perplexity: float


def tensor_errors(
    source: ModelFile, result: ModelFile, forms: Mapping[str, NormalForm]
) -> Iterator[TensorError]:
    """Compare every tensor, some rows at a time."""
    for name, tensor in source.tensors.items():
        other = result.tensors.get(name)
        if other is None or other.shape != tensor.shape:
            raise LumenError(f"{result.path} has no tensor {name} of shape {tensor.shape}")
        yield TensorError(name, tensor.format, other.format, _relative(tensor, other, forms))
        source.release(tensor)
        result.release(other)


def _relative(tensor: FileTensor, other: FileTensor, forms: Mapping[str, NormalForm]) -> float:
    columns = tensor.shape[-1]
    ours, theirs = forms[tensor.format], forms[other.format]
    left = tensor.data.reshape(-1, ours.row_bytes(columns))
    right = other.data.reshape(-1, theirs.row_bytes(columns))
    difference = square = 0.0
    step = max(1, _PIECE // columns)
    for first in range(0, len(left), step):
        wanted = in_order(ours.decode(left[first : first + step]), tensor.order)
        lost = theirs.decode(right[first : first + step]) - wanted
        difference += float(np.square(lost).sum(dtype=np.float64))
        square += float(np.square(wanted).sum(dtype=np.float64))
    return (difference / square) ** 0.5 if square else 0.0


def divergence(
    source: str | Path, result: str | Path, text: str | None = None, tokens: int = 128, **options: Any
) -> Divergence:
    """Compare two models on a text, or on what the source itself writes (`options` as for `load`)."""
    with load(source, **options) as model:
        ids = _tokens(model, text, tokens)
        expected = _log_softmax(model.logits(ids))
    with load(result, **options) as model:
        found = _log_softmax(model.logits(ids))
    if found.shape != expected.shape:
        raise LumenError(f"{source} and {result} have vocabularies of different sizes")
    kl = (np.exp(expected) * (expected - found)).sum(-1, dtype=np.float64)
    following = np.array(ids[1:])
    return Divergence(
        tokens=len(ids),
        kl_mean=float(max(kl.mean(), 0)),
        kl_max=float(max(kl.max(), 0)),
        same_top=float((expected.argmax(-1) == found.argmax(-1)).mean()),
        perplexity_source=_perplexity(expected, following),
        perplexity=_perplexity(found, following),
    )


def _tokens(model: Model, text: str | None, count: int) -> list[int]:
    count = min(count, model.context)
    if text is not None:
        ids = model.tokenizer.encode(text)[:count]
        if len(ids) < 2:
            raise LumenError("the text to verify with has less than two tokens")
        return ids
    if model.tokenizer.bos_id is not None:
        start = [model.tokenizer.bos_id]
    else:
        start = model.tokenizer.encode("The") or [0]
    written = model.generate(start, max_tokens=count - len(start), ignore_end=True, temperature=1.0, seed=1)
    return [*start, *written.tokens]


def _log_softmax(logits: np.ndarray) -> np.ndarray:
    shifted = logits - logits.max(-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))


def _perplexity(log: np.ndarray, following: Sequence[int] | np.ndarray) -> float:
    taken = log[np.arange(len(following)), following]
    return float(np.exp(-taken.mean(dtype=np.float64)))
