"""Lower a plain function: what an instruction means, or a piece of the standard library by itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lumen_core.dsl.configuration import Scaling
from lumen_core.dsl.typed import Substitution, TypedFunction, TypedModule, instantiate
from lumen_core.ir.build import Builder
from lumen_core.ir.core import Function, Value
from lumen_core.lower.expression import ExpressionLowering, Local
from lumen_core.types import Dim


def lower_function(
    module: TypedModule,
    function: str | TypedFunction,
    sizes: Mapping[str, int | Dim],
    *,
    packs: Mapping[str, tuple[int | str | Dim, ...]] | None = None,
    elements: Mapping[str, str] | None = None,
    formats: Mapping[str, Any] | None = None,
) -> Function:
    """Return the function with the generics replaced; each parameter becomes an argument of its name.

    sizes, packs, elements  what the generics stand for; a size may stay a symbol
    formats                 weight formats by name, where the function quantizes
    """
    typed = module.functions[function] if isinstance(function, str) else function
    substitution = Substitution(
        {name: Dim.of(size) for name, size in sizes.items()},
        {name: tuple(map(Dim.of, dims)) for name, dims in (packs or {}).items()},
        dict(elements or {}),
    )
    instance = instantiate(typed, substitution)
    builder = Builder()
    lowering = ExpressionLowering(builder, module.function, formats or {}, {}, {})
    arguments: dict[str, Local] = {}
    for name, type in instance.parameters:
        # a parameter of type `size` is one of the generics
        known = Dim.of(sizes[name]).value if type.element == "size" else None
        arguments[name] = builder.argument(lowering.type(type), name) if known is None else known
    finish(lowering, instance, arguments)
    return Function(typed.name, builder.block)


def finish(lowering: ExpressionLowering, function: TypedFunction, arguments: Mapping[str, Local]) -> None:
    """Lower the body and make its results those of the block."""
    results = []
    for local, type in zip(lowering.body(function, arguments), function.results, strict=True):
        if not isinstance(local, Value):
            assert not isinstance(local, Scaling)
            element = {} if type.element in ("f32", "i32") else {"element": type.element}
            local = lowering.builder.emit("constant", value=local, **element)
        results.append(local)
    lowering.builder.block.results = results
