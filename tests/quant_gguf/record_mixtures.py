"""Records which type llama.cpp gives every tensor, mixture by mixture, for small models of several shapes.

    PYTHONPATH=tests python tests/quant_gguf/record_mixtures.py

Needs llama-cpp-python. Writes mixtures.json: shape -> mixture -> types of the matrices, in their order.
"""

from __future__ import annotations

import json
from pathlib import Path

from kit.llama_mixtures import choices
from kit.mixture_models import SHAPES, shortened

if __name__ == "__main__":
    table = {
        name: {mixture: shortened(types, shape) for mixture, types in choices(name).items()}
        for name, shape in SHAPES.items()
    }
    Path(__file__).with_name("mixtures.json").write_text(json.dumps(table, indent=1) + "\n")
