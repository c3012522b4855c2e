"""The typed tree: what `check` makes of a syntax tree, and all that `lower` needs.

Every expression is a `TypedExpr`: an op, its operands and the types of its results. Names are resolved,
literals have an element type, calls carry what their generics stand for. The ops are

    op        attributes              meaning
    constant  value: int | float      a literal, already of the element type where it is used
    size      dim: Dim                a size used as a number (`E ** -0.5`); element f32 or an integer
    config    name                    a number from the model's config section; f32 []
    local     name                    a parameter or a let; names are unique in the function (a second
                                      `let x` becomes `x.1`)
    weight    name, layer: bool       a weight; its element is the declared one, or `weight<name>` where the
                                      file decides
    cache     name                    the rows that the cache holds before this step: [P, ...]
    call      function, substitution  a call of a declared function, found by `TypedModule.function`;
                                      `instantiate(callee, substitution)` has the caller's types
    tuple     -                       several results (only as the value of a function); one type each

and any other is a tensor op of that name, operands in order:

    add sub mul div neg  minimum maximum  exp sqrt rsqrt silu abs sign  bitand bitor bitxor shl shr
    compare{predicate: eq ne lt le gt ge}  select  mean sum max (last axis, kept as 1)
    reshape{shape: tuple of Dim}  convert{element} (also `widen`)  saturate{element}
    rows unpack quantize dequantize matmul split merge append attention  rope{pairs: half | interleaved}
    rem pow (static scalars only)

Element-wise ops broadcast as numpy does; there is no explicit broadcast. Operands such as the `scale` of
attention, the `theta` of rope or an `eps` are static scalars: `static_value` computes them once sizes and
config are known. The order of operands is that of the signatures in `builtins.py`: attention(q, k, v, scale),
rope(x, positions, factors, theta), append(cache, x); split(x) has only x, its result's type tells the sizes.

Types may hold symbols. A size is a name in a Dim; in a model those are the config sizes, `T` (tokens of this
step), `P` (tokens in the cache) and quotients that no polynomial can say, named like `R/2`
(`Configuration.sizes` has them all but T and P). A pack `*B` of a generic function is a leading Dim whose one
symbol is `*B`. A format generic `F` is an element name of its own, also inside `unpacked<F>` (weights after
unpack) and `activation<F>` (the activation format that suits F, after quantize). `Substitution.type` replaces
all three.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from operator import and_, eq, ge, gt, le, lshift, lt, ne, or_, rshift, xor

from lumen_core.dsl import ast
from lumen_core.source import NOWHERE, Span
from lumen_core.types import Dim, TensorType

_COMPARISONS = {"eq": eq, "ne": ne, "lt": lt, "le": le, "gt": gt, "ge": ge}


@dataclass(frozen=True)
class Substitution:
    """What the generics of a function stand for in one call."""

    sizes: Mapping[str, Dim] = field(default_factory=dict)
    packs: Mapping[str, tuple[Dim, ...]] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)

    def dim(self, dim: Dim) -> Dim:
        return dim.substitute(self.sizes)

    def shape(self, shape: tuple[Dim, ...]) -> tuple[Dim, ...]:
        """Return the shape with packs spread out."""
        result: list[Dim] = []
        for dim in shape:
            pack = pack_name(dim)
            result += (self.dim(dim),) if pack is None or pack not in self.packs else self.packs[pack]
        return tuple(result)

    def element(self, element: str) -> str:
        if element.endswith(">"):
            outer, inner = element[:-1].split("<", 1)
            return self.formats.get(element) or f"{outer}<{self.element(inner)}>"
        return self.formats.get(element, element)

    def type(self, type: TensorType) -> TensorType:
        return TensorType(self.element(type.element), self.shape(type.shape))

    def after(self, inner: Substitution) -> Substitution:
        """Return the substitution that does `inner` first and this one on its results."""
        return Substitution(
            {name: self.dim(dim) for name, dim in inner.sizes.items()},
            {name: self.shape(dims) for name, dims in inner.packs.items()},
            {name: self.element(element) for name, element in inner.formats.items()},
        )


def pack_name(dim: Dim) -> str | None:
    """Return B for the dim that stands for the pack `*B`, else None."""
    if len(dim.terms) == 1 and len(dim.terms[0][0]) == 1 and dim.terms[0][0][0].startswith("*"):
        return dim.terms[0][0][0][1:]
    return None


@dataclass(frozen=True)
class TypedExpr:
    op: str
    types: tuple[TensorType, ...]
    args: tuple[TypedExpr, ...] = ()
    attributes: Mapping[str, object] = field(default_factory=dict)
    span: Span = field(default=NOWHERE, compare=False, repr=False)

    @property
    def type(self) -> TensorType:
        """The type of the one result."""
        (type,) = self.types
        return type


@dataclass(frozen=True)
class TypedLet:
    """`names` are unique in the function; several names take the results of a call in order."""

    names: tuple[str, ...]
    value: TypedExpr


@dataclass(frozen=True)
class TypedFunction:
    """generics maps a name to `size`, `pack` or `format`; the value of several results is a `tuple`."""

    name: str
    generics: Mapping[str, str]
    parameters: tuple[tuple[str, TensorType], ...]
    results: tuple[TensorType, ...]
    lets: tuple[TypedLet, ...]
    value: TypedExpr
    doc: str = ""
    span: Span = field(default=NOWHERE, compare=False, repr=False)


def instantiate(function: TypedFunction, substitution: Substitution) -> TypedFunction:
    """Return the function with its generics replaced everywhere, so that it can be inlined.

    A parameter of type `size` is a generic of the same name, and keeps its place among the parameters.
    """

    def rewrite(expression: TypedExpr) -> TypedExpr:
        attributes = dict(expression.attributes)
        if isinstance(dim := attributes.get("dim"), Dim):
            attributes["dim"] = substitution.dim(dim)
        if isinstance(shape := attributes.get("shape"), tuple):
            attributes["shape"] = substitution.shape(shape)
        if isinstance(element := attributes.get("element"), str):
            attributes["element"] = substitution.element(element)
        if isinstance(inner := attributes.get("substitution"), Substitution):
            attributes["substitution"] = substitution.after(inner)
        types = tuple(map(substitution.type, expression.types))
        args = tuple(map(rewrite, expression.args))
        return replace(expression, types=types, args=args, attributes=attributes)

    return replace(
        function,
        generics={},
        parameters=tuple((name, substitution.type(type)) for name, type in function.parameters),
        results=tuple(map(substitution.type, function.results)),
        lets=tuple(TypedLet(let.names, rewrite(let.value)) for let in function.lets),
        value=rewrite(function.value),
    )


@dataclass(frozen=True)
class TypedWeight:
    """A weight and where it is in the file.

    tensor     the full tensor name; a layer's has `{layer}` in it ("blk.{layer}.attn_q.weight")
    otherwise  another weight's name, `ones`, or None when the tensor must be there
    condition  the setting per layer that says which layers have it; None: all
    """

    name: str
    type: TensorType
    tensor: str
    otherwise: str | None = None
    condition: str | None = None


@dataclass(frozen=True)
class TypedModel:
    """A checked model.

    config     the settings in order; `configuration.configure` evaluates them against a file's metadata
    quotients  sizes such as `R/2` with the expression that computes them
    caches     name and type per cache, with the leading size `P`
    functions  `embed`, `block`, `head` and any helpers, by name
    unused     patterns of tensors that nothing reads; `{beyond}` is the number of a block behind the last
    """

    name: str
    config: tuple[ast.Config, ...]
    quotients: Mapping[str, ast.Expression]
    weights: Mapping[str, TypedWeight]
    layer_weights: Mapping[str, TypedWeight]
    caches: Mapping[str, TensorType]
    functions: Mapping[str, TypedFunction]
    doc: str = ""
    unused: tuple[str, ...] = ()


@dataclass(frozen=True)
class TypedModule:
    """functions: the module's own and those of the standard library, by name."""

    formats: Mapping[str, ast.Format]
    functions: Mapping[str, TypedFunction]
    models: Mapping[str, TypedModel]
    own: frozenset[str] = frozenset()

    def function(self, name: str, model: TypedModel | None = None) -> TypedFunction:
        """Return what a call of `name` means inside `model`."""
        if model is not None and name in model.functions:
            return model.functions[name]
        return self.functions[name]


