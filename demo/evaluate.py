"""Held-out perplexity. In: checkpoint.pt or GGUF files, heldout.txt. Out: perplexity, bits per character.

Every document stands alone: its first token is given, the others and the end mark are predicted.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import gguf
import heldout
import torch
import torch.nn.functional as functional
from data import load_tokenizer
from export import SHIPPED
from model import Model, Shape
from text.corpus import END

HERE = Path(__file__).parent


def load(path: Path) -> Model:
    """A model from a checkpoint, or from a GGUF file with its weights turned back into f32."""
    if path.suffix == ".pt":
        saved = torch.load(path, map_location="cpu")
        model = Model(Shape(**saved["shape"]))
        model.load_state_dict(saved["model"])
        return model.eval()
    reader = gguf.GGUFReader(path)
    weights = {
        tensor.name: torch.from_numpy(gguf.quants.dequantize(tensor.data, tensor.tensor_type).copy())
        for tensor in reader.tensors
    }
    layers = 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blk."))
    model = Model(Shape(vocabulary=weights["token_embd.weight"].shape[0], layers=layers))
    model.load_state_dict(weights)
    return model.eval()


@torch.no_grad()
def measure(model: Model) -> tuple[float, float]:
    """(perplexity per token, bits per character)."""
    tokenizer = load_tokenizer()
    nats, tokens, characters = 0.0, 0, 0
    for document in heldout.read():
        ids = tokenizer.encode(document + END).ids[: model.shape.context]
        row = torch.tensor([ids])
        nats += functional.cross_entropy(model(row[:, :-1])[0], row[0, 1:], reduction="sum").item()
        tokens += len(ids) - 1
        characters += len(tokenizer.decode(ids[1:], skip_special_tokens=False))
    return math.exp(nats / tokens), nats / math.log(2) / characters


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="*", type=Path, default=[HERE / "checkpoint.pt", SHIPPED])
    for path in parser.parse_args().files:
        perplexity, bits = measure(load(path))
        print(f"{path.name}: perplexity {perplexity:.4f}, {bits:.4f} bits per character")


if __name__ == "__main__":
    main()
