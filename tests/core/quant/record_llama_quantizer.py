"""Records what llama.cpp's own quantizer loses on the seeded weights of kit/weights.py.

    PYTHONPATH=tests python tests/core/quant/record_llama_quantizer.py

Needs llama-cpp-python. Writes llama_quantizer.json.
"""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
from kit.llama_quantizer import NAMES, NEEDING, Quantizer
from kit.weights import KINDS, relative_error, sample


def record(quantizer: Quantizer) -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = {}
    for name in NAMES.split():
        table[name.lower()] = {}
        for kind in KINDS:
            rows = sample(kind)
            weight = np.ones(rows.shape[1], np.float32) if name in NEEDING else None
            found = gguf.dequantize(quantizer(name, rows, weight), gguf.GGMLQuantizationType[name])
            error = relative_error(found, rows)
            table[name.lower()][kind] = float(f"{error:.7g}")
    return table


if __name__ == "__main__":
    found = record(Quantizer())
    Path(__file__).with_name("llama_quantizer.json").write_text(json.dumps(found, indent=1) + "\n")