def static_value(
    expression: TypedExpr, sizes: Mapping[str, int], scalars: Mapping[str, float]
) -> float | int:
    """Compute a static scalar; `scalars` has config names and, when inlining, locals.

    Raises ValueError if the expression depends on tensor data.
    """
    arguments = [static_value(arg, sizes, scalars) for arg in expression.args]
    match expression.op, arguments:
        case "constant", _:
            return expression.attributes["value"]  # type: ignore[return-value]
        case "size", _:
            dim = expression.attributes["dim"]
            assert isinstance(dim, Dim)
            value = dim.substitute({name: Dim.of(size) for name, size in sizes.items()}).value
            if value is None:
                raise ValueError(f"the size {dim} is not known")
            return value
        case (("config" | "local"), _) if expression.attributes["name"] in scalars:
            return scalars[str(expression.attributes["name"])]
        case "neg", [a]:
            return -a
        case "add", [a, b]:
            return a + b
        case "sub", [a, b]:
            return a - b
        case "mul", [a, b]:
            return a * b
        case "div", [a, b] if b != 0:
            return a / b
        case "rem", [a, b] if b != 0:
            return a % b
        case "pow", [a, b] if a > 0 and abs(b) <= 1024:
            return float(a) ** b
        case (("shl" | "shr" | "bitand" | "bitor" | "bitxor"), [a, b]) if a == int(a) and b == int(b):
            return _bits(expression.op, int(a), int(b))
        case "select", [a, b, c]:
            return b if a else c
        case "compare", [a, b]:
            return int(_COMPARISONS[str(expression.attributes["predicate"])](a, b))
        case "sqrt", [a] if a >= 0:
            return a**0.5
        case "rsqrt", [a] if a > 0:
            return a**-0.5
    raise ValueError(f"`{expression.op}` is not a static scalar")


def _bits(op: str, a: int, b: int) -> int:
    if op in {"shl", "shr"} and not 0 <= b < 64:
        raise ValueError(f"cannot shift by {b}")
    operations = {"shl": lshift, "shr": rshift, "bitand": and_, "bitor": or_, "bitxor": xor}
    return operations[op](a, b)
