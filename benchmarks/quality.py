"""How much of a model each format keeps: writes docs/quality.md, for the demo model and its held-out text.

    PYTHONPATH=tests python benchmarks/quality.py [--documents 30] [--results rows.json] [FORMAT ...]

Every format (and the usual mixtures) is written by `lumen quantize`; Lumen and llama.cpp then read the same
text with the same file. The yardstick is the source in f32, run by llama.cpp. Needs llama-cpp-python.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from kit.llama import Llama, divergence, library, plain

import lumen_core as lumen
from lumen_core.engine.quantize import plan, write
from lumen_core.engine.session import choose_target
from lumen_core.errors import UnsupportedFormatError
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse
from lumen_core.quant.encode import Encoder

ROOT = Path(__file__).parent.parent
SOURCE, TEXT, PAGE = ROOT / "demo/demo-f16.gguf", ROOT / "demo/heldout.txt", ROOT / "docs/quality.md"
END = "<|endoftext|>"
MIXTURES = ("q2_k_s", "q3_k_m", "q4_k_m", "q5_k_m", "iq2_m", "iq3_m")
Documents = Sequence[list[int]]


@dataclass(frozen=True)
class Figures:
    """Of one engine with one file: perplexity a token, and KL divergence in nats with its standard error."""

    perplexity: float
    divergence: float
    error: float

    @staticmethod
    def of(documents: Documents, reference: Sequence[np.ndarray], logits: Sequence[np.ndarray]) -> Figures:
        apart = np.concatenate([divergence(*pair) for pair in zip(reference, logits, strict=True)])
        losses = np.concatenate([_losses(*pair) for pair in zip(documents, logits, strict=True)])
        return Figures(
            float(np.exp(losses.mean())), float(apart.mean()), float(apart.std() / np.sqrt(len(apart)))
        )


def _losses(ids: list[int], logits: np.ndarray) -> np.ndarray:
    """Minus the logarithm of the probability of every token but the first."""
    table = logits[:-1].astype(np.float64)
    table -= table.max(-1, keepdims=True)
    return np.log(np.exp(table).sum(-1)) - table[np.arange(len(ids) - 1), ids[1:]]


def ours(path: Path, documents: Documents) -> list[np.ndarray]:
    with lumen.load(path) as model:
        return [model.logits(ids) for ids in documents]


def theirs(path: Path, documents: Documents) -> list[np.ndarray] | None:
    """None where llama.cpp does not know the format."""
    try:
        with Llama(path) as model:
            return [model.logits(ids) for ids in documents]
    except AssertionError:
        return None


def formats(registry: Registry) -> list[str]:
    """Every format that a GGUF file can hold and that has a quantizer, largest first."""
    found = []
    for name, entry in registry.formats.items():
        form = analyse(entry.value)
        try:
            Encoder(form)
        except UnsupportedFormatError:
            continue
        if entry.distribution == "lumen-quant-gguf" and name != "f32":
            found.append((-form.bits_per_weight, name))
    return [name for _, name in sorted(found)]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("formats", nargs="*")
    parser.add_argument("--documents", type=int, default=30)
    parser.add_argument("--results", type=Path, help="keeps the rows between runs")
    parser.add_argument("--output", type=Path, default=PAGE)
    chosen = parser.parse_args()
    library()
    registry = Registry.load()
    target = choose_target(registry, None)
    with tempfile.TemporaryDirectory() as folder, registry.reader(SOURCE).open(SOURCE) as file:
        with lumen.load(SOURCE) as model:
            texts = TEXT.read_text(encoding="utf-8").split(f"{END}\n")[: chosen.documents]
            documents = [
                model.tokenizer.encode(text + END, parse_special=True)[:256] for text in texts if text.strip()
            ]
        reference = theirs(plain(SOURCE, Path(folder) / "plain.gguf"), documents)
        assert reference is not None
        perplexity = Figures.of(documents, reference, reference).perplexity
        wanted = [*formats(registry), *MIXTURES]
        rows: dict[str, str] = {}
        if chosen.results and chosen.results.exists():
            rows = json.loads(chosen.results.read_text())
        for name in chosen.formats or wanted:
            mixture = name if name in MIXTURES else f"pure-{name}"
            job = plan(file, mixture, registry=registry)
            path = write(job, Path(folder) / "quantized.gguf", target, 2)
            bits = 8 * job.bytes / sum(change.elements for change in job.changes)
            mine = Figures.of(documents, reference, ours(path, documents))
            other = theirs(path, documents)
            beside = Figures.of(documents, reference, other) if other else None
            rows[name] = _row(name, bits, mine, beside)
            print(rows[name], flush=True)
            if chosen.results:
                chosen.results.write_text(json.dumps(rows))
    count = sum(map(len, documents))
    table = [rows[name] for name in wanted if name in rows]
    page = _page(table, len(documents), count, perplexity)
    if missing := [name for name in wanted if name not in rows]:
        page += f"\nNot measured yet: {', '.join(missing)}.\n"
    chosen.output.write_text(page, encoding="utf-8")


def _row(name: str, bits: float, mine: Figures, other: Figures | None) -> str:
    cells = [name, f"{bits:.2f}", f"{mine.perplexity:.4f}", f"{mine.divergence:.5f} ± {mine.error:.5f}"]
    cells += [f"{other.perplexity:.4f}", f"{other.divergence:.5f}"] if other else ["unknown there", ""]
    return f"| {' | '.join(cells)} |"


def _page(rows: list[str], documents: int, tokens: int, perplexity: float) -> str:
    table = "\n".join(rows)
    return f"""# Quality by format

Made by `PYTHONPATH=tests python benchmarks/quality.py`: the demo model (5 million weights,
`demo/demo-f16.gguf`) in every format, all matrices alike, then in the usual mixtures; {documents} documents
of its held-out text, {tokens} tokens. No importance matrix. Perplexity is per token ({perplexity:.4f} in
f32), the KL divergence from the f32 model in nats with its standard error. Both engines read the same file,
which `lumen quantize` wrote: what differs between them is arithmetic alone.

| format | bits a weight | perplexity | KL divergence | llama.cpp: perplexity | KL divergence |
| --- | --- | --- | --- | --- | --- |
{table}
"""


if __name__ == "__main__":
    main()
