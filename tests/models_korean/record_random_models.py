"""Records the logits of the random models by `transformers` (f32, CPU) in data/random_models.npz.

Run in this folder, with the packages torch and transformers: `PYTHONPATH=.. python record_random_models.py`
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
import transformers
from random_models import CASES, PROMPT, RECORDED, Case


def logits(case: Case) -> np.ndarray:
    config = getattr(transformers, f"{case.reference}Config")(**case.all)
    model = getattr(transformers, f"{case.reference}ForCausalLM")(config).eval().float()
    weights = {name: torch.from_numpy(weight) for name, weight in case.weights().items()}
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected
    assert set(missing) <= ({"lm_head.weight"} if case.all["tie_word_embeddings"] else set()), missing
    if case.all["tie_word_embeddings"]:
        assert model.lm_head.weight.data_ptr() == model.model.embed_tokens.weight.data_ptr()
    with torch.no_grad():
        return model(torch.from_numpy(PROMPT)[None]).logits[0].numpy()[RECORDED]


if __name__ == "__main__":
    found = {case.name: logits(case) for case in CASES}
    np.savez_compressed(Path(__file__).parent / "data" / "random_models.npz", **found)
    print(transformers.__version__, {name: float(np.abs(values).max()) for name, values in found.items()})
