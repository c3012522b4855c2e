"""How much of a model each format keeps: writes docs/quality.md, for the demo model and its held-out text.

    python benchmarks/quality.py [FORMAT ...]

Every format (and the usual mixtures) is written by `lumen quantize`; Lumen and llama.cpp then read the same
text with the same file. The yardstick is the source in f32, run by llama.cpp. Needs llama-cpp-python.
Figures are kept in quality.json, one row after the other: without names, what is missing there is measured
(`--all`: everything).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from kit.llama import Llama, divergence, library, plain

import lumen_core as lumen
from lumen_core.engine.quantize import plan, write
from lumen_core.engine.targets import choose_target
from lumen_core.errors import UnsupportedFormatError
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse
from lumen_core.quant.encode import Encoder

ROOT = Path(__file__).parent.parent
SOURCE, TEXT, PAGE = ROOT / "demo/demo-f16.gguf", ROOT / "demo/heldout.txt", ROOT / "docs/quality.md"
RESULTS = Path(__file__).parent / "quality.json"
END = "<|endoftext|>"
DOCUMENTS = 30
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
    parser.add_argument("--all", action="store_true", help="measure again what was measured")
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--output", type=Path, default=PAGE)
    chosen = parser.parse_args()
    registry = Registry.load()
    wanted = [*formats(registry), *MIXTURES]
    rows: dict[str, Any] = json.loads(chosen.results.read_text()) if chosen.results.exists() else {}
    names = chosen.formats or [name for name in wanted if chosen.all or name not in rows]
    for name, row in measured(names, registry):
        rows[name] = row
        print(_row(name, row), flush=True)
        partial = chosen.results.with_suffix(".partial")
        partial.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
        partial.replace(chosen.results)
    chosen.output.write_text(_page(rows, wanted), encoding="utf-8")


def measured(names: Sequence[str], registry: Registry) -> Iterator[tuple[str, dict[str, Any]]]:
    """The figures of every format, one after the other."""
    library()
    target = choose_target(registry, None)
    with tempfile.TemporaryDirectory() as folder, registry.reader(SOURCE).open(SOURCE) as file:
        with lumen.load(SOURCE) as model:
            texts = TEXT.read_text(encoding="utf-8").split(f"{END}\n")[:DOCUMENTS]
            documents = [
                model.tokenizer.encode(text + END, parse_special=True)[:256] for text in texts if text.strip()
            ]
        reference = theirs(plain(SOURCE, Path(folder) / "plain.gguf"), documents)
        assert reference is not None
        for name in names:
            mixture = name if name in MIXTURES else f"pure-{name}"
            job = plan(file, mixture, registry=registry)
            path = write(job, Path(folder) / "quantized.gguf", target, 2)
            other = theirs(path, documents)
            row = {
                "bits": 8 * job.bytes / sum(change.elements for change in job.changes),
                "documents": len(documents),
                "tokens": sum(map(len, documents)),
                "perplexity": Figures.of(documents, reference, reference).perplexity,
                "lumen": asdict(Figures.of(documents, reference, ours(path, documents))),
                "llama.cpp": asdict(Figures.of(documents, reference, other)) if other else None,
            }
            yield name, row


def _row(name: str, row: dict[str, Any]) -> str:
    mine, other = row["lumen"], row["llama.cpp"]
    cells = [name, f"{row['bits']:.2f}", f"{mine['perplexity']:.4f}"]
    cells += [f"{mine['divergence']:.5f} ± {mine['error']:.5f}"]
    cells += [f"{other['perplexity']:.4f}", f"{other['divergence']:.5f}"] if other else ["unknown there", ""]
    return f"| {' | '.join(cells)} |"


def _page(rows: dict[str, Any], wanted: Sequence[str]) -> str:
    table = "\n".join(_row(name, rows[name]) for name in wanted if name in rows)
    missing = [name for name in wanted if name not in rows]
    left = f"\nNot measured yet: {', '.join(missing)}.\n" if missing else ""
    (documents, tokens, perplexity), *others = {
        (row["documents"], row["tokens"], f"{row['perplexity']:.4f}") for row in rows.values()
    }
    assert not others, "rows were measured on different texts; measure all again (--all)"
    return f"""# Quality by format

Made by `python benchmarks/quality.py`: the demo model (5 million weights,
`demo/demo-f16.gguf`) in every format, all matrices alike, then in the usual mixtures; {documents} documents
of its held-out text, {tokens} tokens. No importance matrix. Perplexity is per token ({perplexity} in
f32), the KL divergence from the f32 model in nats with its standard error. Both engines read the same file,
which `lumen quantize` wrote: what differs between them is arithmetic alone.

| format | bits a weight | perplexity | KL divergence | llama.cpp: perplexity | KL divergence |
| --- | --- | --- | --- | --- | --- |
{table}
{left}"""


if __name__ == "__main__":
    main()
