"""A plugin of every kind. Each function returns data; nothing is registered anywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lumen_core.plugins.hookspecs import hookimpl
from lumen_core.plugins.sources import FormatSource, ModelSource
from lumen_core.target import Backend, Target
from lumen_core.weights.mapping import Checkpoint

if TYPE_CHECKING:
    import typer

HERE = Path(__file__).parent
_LAYER = "model.layers.{layer}."
# checkpoint directories of that model: its tensors and settings, and what they are called there
TWIN = Checkpoint(
    "example-twin",
    ("example_twin",),
    {
        "token_embd.weight": "model.embed_tokens.weight",
        "output_norm.weight": "model.norm.weight",
        "output.weight": "lm_head.weight",
        "blk.{layer}.attn_norm.weight": _LAYER + "input_layernorm.weight",
        "blk.{layer}.ffn_norm.weight": _LAYER + "post_attention_layernorm.weight",
        **{f"blk.{{layer}}.attn_{name}.weight": f"{_LAYER}self_attn.{name}_proj.weight" for name in "qkv"},
        "blk.{layer}.attn_output.weight": _LAYER + "self_attn.o_proj.weight",
        **{
            f"blk.{{layer}}.attn_{name}_norm.weight": f"{_LAYER}self_attn.{name}_norm.weight" for name in "qk"
        },
        **{
            f"blk.{{layer}}.{ours}_{name}.weight": f"{_LAYER}{theirs}.{name}_proj.weight"
            for ours, theirs in (("ffn", "mlp"), ("twin", "second_mlp"))
            for name in ("gate", "up", "down")
        },
    },
)


@hookimpl
def lumen_backends() -> list[Backend]:
    """A machine that does not exist, with vectors and no instruction of its own."""
    target = Target(
        name="example-plain",
        triple="",
        cpu="",
        features=(),
        vector_bytes=16,
        registers=16,
        broadcast_memory=False,
        cache_bytes=(32 << 10, 1 << 20),
        instructions=(),
    )
    return [Backend(name="example", machines=("example64",), targets=(target,))]


@hookimpl
def lumen_formats() -> list[FormatSource]:
    return [FormatSource(HERE / "formats.lum")]


@hookimpl
def lumen_models() -> list[ModelSource]:
    return [
        ModelSource(
            name="example_bag",
            path=HERE / "example_bag.lum",
            architectures=("example-bag",),
            family="Example",
            vendor="nobody",
            license="Apache-2.0",
            note="no attention: every token goes its own way",
        ),
        ModelSource(
            name="example_twin",
            path=HERE / "example_twin.lum",
            architectures=("example-twin",),
            family="Example",
            vendor="nobody",
            license="Apache-2.0",
            note="like qwen3 of another package, with a second feed-forward network",
            checkpoints=(TWIN,),
        ),
    ]


@hookimpl
def lumen_commands() -> list[typer.Typer]:
    import typer

    app = typer.Typer(name="hello", help="Greet somebody: the example plugin's command.")

    @app.command()
    def hello(name: str = "Lumen") -> None:
        """Greet somebody."""
        print(f"안녕, {name}!")

    return [app]
