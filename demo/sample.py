"""Sampling from a checkpoint, to see what it writes. In: checkpoint.pt and prompts. Out: continuations."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from data import load_tokenizer
from model import Model, Shape

HERE = Path(__file__).parent
PROMPTS = [
    "옛날 옛적에",
    "대한민국의 수도는",
    "오늘은",
    "안녕하세요",
    "지우는",
    "3 + 4 =",
    "봄이 되면",
    "나는",
    "<|im_start|>user\n너는 누구야?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\n토끼가 나오는 이야기를 써 주세요.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\n프랑스의 수도는 어디입니까?<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\n27 + 48을 차근차근 계산해 줘.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\n제 이름은 박하윤입니다.<|im_end|>\n<|im_start|>assistant\n",
    "<|im_start|>user\n오늘이 금요일이면 내일은 무슨 요일입니까?<|im_end|>\n<|im_start|>assistant\n",
]


@torch.no_grad()
def continuation(model: Model, ids: list[int], count: int, temperature: float, stop: set[int]) -> list[int]:
    new: list[int] = []
    while len(new) < count and len(ids) + len(new) < model.shape.context:
        logits = model(torch.tensor([ids + new]))[0, -1]
        if temperature == 0:
            chosen = int(logits.argmax())
        else:
            chosen = int(torch.multinomial((logits / temperature).softmax(-1), 1))
        if chosen in stop:
            break
        new.append(chosen)
    return new


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("prompts", nargs="*", default=PROMPTS)
    parser.add_argument("--checkpoint", type=Path, default=HERE / "checkpoint.pt")
    parser.add_argument("--temperature", type=float, default=0.7)
    parser.add_argument("--count", type=int, default=96)
    arguments = parser.parse_args()
    torch.manual_seed(1)
    torch.set_num_threads(1)
    saved = torch.load(arguments.checkpoint)
    model = Model(Shape(**saved["shape"])).eval()
    model.load_state_dict(saved["model"])
    tokenizer = load_tokenizer()
    stop = {tokenizer.encode(token).ids[0] for token in ("<|endoftext|>", "<|im_end|>")}
    for prompt in arguments.prompts:
        ids = tokenizer.encode(prompt).ids
        new = continuation(model, ids, arguments.count, arguments.temperature, stop)
        print(f"{prompt}|{tokenizer.decode(new)}\n")


if __name__ == "__main__":
    main()
