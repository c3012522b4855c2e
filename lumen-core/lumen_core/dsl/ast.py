"""The syntax tree of a `.lum` file: frozen values, each with the span of its text.

Spans take no part in equality, so `parse(print(tree)) == tree`. Nothing here is resolved: a `Name`
may be a parameter, a size, a weight or an enumerated word (`half`); `check` decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from lumen_core.source import NOWHERE, Span


@dataclass(frozen=True)
class Node:
    span: Span = field(default=NOWHERE, compare=False, repr=False, kw_only=True)


# Expressions


@dataclass(frozen=True)
class Number(Node):
    """`15`, `0xF0`, `1e-6`; never negative (that is a Unary)."""

    value: int | float


@dataclass(frozen=True)
class Name(Node):
    name: str


@dataclass(frozen=True)
class Unary(Node):
    """`-x` or `~x`."""

    operator: str
    operand: Expression


@dataclass(frozen=True)
class Binary(Node):
    """`left operator right` with one of `| ^ & == != < <= > >= << >> + - * / % **`."""

    operator: str
    left: Expression
    right: Expression


@dataclass(frozen=True)
class Keyword(Node):
    """`run=32` among the arguments of a call."""

    name: str
    value: Expression


@dataclass(frozen=True)
class Call(Node):
    """`function(arguments..., keywords...)`; `name_span` is the place of the function's name."""

    function: str
    arguments: tuple[Expression, ...]
    keywords: tuple[Keyword, ...] = ()
    name_span: Span = field(default=NOWHERE, compare=False, repr=False, kw_only=True)

    def keyword(self, name: str) -> Expression | None:
        return next((keyword.value for keyword in self.keywords if keyword.name == name), None)


@dataclass(frozen=True)
class Index(Node):
    """`value[index]`: one element, or a look-up per element when the index is a vector."""

    value: Expression
    index: Expression


@dataclass(frozen=True)
class Slice(Node):
    """`value[start:stop]` or `value[start:stop:step]`; what is left out is None."""

    value: Expression
    start: Expression | None
    stop: Expression | None
    step: Expression | None = None


@dataclass(frozen=True)
class List(Node):
    """`[1, 2, 3]`: a table of constants."""

    items: tuple[Expression, ...]


@dataclass(frozen=True)
class Tuple(Node):
    """`(a, b)`: several results of a function."""

    items: tuple[Expression, ...]


Expression: TypeAlias = Number | Name | Unary | Binary | Call | Index | Slice | List | Tuple


# Types


@dataclass(frozen=True)
class Pack(Node):
    """`*B` in a shape or among generics: any number of leading sizes."""

    name: str


@dataclass(frozen=True)
class TypeExpr(Node):
    """`f32[*B, H * E]`, `F[N, K]`, `weight[V, D]`, `unpacked<F>[N, K]`; a scalar has shape None."""

    element: str
    shape: tuple[Expression | Pack, ...] | None = None


# Statements and items

Size: TypeAlias = int | str  # a number, or the name of a format's generic


@dataclass(frozen=True)
class Let(Node):
    """`let a = value` or `let (a, b) = value`."""

    names: tuple[str, ...]
    value: Expression


@dataclass(frozen=True)
class Origin(Node):
    """`from scales[K / G, N]`: a tensor beside the weight's, and what each of its axes runs over.

    An axis is `N` (rows of the weight), `K` (its columns), one of them divided, or `packed(axis)`, words in
    which the integers lie side by side, lowest bits first; `packed(axis, [0, 2, ...])` gives their order.
    """

    tensor: str
    axes: tuple[Expression, ...]


@dataclass(frozen=True)
class Field(Node):
    """`scales: u8[12]`: the next bytes of a block; `count` is None for a single element (`d: f16`).

    row        written `per row`: its bytes lie once in every row, before the blocks
    origin     the tensor that holds it, if that is not the one with the blocks
    otherwise  what it is where that tensor is missing; without it the tensor must be there
    """

    name: str
    dtype: str
    count: Size | None = None
    row: bool = False
    origin: Origin | None = None
    otherwise: Expression | None = None


