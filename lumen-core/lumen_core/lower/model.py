"""Lower a model: its `embed`, `block` and `head` with the numbers of one model file.

In: the typed model, its config (sizes, quotients such as `R/2` and scalars by name), the format of every
weight that the file decides, and the formats. Out: functions whose arguments carry the names of parameters,
then layer weights, then model weights, then caches, as far as they are used.
`block` returns its own result and then every cache with this step's rows appended, in declared order.
Only `T` (tokens of this step) and `P` (tokens in the cache) stay symbols.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lumen_core.dsl.configuration import Configuration
from lumen_core.dsl.typed import Substitution, TypedExpr, TypedFunction, TypedModel, TypedModule, instantiate
from lumen_core.errors import ModelError
from lumen_core.ir.build import Builder
from lumen_core.ir.core import Function, Module, Operation, Value
from lumen_core.ir.operations.values import is_weight
from lumen_core.lower.expression import ExpressionLowering, Local, order_name
from lumen_core.lower.function import finish
from lumen_core.types import Dim, TensorType

Numbers = Configuration | Mapping[str, Any]
STEPS = ("embed", "block", "head")


def lower_model(
    module: TypedModule,
    model: TypedModel,
    config: Numbers,
    weight_formats: Mapping[str, str],
    formats: Mapping[str, Any],
) -> Module:
    """Return @embed, @block and @head; `weight_formats` has model weights and those of one layer."""
    return Module(lower_step(module, model, step, config, weight_formats, formats) for step in STEPS)


def lower_step(
    module: TypedModule,
    model: TypedModel,
    step: str,
    config: Numbers,
    weight_formats: Mapping[str, str],
    formats: Mapping[str, Any],
    layer: Mapping[str, int] | None = None,
    orders: Mapping[str, str] | None = None,
) -> Function:
    """Return one of the model's functions with everything that it calls inlined.

    layer   the settings of the layer that a block is lowered for (`i1[L]` on the page)
    orders  of a weight with sorted columns, the first one whose columns are in the same order
    """
    if step not in model.functions:
        raise ModelError(f"the model {model.name} has no fn {step}")
    if isinstance(config, Configuration):
        layer = config.of_layer(0) if layer is None and config.layers else layer
        config = {**config.scalars, **config.sizes, **config.scalings, **(layer or {})}
    substitution = _substitution(config, weight_formats)
    function = instantiate(model.functions[step], substitution)
    builder = Builder()
    arguments: dict[str, Local] = {}
    outer: dict[str, Value] = {}

    def find(name: str) -> TypedFunction:
        callee = module.function(name, model)
        # a model's own function speaks of the model's sizes and weights, a library function of its generics
        return (
            instantiate(callee, _substitution(config, weight_formats)) if name in model.functions else callee
        )

    lowering = ExpressionLowering(builder, find, formats, config, outer)
    for name, type in function.parameters:
        arguments[name] = builder.argument(type, name)
    for name, type in _outer_types(module, model, step).items():
        if name in arguments:
            raise ModelError(f"the model {model.name} has a weight named like a parameter of {step}: {name}")
        outer[name] = builder.argument(substitution.type(type), name)
        element = outer[name].type.element
        if is_weight(element) and element in formats and formats[element].ordered:
            first, columns = order_name((orders or {}).get(name, name)), outer[name].type.shape[-1:]
            if first not in outer:
                outer[first] = builder.argument(TensorType("i32", columns), first)
            outer[order_name(name)] = outer[first]
    _require_known(model, builder.block.arguments, config)
    finish(lowering, function, arguments)
    _drop_unread(builder, {*arguments, *model.caches})
    caches = [outer[name] for name in model.caches if name in outer]
    builder.block.results += [_appended(model, builder, cache) for cache in caches]
    return Function(step, builder.block)


def _substitution(config: Mapping[str, Any], weight_formats: Mapping[str, str]) -> Substitution:
    sizes = {name: Dim.of(value) for name, value in config.items() if isinstance(value, int) and value > 0}
    return Substitution(sizes, {}, {f"weight<{name}>": element for name, element in weight_formats.items()})


def _outer_types(module: TypedModule, model: TypedModel, step: str) -> dict[str, TensorType]:
    """Return the weights and caches that a step reads, also through calls, in the order of arguments."""
    read: set[str] = set()
    seen: set[str] = set()
    pending = [step]
    while pending:
        name = pending.pop()
        if name in seen:
            continue
        seen.add(name)
        for expression in _expressions(module.function(name, model)):
            if expression.op in ("weight", "cache"):
                read.add(str(expression.attributes["name"]))
            elif expression.op == "call":
                pending.append(str(expression.attributes["function"]))
    types = {weight.name: weight.type for weight in model.layer_weights.values()}
    types |= {weight.name: weight.type for weight in model.weights.values()}
    types |= model.caches
    return {name: type for name, type in types.items() if name in read}


def _expressions(function: TypedFunction) -> Iterator[TypedExpr]:
    pending = [*(let.value for let in function.lets), function.value]
    while pending:
        expression = pending.pop()
        yield expression
        pending.extend(expression.args)


def _drop_unread(builder: Builder, kept: set[str]) -> None:
    """Drop the weights that only the other side of a `select` would read."""
    read = {operand for operation in builder.block.operations for operand in operation.operands}
    read.update(builder.block.results)
    arguments = builder.block.arguments
    builder.block.arguments = [value for value in arguments if value in read or value.name in kept]


def _require_known(model: TypedModel, arguments: list[Value], config: Mapping[str, Any]) -> None:
    for argument in arguments:
        weight = model.layer_weights.get(argument.name)
        if weight is not None and weight.condition is not None and not config.get(weight.condition, 1):
            continue  # this layer has no such weight
        if argument.type.element.startswith("weight<"):
            raise ModelError(f"the format of the weight {argument.name} of {model.name} is not given")
        unknown = {name for size in argument.type.shape for name in size.symbols} - {"T", "P"}
        if unknown:
            raise ModelError(f"the size {min(unknown)} of {argument.name} in {model.name} is not given")


def _appended(model: TypedModel, builder: Builder, cache: Value) -> Value:
    appends: list[Operation] = [
        operation
        for operation in builder.block.operations
        if operation.name == "append" and operation.operands[0] is cache
    ]
    if len(appends) != 1:
        raise ModelError(
            f"a block of {model.name} appends to the cache {cache.name} {len(appends)} times, not once"
        )
    return appends[0].result
