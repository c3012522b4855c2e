"""The demo model: Qwen3's architecture in torch, for training. In: ids [B, T]. Out: logits [B, T, V]."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as functional
from torch import Tensor, nn


@dataclass(frozen=True)
class Shape:
    """Every row length is a multiple of 256, so that every block format fits every matrix."""

    vocabulary: int = 4096
    hidden: int = 256
    layers: int = 5
    heads: int = 4
    kv_heads: int = 2
    head_size: int = 64
    feed_forward: int = 768
    context: int = 512
    theta: float = 10000.0
    epsilon: float = 1e-6

    def as_dict(self) -> dict[str, int | float]:
        return asdict(self)


def rotate(x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
    """Rotary positions over half-split pairs; x is [B, heads, T, head_size]."""
    first, second = x.chunk(2, dim=-1)
    return torch.cat((first * cosine - second * sine, second * cosine + first * sine), dim=-1).to(x.dtype)


class Block(nn.Module):
    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = s = shape
        self.attn_norm = nn.RMSNorm(s.hidden, s.epsilon)
        self.attn_q = nn.Linear(s.hidden, s.heads * s.head_size, bias=False)
        self.attn_k = nn.Linear(s.hidden, s.kv_heads * s.head_size, bias=False)
        self.attn_v = nn.Linear(s.hidden, s.kv_heads * s.head_size, bias=False)
        self.attn_q_norm = nn.RMSNorm(s.head_size, s.epsilon)
        self.attn_k_norm = nn.RMSNorm(s.head_size, s.epsilon)
        self.attn_output = nn.Linear(s.heads * s.head_size, s.hidden, bias=False)
        self.ffn_norm = nn.RMSNorm(s.hidden, s.epsilon)
        self.ffn_gate = nn.Linear(s.hidden, s.feed_forward, bias=False)
        self.ffn_up = nn.Linear(s.hidden, s.feed_forward, bias=False)
        self.ffn_down = nn.Linear(s.feed_forward, s.hidden, bias=False)

    def forward(self, x: Tensor, cosine: Tensor, sine: Tensor) -> Tensor:
        batch, length, _ = x.shape
        s = self.shape
        h = self.attn_norm(x)
        q = self.attn_q_norm(self.attn_q(h).view(batch, length, s.heads, s.head_size)).transpose(1, 2)
        k = self.attn_k_norm(self.attn_k(h).view(batch, length, s.kv_heads, s.head_size)).transpose(1, 2)
        v = self.attn_v(h).view(batch, length, s.kv_heads, s.head_size).transpose(1, 2)
        k, v = (t.repeat_interleave(s.heads // s.kv_heads, dim=1) for t in (rotate(k, cosine, sine), v))
        q = rotate(q, cosine, sine)
        mixed = functional.scaled_dot_product_attention(q, k, v.to(k.dtype), is_causal=True)
        x = x + self.attn_output(mixed.transpose(1, 2).reshape(batch, length, -1))
        h = self.ffn_norm(x)
        return x + self.ffn_down(functional.silu(self.ffn_gate(h)) * self.ffn_up(h))


class Model(nn.Module):
    cosine: Tensor  # [context, head_size / 2], of the angles of all positions
    sine: Tensor

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.token_embd = nn.Embedding(shape.vocabulary, shape.hidden)
        self.blk = nn.ModuleList(Block(shape) for _ in range(shape.layers))
        self.output_norm = nn.RMSNorm(shape.hidden, shape.epsilon)
        positions = torch.arange(shape.context, dtype=torch.float32)
        exponents = -torch.arange(0, shape.head_size, 2, dtype=torch.float32) / shape.head_size
        frequencies = shape.theta**exponents
        angles = torch.outer(positions, frequencies)
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                nn.init.normal_(parameter, std=0.02)
            if name.endswith(("attn_output.weight", "ffn_down.weight")):
                parameter.data *= (2 * shape.layers) ** -0.5

    def hidden(self, ids: Tensor) -> Tensor:
        x = self.token_embd(ids)
        cosine, sine = self.cosine[: ids.shape[1]], self.sine[: ids.shape[1]]
        for block in self.blk:
            x = block(x, cosine, sine)
        return self.output_norm(x)

    def forward(self, ids: Tensor) -> Tensor:
        return functional.linear(self.hidden(ids), self.token_embd.weight)