@dataclass(frozen=True)
class Table(Node):
    """`table name: i8[256, 8]`: constants that the package of this file supplies, rows of the last size.

    supply  gives the values by the table's name; None where nobody does
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    doc: str = ""
    supply: Callable[[str], object] | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True)
class Format(Node):
    """`format name[generics] : block N { fields  lets  value = expression }`; `tables` are its file's.

    One with generics is a family: `specialise` makes formats of it.
    """

    name: str
    block: Size
    fields: tuple[Field, ...]
    lets: tuple[Let, ...]
    value: Expression
    doc: str = ""
    generics: tuple[str, ...] = ()
    tables: tuple[Table, ...] = field(default=(), compare=False, repr=False)

    @property
    def length(self) -> int:
        """Weights of a block, where it is no family's."""
        assert isinstance(self.block, int)
        return self.block


@dataclass(frozen=True)
class Generic(Node):
    """`D` (a size, or a format where it is used as an element) or `*B` (pack) in `fn name[...]`."""

    name: str
    pack: bool = False


@dataclass(frozen=True)
class Parameter(Node):
    name: str
    type: TypeExpr


@dataclass(frozen=True)
class Function(Node):
    """`fn name[generics](parameters) -> results { lets  value }`; the value of several results is a Tuple."""

    name: str
    generics: tuple[Generic, ...]
    parameters: tuple[Parameter, ...]
    results: tuple[TypeExpr, ...]
    lets: tuple[Let, ...]
    value: Expression
    doc: str = ""


@dataclass(frozen=True)
class Config(Node):
    """`name: type = key in 1, 2 else default`; `key` is the metadata key below "<architecture>.", or None.

    layered  written `i1[L]`: one value per layer, and a default that may speak of `layer`
    allowed  the whole numbers that the page can compute; empty: all
    """

    name: str
    type: str
    key: str | None
    default: Expression | None = None
    layered: bool = False
    allowed: tuple[int, ...] = ()


@dataclass(frozen=True)
class Weight(Node):
    """`name: type = "tensor" if flag else other`.

    tensor     the name in the file where it is not "<name>.weight" (in a layer: "blk.<i>.<name>.weight");
               a layer's `"attn_q.bias"` stands for "blk.<i>.attn_q.bias"
    otherwise  what stands in for a missing tensor: another weight's name, or `ones`
    condition  a setting per layer: only the layers where it is true have the weight
    """

    name: str
    type: TypeExpr
    tensor: str | None = None
    otherwise: str | None = None
    condition: str | None = None


@dataclass(frozen=True)
class Cache(Node):
    """`keys: f16[G, E]`: what every token of every layer leaves behind."""

    name: str
    type: TypeExpr


@dataclass(frozen=True)
class Model(Node):
    """`model name like base with part, ... { config { } weights { } layer { } cache { } ... fn ... }`.

    unused   patterns of tensors that a file may have and that nothing reads
    base     the model whose page this one changes: entries of the same name take the place of its own
    without  names of the base's settings, weights, caches and functions that this model has not
    parts    changes that several models share, made before its own
    partial  written `part name { ... }`: no model, but such changes
    """

    name: str
    config: tuple[Config, ...]
    weights: tuple[Weight, ...]
    layer_weights: tuple[Weight, ...]
    caches: tuple[Cache, ...]
    functions: tuple[Function, ...]
    doc: str = ""
    unused: tuple[str, ...] = ()
    base: str | None = None
    without: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    partial: bool = False


Item: TypeAlias = Format | Function | Model | Table


@dataclass(frozen=True)
class Module(Node):
    """A whole file."""

    items: tuple[Item, ...]

    @property
    def formats(self) -> tuple[Format, ...]:
        return tuple(item for item in self.items if isinstance(item, Format))

    @property
    def tables(self) -> tuple[Table, ...]:
        return tuple(item for item in self.items if isinstance(item, Table))

    @property
    def functions(self) -> tuple[Function, ...]:
        return tuple(item for item in self.items if isinstance(item, Function))

    @property
    def models(self) -> tuple[Model, ...]:
        return tuple(item for item in self.items if isinstance(item, Model) and not item.partial)

    @property
    def parts(self) -> tuple[Model, ...]:
        return tuple(item for item in self.items if isinstance(item, Model) and item.partial)
