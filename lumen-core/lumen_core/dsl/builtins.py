"""The functions that the compiler knows by itself: one row each, name -> type rule.

A row of SIGNATURES is written in the language; the checker unifies it like any call. `choices` are
arguments that are one of a few words. Irregular functions (any number of arguments, an element type as an
argument) have a rule in `rules.py`, named here so that all names stand in one place.
To add a builtin: add a row, and the op of the same name to the tensor IR.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from lumen_core.dsl import ast
from lumen_core.dsl.parse import parse
from lumen_core.source import Source

SIGNATURES = """
# The rows of a table, by number.
fn rows[*B, V, D, F](table: F[V, D], ids: i32[*B]) -> f32[*B, D] { 0 }
# Bytes of a table by their places, table by table.
fn take[*B, V, N](table: u8[*B, V], index: u8[*B, N]) -> u8[*B, N] { 0 }
# A product with a weight matrix, whose rows are outputs.
fn matmul[*B, N, K](x: f32[*B, K], w: f32[N, K]) -> f32[*B, N] { 0 }
# A weight's codes and scales, as its format stores them.
fn unpack[*B, F](w: F[*B]) -> unpacked<F>[*B] { 0 }
# Activations in the format that suits the weight's.
fn quantize[*B, *M, K, F](x: f32[*B, K], w: F[*M, K]) -> activation<F>[*B, K] { 0 }
# The numbers of the K greatest of each row, the greatest first; of equal ones the one that stands first.
fn top_k[T, X](scores: f32[T, X], K: size) -> i32[T, K] { 0 }
# Elements of each row by their numbers.
fn pick[T, X, K](x: f32[T, X], chosen: i32[T, K]) -> f32[T, K] { 0 }
# Products with the matrices that each token chose: a row for every choice, token by token.
fn expert_matmul[T, K, X, N, D](chosen: i32[T, K], x: f32[T, D], w: f32[X, N, D]) -> f32[T * K, N] { 0 }
# The sum of the rows of a token's choices, each times its share.
fn blend[T, K, D](shares: f32[T, K], x: f32[T * K, D]) -> f32[T, D] { 0 }
# The last axis cut into heads.
fn split[*B, E, F](x: F[*B, H * E], H: size) -> F[*B, H, E] { 0 }
# Heads put side by side again.
fn merge[*B, H, E, F](x: F[*B, H, E]) -> F[*B, H * E] { 0 }
# The cache with this step's rows behind its own.
fn append[A, N, G, E, F](cache: F[A, G, E], x: f32[N, G, E]) -> F[A + N, G, E] { 0 }
# Causal attention; query head h reads key head h / (H / G).
fn attention[T, C, H, G, E, X, Y](q: f32[T, H, E], k: X[C, G, E], v: Y[C, G, E], scale: f32) -> f32[T, H, E] {
    0
}
# Rotation by position of the first 2 R elements of each head; `factors` divide the frequencies.
fn rope[T, H, E, R](x: f32[T, H, E], positions: i32[T], factors: f32[R], theta: f32) -> f32[T, H, E] { 0 }
"""

OVERLOADS = """
# The same with the range of positions stretched.
fn rope[T, H, E, R](
    x: f32[T, H, E], positions: i32[T], factors: f32[R], theta: f32, stretch: scaling
) -> f32[T, H, E] { 0 }
# The same, where a query sees the last `window` keys only (0: all).
fn attention[T, C, H, G, E, X, Y](
    q: f32[T, H, E], k: X[C, G, E], v: Y[C, G, E], scale: f32, window: i32
) -> f32[T, H, E] { 0 }
# The same among the `kept` best of as many groups; a group counts by the sum of its two greatest.
fn top_k[T, X](scores: f32[T, X], K: size, groups: i32, kept: i32) -> i32[T, K] { 0 }
# The same where every choice has a row of its own already.
fn expert_matmul[T, K, X, N, D](chosen: i32[T, K], x: f32[T * K, D], w: f32[X, N, D]) -> f32[T * K, N] { 0 }
# What quantized values stand for.
fn dequantize[*B, F](x: unpacked<F>[*B]) -> f32[*B] { 0 }
fn dequantize[*B, F](x: activation<F>[*B]) -> f32[*B] { 0 }
"""

CHOICES: Mapping[str, Mapping[str, tuple[str, ...]]] = {"rope": {"pairs": ("half", "interleaved")}}

INTEGERS = ("i8", "u8", "i16", "u16", "i32", "u32", "i64", "u64")
FLOATS = ("f16", "bf16", "f32", "f64")
NUMBERS = INTEGERS + FLOATS
_BITS = (*INTEGERS, "i1")

# One operand, the same type out: name -> element types that it takes.
ELEMENTWISE: Mapping[str, tuple[str, ...]] = {
    "exp": FLOATS, "sqrt": FLOATS, "rsqrt": FLOATS, "silu": FLOATS,
    "neg": NUMBERS, "abs": NUMBERS, "sign": NUMBERS,
}  # fmt: skip

# Over the last axis, which stays as size 1.
REDUCTIONS: Mapping[str, tuple[str, ...]] = {"mean": FLOATS, "sum": NUMBERS, "max": NUMBERS}

# Two operands that broadcast: operator or name -> (op, element types).
BINARY: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "+": ("add", NUMBERS), "-": ("sub", NUMBERS), "*": ("mul", NUMBERS), "/": ("div", FLOATS),
    "%": ("rem", ()), "**": ("pow", ()),
    "&": ("bitand", _BITS), "|": ("bitor", _BITS), "^": ("bitxor", _BITS),
    "<<": ("shl", INTEGERS), ">>": ("shr", INTEGERS),
    "minimum": ("minimum", NUMBERS), "maximum": ("maximum", NUMBERS),
}  # fmt: skip

COMPARISONS: Mapping[str, str] = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}

# Conversions by name: to which element type, and whether values out of range are clamped.
CONVERSIONS: Mapping[str, tuple[str, str]] = {
    "widen": ("convert", "i32"),
    **{f"saturate_{element}": ("saturate", element) for element in INTEGERS[:-2]},
}

# Functions with a rule of their own in `rules.py`.
IRREGULAR = ("reshape", "convert", "select")

# Functions that only a format may use; `check_format.py` has their rules.
FORMAT_FUNCTIONS = ("bits", "concat", "reinterpret")
FORMAT_OPERATORS = ("|", "^", "&", "<<", ">>", "+", "-", "*", "/")

# Words that look like names but are an argument's choice or a fallback.
RESERVED = frozenset({"ones", "size", "weight", "T", "P"})


@dataclass(frozen=True)
class Builtin:
    """A function with one or more signatures; the first that fits is taken."""

    name: str
    signatures: tuple[ast.Function, ...]
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@cache
def regular() -> Mapping[str, Builtin]:
    """Return the functions that have signatures, by name."""
    found: dict[str, Builtin] = {}
    for function in parse(Source("<builtins>", SIGNATURES + OVERLOADS)).functions:
        before = found[function.name].signatures if function.name in found else ()
        choices = CHOICES.get(function.name, {})
        found[function.name] = Builtin(function.name, (*before, function), choices)
    return found


@cache
def names() -> frozenset[str]:
    """Return every name that a function of the language could be called by."""
    by_name = (name for name in BINARY if name.isidentifier())
    tables = (ELEMENTWISE, REDUCTIONS, CONVERSIONS, IRREGULAR, FORMAT_FUNCTIONS)
    return frozenset(regular()) | frozenset(by_name) | frozenset(name for table in tables for name in table)
