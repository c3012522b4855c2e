"""llama.cpp's own quantizer, through the shared library of an installed llama-cpp-python."""

from __future__ import annotations

import ctypes
from pathlib import Path

import gguf
import numpy as np

NAMES = (
    "F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_NL IQ4_XS TQ1_0 TQ2_0 MXFP4 NVFP4 "
    "IQ2_XXS IQ2_XS IQ2_S IQ3_XXS IQ3_S IQ1_S IQ1_M"
)
NEEDING = (
    "IQ2_XXS",
    "IQ2_XS",
    "IQ1_S",
    "IQ1_M",
    "IQ2_S",
)  # cannot be made there without an importance matrix


def library_path() -> Path:
    """Where the package keeps `libggml-base`."""
    import llama_cpp

    return next((Path(llama_cpp.__file__).parent / "lib").glob("*ggml-base.*"))


class Quantizer:
    """`ggml_quantize_chunk`."""

    def __init__(self) -> None:
        self.library = ctypes.CDLL(str(library_path()))
        self.function = self.library.ggml_quantize_chunk
        self.function.restype = ctypes.c_size_t
        pointer, number = ctypes.c_void_p, ctypes.c_int64
        self.function.argtypes = [ctypes.c_int, pointer, pointer, number, number, number, pointer]

    def __call__(self, name: str, rows: np.ndarray, importance: np.ndarray | None = None) -> np.ndarray:
        """Quantize rows on this thread; return the bytes, uint8 [R, row bytes]."""
        kind = gguf.GGMLQuantizationType[name]
        block, size = gguf.GGML_QUANT_SIZES[kind]
        result = np.zeros((rows.shape[0], rows.shape[1] // block * size), np.uint8)
        self.library.ggml_quantize_init(int(kind))
        weight = importance.ctypes.data if importance is not None else None
        self.function(int(kind), rows.ctypes.data, result.ctypes.data, 0, *rows.shape, weight)
        return result
