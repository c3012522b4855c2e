"""What this package tells Lumen: its model pages and the embedded demo model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lumen_core.plugins.hookspecs import hookimpl
from lumen_core.plugins.sources import ModelSource
from lumen_models_korean import chats, checkpoints, releases

HERE = Path(__file__).parent

_EXAONE_LICENSE = "EXAONE AI Model License (non-commercial)"
_K_EXAONE_LICENSE = "K-EXAONE AI Model License"


def _page(name: str, *more: str, **facts: Any) -> ModelSource:
    """A page beside this file; `more` are further names that model files use for the architecture."""
    return ModelSource(name=name, path=HERE / f"{name}.lum", architectures=(name, *more), **facts)


MODELS = (
    _page(
        "llama",
        checkpoints=(checkpoints.LLAMA,),
        releases=releases.LLAMA,
        chats=(chats.LLAMA3, chats.HYPERCLOVA_X_TEXT),
        family="Llama",
        vendor="Meta",
        license="Llama Community License",
        note="also Kanana 1.5, Mi:dm 2.0, A.X 3.1, SOLAR 10.7B, HyperCLOVA X SEED Text; interleaved RoPE",
    ),
    _page(
        "qwen2",
        checkpoints=(checkpoints.QWEN2,),
        releases=releases.QWEN2,
        chats=(chats.QWEN, chats.A_X),
        family="Qwen2",
        vendor="Alibaba Cloud",
        license="Apache-2.0",
        note="Qwen2, Qwen2.5, A.X 4.0; biases on query, key and value",
    ),
    _page(
        "qwen3",
        checkpoints=(checkpoints.QWEN3,),
        releases=releases.QWEN3,
        chats=(chats.KANANA2, chats.QWEN3, chats.QWEN),
        family="Qwen3",
        vendor="Alibaba Cloud",
        license="Apache-2.0",
        note="also Kanana-2 3B; RMSNorm on query and key heads; the shape of the embedded demo model",
        files={"demo": HERE / "demo" / "demo.gguf"},
    ),
    _page(
        "exaone",
        checkpoints=(checkpoints.EXAONE,),
        releases=releases.EXAONE,
        chats=(chats.EXAONE3,),
        family="EXAONE",
        vendor="LG AI Research",
        license=_EXAONE_LICENSE,
        note="EXAONE 3.0, 3.5 and Deep; Llama with half-split RoPE",
    ),
    _page(
        "exaone4",
        checkpoints=(checkpoints.EXAONE4, checkpoints.EXAONE4_5),
        releases=releases.EXAONE4,
        chats=(chats.EXAONE4, chats.K_EXAONE),
        family="EXAONE",
        vendor="LG AI Research",
        license=_EXAONE_LICENSE,
        note="EXAONE 4.0 and the text part of 4.5; norms behind, windows on three of four layers",
    ),
    _page(
        "hyperclovax",
        "hcx-seed-think",
        checkpoints=(checkpoints.HYPERCLOVAX,),
        releases=releases.HYPERCLOVAX,
        chats=(chats.HYPERCLOVA_X,),
        family="HyperCLOVA X SEED",
        vendor="NAVER",
        license="HyperCLOVA X SEED Model License",
        note="HyperCLOVA X SEED Think; four norms per layer and multipliers",
    ),
    _page(
        "qwen3moe",
        checkpoints=(checkpoints.QWEN3_MOE,),
        releases=releases.QWEN3_MOE,
        chats=(chats.QWEN3, chats.QWEN),
        family="Qwen3",
        vendor="Alibaba Cloud",
        license="Apache-2.0",
        note="Qwen3 30B-A3B and 235B-A22B; a mixture of experts",
    ),
    _page(
        "exaone_moe",
        "exaone-moe",
        checkpoints=(checkpoints.EXAONE_MOE,),
        releases=releases.EXAONE_MOE,
        chats=(chats.K_EXAONE,),
        family="EXAONE",
        vendor="LG AI Research",
        license=_K_EXAONE_LICENSE,
        note="K-EXAONE; windows on three of four layers, a mixture of experts behind a dense layer",
    ),
    _page(
        "glm4moe",
        checkpoints=(checkpoints.SOLAR_OPEN, checkpoints.GLM4_MOE),
        releases=releases.SOLAR_OPEN,
        chats=(chats.SOLAR_OPEN,),
        family="Solar Open",
        vendor="Upstage",
        license="Upstage Solar License",
        note="Solar Open 100B, also GLM 4.5 without norms on query and key; a mixture of experts",
    ),
    _page(
        "kanana2_tiny",
        checkpoints=(checkpoints.KANANA2_TINY,),
        releases=releases.KANANA2_TINY,
        chats=(chats.KANANA2,),
        family="Kanana",
        vendor="Kakao",
        license="Kanana Open License",
        note="Kanana-2 1.3B; windows with a plain RoPE on three of four layers, YaRN on the fourth",
    ),
)


@hookimpl
def lumen_models() -> list[ModelSource]:
    return list(MODELS)
