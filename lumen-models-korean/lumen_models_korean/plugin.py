"""What this package tells Lumen: its model pages and the embedded demo model."""

from __future__ import annotations

from pathlib import Path

from lumen_core.plugins.hookspecs import hookimpl
from lumen_core.plugins.sources import ModelSource
from lumen_models_korean import chats, checkpoints

HERE = Path(__file__).parent


@hookimpl
def lumen_models() -> list[ModelSource]:
    return [
        ModelSource(
            name="llama",
            path=HERE / "llama.lum",
            architectures=("llama",),
            checkpoints=(checkpoints.LLAMA,),
            chats=(chats.LLAMA3, chats.HYPERCLOVA_X),
            family="Llama",
            vendor="Meta",
            license="Llama Community License",
            note="Llama 1 to 3 and the many models of that shape; interleaved RoPE, optional rope factors",
        ),
        ModelSource(
            name="qwen2",
            path=HERE / "qwen2.lum",
            architectures=("qwen2",),
            checkpoints=(checkpoints.QWEN2,),
            chats=(chats.QWEN, chats.A_X),
            family="Qwen2",
            vendor="Alibaba Cloud",
            license="Apache-2.0",
            note="Qwen2 and Qwen2.5; biases on query, key and value",
        ),
        ModelSource(
            name="qwen3",
            path=HERE / "qwen3.lum",
            architectures=("qwen3",),
            checkpoints=(checkpoints.QWEN3,),
            chats=(chats.QWEN, chats.KANANA2),
            family="Qwen3",
            vendor="Alibaba Cloud",
            license="Apache-2.0",
            note="RMSNorm on every query and key head; the shape of the embedded demo model",
            files={"demo": HERE / "demo" / "demo.gguf"},
        ),
    ]
