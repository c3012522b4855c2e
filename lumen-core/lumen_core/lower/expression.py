"""Lower typed expressions: each becomes the operations that compute it, calls are inlined.

In: a typed function whose generics and model sizes are numbers (`T` and `P` may stay symbols).
Out: operations in a builder. What is known now (a config number, `E ** -0.5`) becomes a constant, or an
attribute where the operation wants one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from lumen_core.dsl.configuration import Scaling
from lumen_core.dsl.typed import Substitution, TypedExpr, TypedFunction, instantiate, static_value
from lumen_core.errors import LumenBug, UnsupportedFormatError
from lumen_core.ir.build import Builder
from lumen_core.ir.core import RuleError, Value
from lumen_core.ir.operations.shape import shape_attribute
from lumen_core.ir.operations.values import FLOATS
from lumen_core.source import Diagnostics
from lumen_core.types import TensorType

DEEPEST_CALL = 32

# operation -> (how many operands are tensors, attributes that the static operands after them give)
STATIC_OPERANDS = {
    "rope": (3, ("theta", "scaling")),
    "attention": (3, ("scale", "window")),
    "top_k": (1, ("groups", "kept")),
}
RESHAPES = frozenset({"split", "merge", "reshape"})
COPIED_ATTRIBUTES = ("element", "predicate", "pairs")

Local = Value | int | float | Scaling  # a number where the value is known now
FindFunction = Callable[[str], TypedFunction]


def order_name(weight: str) -> str:
    """The argument that holds the order of a weight's columns, where they are sorted."""
    return f"{weight}.order"


