"""GGUF files by hand, right or wrong in every detail: shared by the tests of the container."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from pathlib import Path

U32, F32, BOOL, STRING, ARRAY, U64 = 4, 6, 7, 8, 9, 10


def string(text: str | bytes) -> bytes:
    data = text.encode() if isinstance(text, str) else text
    return struct.pack("<Q", len(data)) + data


def value(item: object) -> bytes:
    """Type and bytes of a value."""
    if isinstance(item, bytes):  # as it is
        return item
    if isinstance(item, bool):
        return struct.pack("<IB", BOOL, item)
    if isinstance(item, int):
        return struct.pack("<II", U32, item)
    if isinstance(item, float):
        return struct.pack("<If", F32, item)
    if isinstance(item, str):
        return struct.pack("<I", STRING) + string(item)
    assert isinstance(item, list)
    if item and isinstance(item[0], int):
        return struct.pack(f"<IIQ{len(item)}i", ARRAY, 5, len(item), *item)
    return struct.pack("<IIQ", ARRAY, STRING, len(item)) + b"".join(map(string, item))


@dataclass
class Tensor:
    name: str | bytes
    sizes: tuple[int, ...] = (32, 4)
    kind: int = 0
    offset: int = 0
    rank: int | None = None

    def line(self) -> bytes:
        rank = len(self.sizes) if self.rank is None else self.rank
        sizes = struct.pack(f"<{len(self.sizes)}Q", *self.sizes)
        return (
            string(self.name) + struct.pack("<I", rank) + sizes + struct.pack("<IQ", self.kind, self.offset)
        )


@dataclass
class RawFile:
    """A valid file unless a test changes something."""

    magic: bytes = b"GGUF"
    version: int = 3
    keys: list[tuple[str | bytes, object]] = field(default_factory=lambda: [
        ("general.architecture", "llama"), ("general.name", "작은 모델"), ("llama.block_count", 2),
        ("llama.embedding_length", 32), ("llama.attention.head_count", 4),
        ("llama.attention.layer_norm_rms_epsilon", 1e-5), ("llama.rope.dimension_count", 8),
        ("tokenizer.ggml.model", "gpt2"), ("tokenizer.ggml.tokens", ["a", "b", "ab", "<|end|>"]),
        ("tokenizer.ggml.token_type", [1, 1, 1, 3]), ("tokenizer.ggml.merges", ["a b"]),
        ("tokenizer.ggml.eos_token_id", 3), ("tokenizer.ggml.add_bos_token", False),
    ])  # fmt: skip
    tensors: list[Tensor] = field(default_factory=lambda: [
        Tensor("token_embd.weight", (32, 4), 0, 0), Tensor("blk.0.attn_q.weight", (32, 32), 8, 512),
        Tensor("output_norm.weight", (32,), 0, 1600),
    ])  # fmt: skip
    key_count: int | None = None
    tensor_count: int | None = None
    alignment: int = 32
    data: bytes = bytes(range(256)) * 7

    def set(self, key: str, item: object) -> RawFile:
        self.keys = [(name, old) for name, old in self.keys if name != key] + [(key, item)]
        return self

    def header(self) -> bytes:
        count = len(self.tensors) if self.tensor_count is None else self.tensor_count
        keys = len(self.keys) if self.key_count is None else self.key_count
        head = self.magic + struct.pack("<IQQ", self.version, count, keys)
        head += b"".join(string(name) + value(item) for name, item in self.keys)
        return head + b"".join(tensor.line() for tensor in self.tensors)

    def build(self) -> bytes:
        head = self.header()
        return head + bytes(-len(head) % self.alignment) + self.data

    def write(self, path: Path) -> Path:
        path.write_bytes(self.build())
        return path
