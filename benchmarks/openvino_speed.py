"""Speed of OpenVINO GenAI on a model of random weights.

    python openvino_speed.py SHAPE FOLDER THREADS REPETITIONS

In: the numbers of a shape as JSON, a folder for exported models, the threads, how often. Out: a line of JSON
with tokens a second for every precision. Runs in a Python of its own, which needs openvino-genai,
optimum-intel, nncf, torch and transformers; speed.py starts it (--openvino-python). Models are made and
exported without a network.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

PRECISIONS = {
    "int4 g32": ["--weight-format", "int4", "--group-size", "32", "--sym", "--ratio", "1.0"],
    "int4 g128": ["--weight-format", "int4", "--group-size", "128", "--sym", "--ratio", "1.0"],
    "int8": ["--weight-format", "int8"],
}
PROMPT, GENERATED = 512, 128


def main() -> None:
    shape, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
    threads, repetitions = int(sys.argv[3]), int(sys.argv[4])
    found = {}
    for name, options in PRECISIONS.items():
        path = folder / f"{shape['name']}-{name.replace(' ', '-')}"
        if not (path / "openvino_model.bin").exists():
            export(shape, folder / shape["name"], path, options)
        found[name] = measure(path, shape["vocabulary"], threads, repetitions)
    print(json.dumps(found))


def export(shape: dict[str, Any], checkpoint: Path, path: Path, options: list[str]) -> None:
    """Write random weights as a checkpoint and export it."""
    if not (checkpoint / "config.json").exists():
        import torch
        import transformers

        kind = {"qwen2": "Qwen2", "qwen3": "Qwen3"}.get(shape["architecture"], "Llama")  # of the same sizes
        config = getattr(transformers, f"{kind}Config")(
            vocab_size=shape["vocabulary"], hidden_size=shape["width"], intermediate_size=shape["hidden"],
            num_hidden_layers=shape["layers"], num_attention_heads=shape["heads"], head_dim=shape["head"],
            num_key_value_heads=shape["kv_heads"], tie_word_embeddings=shape["tied"],
            max_position_embeddings=shape["context"],
        )  # fmt: skip
        torch.manual_seed(0)
        model = getattr(transformers, f"{kind}ForCausalLM")(config).to(torch.bfloat16)
        model.save_pretrained(checkpoint)
        del model
    program = Path(sys.executable).with_name("optimum-cli")
    command = [str(program), "export", "openvino", "--model", str(checkpoint),
               "--task", "text-generation-with-past", *options, str(path)]  # fmt: skip
    subprocess.run(command, check=True, stdout=sys.stderr)


def measure(path: Path, vocabulary: int, threads: int, repetitions: int) -> dict[str, float]:
    """Tokens a second of a prompt and of generating after one token: medians."""
    import numpy as np
    import openvino
    import openvino_genai

    pipeline = openvino_genai.LLMPipeline(str(path), "CPU", INFERENCE_NUM_THREADS=threads)

    def run(prompt: int, generated: int) -> Any:
        ids = np.random.default_rng(prompt).integers(0, vocabulary, (1, prompt)).astype(np.int64)
        settings = openvino_genai.GenerationConfig()
        settings.max_new_tokens, settings.ignore_eos, settings.do_sample = generated, True, False
        inputs = openvino_genai.TokenizedInputs(openvino.Tensor(ids), openvino.Tensor(np.ones_like(ids)))
        return pipeline.generate(inputs, settings).perf_metrics

    found: dict[str, list[float]] = {f"pp{PROMPT}": [], f"tg{GENERATED}": []}
    for repetition in range(repetitions + 3):  # the first runs are slower
        taken = PROMPT / run(PROMPT, 1).get_ttft().mean * 1e3
        given = 1e3 / run(1, GENERATED).get_tpot().mean
        if repetition >= 3:
            found[f"pp{PROMPT}"].append(taken)
            found[f"tg{GENERATED}"].append(given)
    return {test: statistics.median(runs) for test, runs in found.items()}


if __name__ == "__main__":
    main()
