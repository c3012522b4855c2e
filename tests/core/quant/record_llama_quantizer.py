"""Records what llama.cpp's own quantizer loses on the seeded weights of kit/weights.py.

    PYTHONPATH=tests python tests/core/quant/record_llama_quantizer.py LIBGGML_BASE.so

LIBGGML_BASE.so lies in the `lib` folder of an installed llama-cpp-python. Writes llama_quantizer.json.
"""

from __future__ import annotations

import ctypes
import json
import sys
from pathlib import Path

import gguf
import numpy as np
from kit.weights import KINDS, relative_error, sample

NAMES = (
    "F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS TQ1_0 TQ2_0 MXFP4 NVFP4 "
    "IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ1_S IQ1_M"
)


class Quantizer:
    """`ggml_quantize_chunk` of a shared library."""

    def __init__(self, library: Path):
        self.library = ctypes.CDLL(str(library))
        self.function = self.library.ggml_quantize_chunk
        self.function.restype = ctypes.c_size_t
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        self.function.argtypes = [ctypes.c_int, pointer, pointer, number, number, number, pointer]

    def __call__(self, name: str, rows: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
        kind = gguf.GGMLQuantizationType[name]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        result = np.zeros((rows.shape[0], rows.shape[1] // block * size), np.uint8)
        self.library.ggml_quantize_init(int(kind))
        weight = importance.ctypes.data if importance is not None else None
        self.function(int(kind), rows.ctypes.data, result.ctypes.data, 0, *rows.shape, weight)
        return gguf.dequantize(result, kind)


def record(quantizer: Quantizer) -> dict[str, dict[str, float]]:
    table: dict[str, dict[str, float]] = {}
    for name in NAMES.split():
        table[name.lower()] = {}
        for kind in KINDS:
            rows = sample(kind)
            # these types cannot be made without an importance matrix there; all ones weigh nothing
            needs = name in ("IQ2_XXS", "IQ2_XS", "IQ1_S", "IQ1_M", "IQ2_S")
            weight = np.ones(rows.shape[1], np.float32) if needs else None
            error = relative_error(quantizer(name, rows, weight), rows)
            table[name.lower()][kind] = float(f"{error:.7g}")
    return table


if __name__ == "__main__":
    found = record(Quantizer(Path(sys.argv[1])))
    Path(__file__).with_name("llama_quantizer.json").write_text(json.dumps(found, indent=1) + "\n")