class ExpressionLowering:
    """Lowers the expressions of one model function, or of one plain function, into `builder`.

    find     what a called name means
    formats  weight formats by name, for the activation format that suits each
    config   the model's numbers
    weights  the values of weights and caches by name; the model lowering fills them
    """

    def __init__(
        self,
        builder: Builder,
        find: FindFunction,
        formats: Mapping[str, Any],
        config: Mapping[str, Any],
        outer: Mapping[str, Value],
    ):
        self.builder = builder
        self.find = find
        self.formats = formats
        self.config = config
        self.outer = outer
        self.depth = 0

    # Types

    def type(self, type: TensorType) -> TensorType:
        """Return the type with `activation<F>` as the activation format that suits F."""
        element = type.element
        if element.startswith("activation<"):
            return TensorType(activation_of(element[len("activation<") : -1], self.formats), type.shape)
        return type

    # Functions

    def body(self, function: TypedFunction, arguments: Mapping[str, Local]) -> tuple[Local, ...]:
        """Lower an instantiated function's body; return its results."""
        known: dict[str, Local] = dict(arguments)
        for let in function.lets:
            results = self.results(let.value, known)
            for name, value in zip(let.names, results, strict=True):
                known[name] = value
                if isinstance(value, Value) and value.owner is not None and not value.name:
                    value.name = name.split(".")[0]
        return self.results(function.value, known)

    def results(self, expression: TypedExpr, known: Mapping[str, Local]) -> tuple[Local, ...]:
        if expression.op == "tuple":
            return tuple(self.local(arg, known) for arg in expression.args)
        if expression.op == "call":
            return self.call(expression, known)
        taken = self.taken(expression, known)
        return (self.local(expression, known),) if taken is None else self.results(taken, known)

    def taken(self, expression: TypedExpr, known: Mapping[str, Local]) -> TypedExpr | None:
        """Return the side of a `select` whose condition is known now: the other one is not lowered at all."""
        if expression.op != "select" or expression.args[0].type.shape:
            return None
        condition = self.static(expression.args[0], known)
        side = expression.args[1 if condition else 2]
        return side if condition is not None and side.types == expression.types else None

    def call(self, expression: TypedExpr, known: Mapping[str, Local]) -> tuple[Local, ...]:
        if self.depth >= DEEPEST_CALL:
            self.fail(expression, f"calls nested more than {DEEPEST_CALL} levels deep")
        substitution = expression.attributes["substitution"]
        assert isinstance(substitution, Substitution)
        function = instantiate(self.find(str(expression.attributes["function"])), substitution)
        arguments = [self.local(arg, known) for arg in expression.args]
        names = [name for name, _ in function.parameters]
        self.depth += 1
        results = self.body(function, dict(zip(names, arguments, strict=True)))
        self.depth -= 1
        return results

    # Expressions

    def local(self, expression: TypedExpr, known: Mapping[str, Local]) -> Local:
        """Return the number that the expression is, or lower it."""
        number = self.static(expression, known)
        return self.value(expression, known) if number is None else number

    def static(self, expression: TypedExpr, known: Mapping[str, Local]) -> int | float | Scaling | None:
        if any(type.shape for type in expression.types):
            return None
        numbers: dict[str, Any] = {n: value for n, value in known.items() if not isinstance(value, Value)}
        try:
            number: Any = static_value(expression, {}, {**self.config, **numbers})
        except (ValueError, OverflowError):
            return None
        return float(number) if expression.type.element in FLOATS else number

    def value(self, expression: TypedExpr, known: Mapping[str, Local]) -> Value:
        """Lower an expression with one result."""
        number = self.static(expression, known)
        if number is not None:
            return self.constant(expression, number)
        taken = self.taken(expression, known)
        if taken is not None:
            return self.value(taken, known)
        op, name = expression.op, str(expression.attributes.get("name", ""))
        if op == "local":
            local = known[name]
            assert isinstance(local, Value)
            return local
        if op in ("weight", "cache"):
            return self.outer[name]
        if op == "call":
            (result,) = self.call(expression, known)
            return result if isinstance(result, Value) else self.constant(expression, result)
        return self.operation(expression, known)

    def constant(self, expression: TypedExpr, number: int | float | Scaling) -> Value:
        assert not isinstance(number, Scaling), "the checker lets no scaling stand as a tensor"
        element = expression.type.element
        default = "f32" if isinstance(number, float) else "i32"
        attributes = {} if element in (default, "size") else {"element": element}
        return self.builder.emit("constant", value=number, **attributes)

    def operation(self, expression: TypedExpr, known: Mapping[str, Local]) -> Value:
        """Lower an expression that is an operation of the tensor IR, or nearly one."""
        op, args = expression.op, expression.args
        if op == "size":
            dim = expression.attributes["dim"]
            self.fail(expression, f"the size {dim} has no number here; the page of a model gives it one")
        attributes: dict[str, Any] = {
            key: expression.attributes[key] for key in COPIED_ATTRIBUTES if key in expression.attributes
        }
        if op in STATIC_OPERANDS:
            count, names = STATIC_OPERANDS[op]
            for name, arg in zip(names, args[count:], strict=False):
                number = self.static(arg, known)
                if number is None:
                    self.fail(arg, f"the {name} of {op} must be known before the program runs")
                if isinstance(number, Scaling):
                    attributes |= number.attributes()
                elif name != "window" or number != 0:
                    attributes[name] = number
            args = args[:count]
            if op == "top_k":
                attributes["k"] = expression.type.shape[-1].value
        elif op == "quantize":
            weight = self.value(args[1], known)  # it only tells the format, and the order of its columns
            args = args[:1]
            attributes["activation"] = self.type(expression.type).element
        elif op in RESHAPES:
            op, args = "reshape", args[:1]  # `split` also takes the sizes, which the result's type holds
            attributes = {"shape": shape_attribute(expression.type.shape)}
        operands = [self.value(arg, known) for arg in args]
        if op == "quantize" and (order := order_name(weight.name)) in self.outer:
            operands = [self.builder.emit("reorder", *operands, self.outer[order])]
        if op == "rows" and operands[0].owner is None:
            operands[0] = self.builder.emit("dequantize", self.builder.emit("unpack", operands[0]))
        try:
            result = self.builder.emit(op, *operands, **attributes)
        except RuleError as error:
            self.fail(expression, str(error))
        wanted = self.type(expression.type)
        if result.type != wanted:
            raise LumenBug(f"{expression.span}: {op} gives {result.type}, the checker said {wanted}")
        return result

    def fail(self, expression: TypedExpr, message: str) -> NoReturn:
        diagnostics = Diagnostics()
        diagnostics.error(message, expression.span)
        raise diagnostics.exception()


def activation_of(name: str, formats: Mapping[str, Any]) -> str:
    """Return the activation format that suits a weight format."""
    if name not in formats:
        raise UnsupportedFormatError(f"no installed package declares the format {name}")
    return str(formats[name].activation)
