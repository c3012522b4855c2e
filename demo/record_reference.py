"""Reference logits. In: demo.gguf. Out: what transformers' Qwen3 computes from its weights in f32, as an npz.

Keys, for prompt i of 5: `prompt_i` (text), `ids_i` (int32 [T]), `logits_i` (f32 [T, V] for prompt 0, [1, V]
of the last position for the others), `greedy_i` (int32 [48], the greedy continuation, end marks included),
`margin_i` (f32 [48], by how much each greedy choice led the next best). `held_out_nats`: the mean over the
tokens of the first 40 held-out documents, each alone and with its end mark, its first token given. `sha256`
names the file read.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path
from typing import Any

import gguf
import heldout
import numpy as np
import torch
import torch.nn.functional as functional
from data import load_tokenizer
from export import SHIPPED
from model import Shape
from text.corpus import END
from tokenizers import Tokenizer
from transformers import Qwen3Config, Qwen3ForCausalLM

HERE = Path(__file__).parent
OUTPUT = HERE.parent / "tests" / "models_korean" / "data" / "demo_reference.npz"
GREEDY = 48
PROMPTS = [
    "옛날 옛적에",
    "대한민국의 수도는",
    "오늘은 날씨가",
    "<|im_start|>user\n토끼가 나오는 이야기를 써 주세요.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\n27 + 48을 차근차근 계산해 줘.<|im_end|>\n<|im_start|>assistant\n",
]
NAMES = {
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "attn_q_norm": "self_attn.q_norm",
    "attn_k_norm": "self_attn.k_norm",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}


def name_in_transformers(name: str) -> str:
    if name.startswith("blk."):
        _, layer, part, _ = name.split(".")
        return f"model.layers.{layer}.{NAMES[part]}.weight"
    return {"token_embd.weight": "model.embed_tokens.weight", "output_norm.weight": "model.norm.weight"}[name]


def load(path: Path) -> Qwen3ForCausalLM:
    weights = {
        name_in_transformers(t.name): torch.from_numpy(gguf.quants.dequantize(t.data, t.tensor_type).copy())
        for t in gguf.GGUFReader(path).tensors
    }
    shape = Shape(layers=sum(name.endswith("q_proj.weight") for name in weights))
    config = Qwen3Config(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        intermediate_size=shape.feed_forward,
        num_hidden_layers=shape.layers,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_size,
        rms_norm_eps=shape.epsilon,
        max_position_embeddings=shape.context,
        rope_parameters={"rope_type": "default", "rope_theta": shape.theta},
        tie_word_embeddings=True,
        attention_bias=False,
        use_sliding_window=False,
    )
    model = Qwen3ForCausalLM(config).float().eval()
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    return model


@torch.no_grad()
def held_out_nats(model: Qwen3ForCausalLM, tokenizer: Tokenizer) -> float:
    nats, tokens = 0.0, 0
    for document in heldout.read()[:40]:
        row = torch.tensor([tokenizer.encode(document + END).ids])
        nats += functional.cross_entropy(model(row[:, :-1]).logits[0], row[0, 1:], reduction="sum").item()
        tokens += row.shape[1] - 1
    return nats / tokens


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, default=SHIPPED)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    arguments = parser.parse_args()
    model, tokenizer = load(arguments.model), load_tokenizer()
    result: dict[str, Any] = {"sha256": np.array(hashlib.sha256(arguments.model.read_bytes()).hexdigest())}
    for number, prompt in enumerate(PROMPTS):
        ids = tokenizer.encode(prompt).ids
        logits = model(torch.tensor([ids])).logits[0]
        row, margins = list(ids), []
        for _ in range(GREEDY):
            last = model(torch.tensor([row])).logits[0, -1]
            best = last.topk(2)
            row.append(int(best.indices[0]))
            margins.append(float(best.values[0] - best.values[1]))
        result |= {
            f"prompt_{number}": np.array(prompt),
            f"ids_{number}": np.array(ids, dtype=np.int32),
            f"logits_{number}": (logits if number == 0 else logits[-1:]).numpy(),
            f"greedy_{number}": np.array(row[len(ids) :], dtype=np.int32),
            f"margin_{number}": np.array(margins, dtype=np.float32),
        }
        print(f"{prompt!r} -> {tokenizer.decode(row[len(ids) :], skip_special_tokens=False)!r}")
    result["held_out_nats"] = np.array(held_out_nats(model, tokenizer))
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(arguments.output, **result)
    print(f"{arguments.output.name}: {arguments.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
