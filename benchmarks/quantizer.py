"""Time and error of the derived quantizer beside llama.cpp's own, format by format, on one thread each.

    python benchmarks/quantizer.py [--weights 262144] [FORMAT ...]

Both sides quantize the same seeded Gaussian rows in turns; the best of the repetitions counts.
Needs llama-cpp-python and the `gguf` package.
"""

from __future__ import annotations

import argparse
import time

import gguf
import numpy as np
from llama_library import Quantizer, library_path, needs_importance

from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse
from lumen_core.quant.encode import Encoder, encode

NAMES = (
    "f16 bf16 q4_0 q4_1 q5_0 q5_1 q8_0 q2_k q3_k q4_k q5_k q6_k iq4_nl iq4_xs tq1_0 tq2_0 mxfp4 nvfp4 "
    "iq2_xxs iq2_xs iq2_s iq3_xxs iq3_s iq1_s iq1_m"
)
