"""Training. In: the generator and tokenizer.json. Out: checkpoint.pt (rewritten as training goes), a log.

    python train.py [--steps N] [--batch N] [--threads N] [--resume]

The number of steps is fixed, so a run is the same run however fast the machine is. The learning rate rises
for the first steps, stays, and falls to zero over the last part. Until that last part a run of N steps is
also the start of a longer one: `--resume` continues from the checkpoint, with any later number of steps.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
import torch.nn.functional as functional
from data import load_tokenizer, rows
from heldout import TRAINING_SEED
from model import Model, Shape

HERE = Path(__file__).parent
WARM_UP, DECAY = 40, 0.35  # steps; share of the steps
SWITCH = 800  # the step from which the text is rich in questions, which take longer to learn than stories


def rate(step: int, steps: int) -> float:
    """The share of the full learning rate at a step."""
    rise, fall = (step + 1) / WARM_UP, (steps - step) / (DECAY * steps)
    return min(1.0, rise, fall)


def optimizers(model: Model, kind: str) -> list[torch.optim.Optimizer]:
    """AdamW for everything, or Muon for the blocks' matrices and AdamW for the rest."""
    matrices = [p for p in model.blk.parameters() if p.dim() == 2]
    vectors: list[torch.Tensor] = [p for p in model.parameters() if p.dim() < 2]
    table: list[torch.Tensor] = [model.token_embd.weight]
    if kind == "adamw":
        groups = [{"params": matrices + table, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
        return [torch.optim.AdamW(groups, lr=3e-3, betas=(0.9, 0.95), fused=True)]
    return [
        torch.optim.Muon(matrices, lr=0.02, weight_decay=0.05, momentum=0.95),
        torch.optim.AdamW(table + vectors, lr=4e-3, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def save(model: Model, chosen: list[torch.optim.Optimizer], step: int, path: Path) -> None:
    partial = path.with_suffix(".partial")
    torch.save(
        {
            "shape": model.shape.as_dict(),
            "model": model.state_dict(),
            "step": step,
            "optimizers": [o.state_dict() for o in chosen],
        },
        partial,
    )
    partial.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=2300)
    parser.add_argument("--stop", type=int, help="stop early, after this step (for measuring)")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--layers", type=int, default=Shape.layers)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--optimizer", choices=["adamw", "muon"], default="muon")
    parser.add_argument("--checkpoint", type=Path, default=HERE / "checkpoint.pt")
    parser.add_argument("--resume", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(TRAINING_SEED)
    model = Model(Shape(layers=arguments.layers))
    chosen = optimizers(model, arguments.optimizer)
    full = [[group["lr"] for group in o.param_groups] for o in chosen]
    start = 0
    if arguments.resume:
        saved = torch.load(arguments.checkpoint)
        model.load_state_dict(saved["model"])
        for optimizer, state in zip(chosen, saved["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        start = saved["step"]
    tokenizer = load_tokenizer()
    length = model.shape.context + 1
    first, later = min(SWITCH, arguments.steps), max(0, arguments.steps - SWITCH)
    data = torch.cat(
        [
            torch.from_numpy(rows(tokenizer, TRAINING_SEED, count * arguments.batch, length, mix=mix))
            for count, mix in ((first, "stories"), (later, "questions"))
        ]
    )
    check = torch.from_numpy(rows(tokenizer, TRAINING_SEED + 1, 16, length, held_out=True)).long()
    print(f"{sum(p.numel() for p in model.parameters()):,} parameters, {data.numel():,} tokens", flush=True)
    began = saved_at = time.monotonic()
    mean = 0.0
    for step in range(start, arguments.steps):
        share = rate(step, arguments.steps)
        for optimizer, rates in zip(chosen, full, strict=True):
            for group, value in zip(optimizer.param_groups, rates, strict=True):
                group["lr"] = value * share
        batch = data[step * arguments.batch : (step + 1) * arguments.batch].long()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = model(batch[:, :-1])
        loss = functional.cross_entropy(logits.flatten(0, 1).float(), batch[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimizer in chosen:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        mean = loss.item() if step == start else 0.9 * mean + 0.1 * loss.item()
        done = step + 1
        if done % 20 == 0:
            print(
                f"step {done} loss {mean:.4f} {(time.monotonic() - began) / (done - start):.2f} s/step "
                f"({time.process_time() / (done - start):.2f} s of processor time)",
                flush=True,
            )
        if done % 200 == 0 or done == arguments.steps:
            with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
                logits = model(check[:, :-1])
            value = functional.cross_entropy(logits.flatten(0, 1).float(), check[:, 1:].flatten()).item()
            print(f"step {done} held out {value:.4f}", flush=True)
        if time.monotonic() - saved_at > 90 or done in (arguments.steps, arguments.stop):
            save(model, chosen, done, arguments.checkpoint)
            saved_at = time.monotonic()
        if done == arguments.stop:
            break


if __name__ == "__main__":
    main()
