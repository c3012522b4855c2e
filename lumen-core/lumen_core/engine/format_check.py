"""Every derived test of one declaration: what `lumen formats check` runs.

In: a declaration and the targets of this machine. Out: one `Finding` a test; nothing is looked up by name.
Codes are compared with plain arithmetic on the declared expression, storing with reading, kernels with
decoding and multiplying in f64 (within the bound of rounded sums), the quantizer with its own reading.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from lumen_core.codegen.llvm import emit_llvm
from lumen_core.codegen.objects import compile_object
from lumen_core.dsl import ast
from lumen_core.engine.coverage import USES, coverage
from lumen_core.engine.encoders import compile_encoder
from lumen_core.errors import LumenError
from lumen_core.ir.kernel import Kernel
from lumen_core.ir.operations.values import round_bf16
from lumen_core.quant.bounds import largest_sum
from lumen_core.quant.choices import choice
from lumen_core.quant.describe import counted
from lumen_core.quant.direct import evaluate
from lumen_core.quant.encode import Encoder, encode
from lumen_core.quant.floats import is_small
from lumen_core.quant.integers import BitField, leaves
from lumen_core.quant.layout import ALIGNMENT, ActivationLayout, WeightLayout
from lumen_core.quant.normal_form import FloatField, NormalForm
from lumen_core.quant.panels import pack_panels
from lumen_core.runtime.cache import ObjectCache
from lumen_core.runtime.link import Library
from lumen_core.runtime.memory import address, allocate
from lumen_core.schedule.blocking import tile_columns
from lumen_core.schedule.matmul import MatmulTile, build_matmul
from lumen_core.schedule.pack import build_pack
from lumen_core.schedule.rows import build_rows
from lumen_core.schedule.weights import DotPlan
from lumen_core.target import Target

ROWS = 37  # no multiple of any row group
TOKENS = (1, 3, 35)
_MOST_VALUES = 4096  # of one field that are all tried
_FOUND_AGAIN = 32  # values of a code: so few that what was quantized is found again


@dataclass(frozen=True)
class Finding:
    """The outcome of one test; `detail` says what was covered, or what is wrong."""

    test: str
    passed: bool
    detail: str


def check(
    declaration: ast.Format, form: NormalForm, targets: Sequence[Target], others: Sequence[Target] = ()
) -> Iterator[Finding]:
    """Run every test; for targets that this machine does not run, `others`, build every kernel."""
    tests: list[tuple[str, Callable[[], str]]] = [
        ("codes against the declaration", lambda: _codes(declaration, form)),
        ("storing is the inverse of reading", lambda: _storing(form)),
        ("quantizer", lambda: _quantizer(form)),
    ]
    for target in targets:
        tests += [
            (f"{target.name}: no overflow", lambda t=target: _overflow(form, t)),  # type: ignore[misc]
            (f"{target.name}: rows", lambda t=target: _rows(form, t)),  # type: ignore[misc]
            (f"{target.name}: matmul", lambda t=target: _matmul(form, t)),  # type: ignore[misc]
            (f"{target.name}: quantizer", lambda t=target: _compiled_quantizer(form, t)),  # type: ignore[misc]
        ]
    for target in others:
        tests.append((f"{target.name}: built", lambda t=target: _built(form, t)))  # type: ignore[misc]
    for name, test in tests:
        try:
            yield Finding(name, True, test())
        except (LumenError, _Failed) as error:
            yield Finding(name, False, str(error))


class _Failed(Exception):
    """A test found a difference."""


def _require(good: object, message: str) -> None:
    if not good:
        raise _Failed(message)


# ------------------------------------------------------------------------- data


def fields(form: NormalForm) -> list[BitField]:
    """Every plain integer that a block stores, those that indices of tables and arithmetic read too."""
    found = [form.code, *(scale.integer for scale in (form.scale, form.offset) if scale is not None)]
    return list(dict.fromkeys(field for node in found if node is not None for field in leaves(node)))


def random_rows(form: NormalForm, rows: int, blocks: int, seed: int = 0) -> np.ndarray:
    """Raw rows: random bits, and floats that a quantizer would write. uint8 [rows, row bytes]."""
    generator = np.random.default_rng(seed)
    weights = (generator.standard_normal((rows, blocks * form.block)) * 0.02).astype(np.float32)
    if form.kind == "float":
        return encode(form, weights)
    size = form.block_bytes + form.header_bytes
    raw = generator.integers(0, 256, (rows * blocks, size), dtype=np.uint8)
    for field in form.floats:
        _set_float(field, raw, generator)
    return form.rows(raw.reshape(rows, blocks, size))


def _set_float(field: FloatField, raw: np.ndarray, generator: np.random.Generator) -> None:
    """Moderate numbers, of both signs where there are two: bits that are neither huge nor tiny."""
    middles = {"f16": 0x2400, "bf16": 0x3C00, "f32": 0x3C000000, "e8m0": 0x78, "ue4m3": 0x20, "e4m3": 0x20,
               "e5m2": 0x30}  # fmt: skip
    spans = {"f16": 0x7FF, "bf16": 0x7F, "f32": 0x7FFFFF, "e8m0": 7, "ue4m3": 0x1F, "e4m3": 0x1F, "e5m2": 0xF}
    shape = (len(raw), field.count)
    contents = middles[field.element] + generator.integers(0, spans[field.element] + 1, shape, dtype=np.int64)
    if not is_small(field.element):
        contents |= generator.integers(0, 2, shape, dtype=np.int64) << (8 * field.bytes - 1)
    field.source.store(raw, contents)


# ------------------------------------------------------------------------ tests


def _codes(declaration: ast.Format, form: NormalForm) -> str:
    """Every value of every stored integer, the others random; and blocks of random bits."""
    raw = _complete(form, 64)
    tried = [raw]
    values = 0
    for field in fields(form):
        numbers = choice(field, form.name)
        whole = numbers.values[:: max(1, len(numbers.values) // _MOST_VALUES)].astype(np.float32)
        stored = np.ascontiguousarray(_cleared(field, _complete(form, len(whole), seed=1)).T)
        numbers.store(np.broadcast_to(whole, (field.count, len(whole))), stored)
        tried.append(np.ascontiguousarray(stored.T))
        values += len(whole)
    blocks = np.concatenate(tried)
    with np.errstate(all="ignore"):
        rows = form.rows(blocks[:, None])
        found, wanted = form.decode(rows), evaluate(declaration, blocks, np.float64)
        bound = 4 * 2.0**-24 * (np.abs(wanted) + _magnitudes(form, rows))
        same = (np.abs(found - wanted) <= bound + 1e-37) | (np.isnan(found) & np.isnan(wanted))
    if not same.all():
        block, weight = np.argwhere(~same)[0]
        raise _Failed(
            f"weight {weight} of block {blocks[block].tobytes().hex()} is "
            f"{found[block, weight]:g}, the declaration gives {wanted[block, weight]:g}"
        )
    return f"{values} values of {counted(len(fields(form)), 'stored integer')}, {len(raw)} random blocks"


def _complete(form: NormalForm, count: int, seed: int = 0) -> np.ndarray:
    """Random blocks with what their rows store once: uint8 [count, bytes]."""
    return form.completed(random_rows(form, count, 1, seed))[:, 0]


def _cleared(field: BitField, blocks: np.ndarray) -> np.ndarray:
    """Blocks with zeros where the field lies."""
    made = blocks.copy()
    for source in field.sources:
        for bit in source:
            if bit >= 0:
                made[:, bit >> 3] &= ~np.uint8(1 << (bit & 7))
    return made


def _storing(form: NormalForm) -> str:
    generator = np.random.default_rng(2)
    for field in fields(form):
        numbers = choice(field, form.name)
        stored = np.zeros((form.block_bytes + form.header_bytes, 256), np.uint8)
        values = generator.choice(numbers.values, (field.count, 256))
        numbers.store(values.astype(np.float32), stored)
        found = field.decode(np.ascontiguousarray(stored.T)).T
        _require(np.array_equal(found, values), "stored integers read back differently")
    return f"{counted(len(fields(form)), 'field')} of bits in 256 blocks"


def _quantizer(form: NormalForm) -> str:
    Encoder(form)
    generator = np.random.default_rng(3)
    blocks = max(form.block, 32)
    rows = (generator.standard_normal((64, 4 * blocks)) * 0.02).astype(np.float32)
    once = form.decode(encode(form, rows))
    again = form.decode(encode(form, once))
    error = _relative(once, rows)
    _require(np.isfinite(once).all(), "it writes numbers that are not finite")
    drift = _relative(again, once)
    # Of many values the largest of a sub-block may be any, and few scales are tried: another one costs again
    # what the first did.
    most = 0.5 if form.kind == "float" or len(form.alphabet) <= _FOUND_AGAIN else 1.0
    _require(drift <= most * error + 1e-7, f"quantizing twice loses {drift:.4f} more, once {error:.4f}")
    zeros = form.decode(encode(form, np.zeros((1, blocks), np.float32)))
    _require(np.abs(zeros).max() <= 1e-6, "zeros do not stay zero")
    return f"error {error:.5f} on Gaussian weights, {drift:.5f} more when quantized again"


def _compiled_quantizer(form: NormalForm, target: Target) -> str:
    """The kernels find what numpy finds, but for the order in which sums are rounded."""
    generator = np.random.default_rng(8)
    rows = (generator.standard_normal((24, 4 * max(form.block, 32))) * 0.02).astype(np.float32)
    engine = compile_encoder(form, target, ObjectCache(None))
    lost, wanted = (_relative(form.decode(encode(form, rows, None, by)), rows) for by in (engine, None))
    _require(abs(lost - wanted) <= 0.02 * wanted, f"it loses {lost:.5f}, numpy {wanted:.5f}")
    return f"error {lost:.5f}, numpy's {wanted:.5f}"


def _relative(found: np.ndarray, wanted: np.ndarray) -> float:
    difference = found.astype(np.float64) - wanted
    return float(np.sqrt(np.square(difference).mean() / np.square(wanted.astype(np.float64)).mean()))


def _built(form: NormalForm, target: Target) -> str:
    (row,) = coverage([form], [target])
    needed = [use for use in USES if use in row.missing and use != "KV"]
    _require(not needed, "; ".join(f"{use}: {row.missing[use]}" for use in needed))
    return ", ".join(use for use in USES if use not in row.missing)


def _overflow(form: NormalForm, target: Target) -> str:
    """Analysis has proved it for sums of 32 bits, the plan proves what the target's instructions add."""
    if form.kind == "float":
        return "no integers"
    plan = DotPlan.choose(form, target)
    return f"codes enter as `{plan.kind}`, {plan.left}; sums reach {largest_sum(form)} at most"


def _largest_value(form: NormalForm) -> int:
    """The largest magnitude of a weight before it is scaled."""
    assert form.code is not None
    return max(abs(value) for value in form.alphabet)


def compiled(kernel: Kernel, target: Target) -> Callable[..., None]:
    """Compile a kernel of pointers and 64-bit numbers; arrays are given as they are."""
    library = Library([compile_object(emit_llvm(kernel, target), target)], [kernel.name])
    kinds = [ctypes.c_void_p if p.type.element == "ptr" else ctypes.c_int64 for p in kernel.parameters]
    function = library.function(kernel.name, None, *kinds)

    def call(*arguments: object) -> None:
        function(*(item.ctypes.data if isinstance(item, np.ndarray) else item for item in arguments))

    call.library = library  # type: ignore[attr-defined]  # code lives as long as its library
    return call


def packed(form: NormalForm, target: Target, raw: np.ndarray) -> np.ndarray:
    """A matrix as the kernels read it."""
    layout = WeightLayout(form, target.lanes, target.depth)
    length = form.columns(raw.shape[1])
    made = allocate(layout.matrix_bytes(len(raw), length), "a packed matrix")
    assert address(made) % ALIGNMENT == 0
    source = np.ascontiguousarray(raw)
    compiled(build_pack(form, target), target)(source, made, length, len(raw), 0, layout.groups(len(raw)))
    return made


def panels(layout: ActivationLayout, codes: np.ndarray, scales: np.ndarray | None) -> np.ndarray:
    """Activations (codes and scales, or plain numbers) in memory as a matmul kernel reads them."""
    bytes = pack_panels(layout, codes, scales)
    made = allocate(bytes.size, "activations")
    made[: bytes.size] = bytes
    return made


def _rows(form: NormalForm, target: Target) -> str:
    raw = random_rows(form, ROWS, 3 if form.block > 1 else 70, seed=4)
    length = form.columns(raw.shape[1])
    ids = np.array([0, ROWS - 1, 5, 5], np.int32)
    found = np.full((len(ids), length), np.nan, np.float32)
    compiled(build_rows(form, target), target)(raw, ids, found, 4 * length, length, 0, len(ids))
    wanted = form.decode(raw)[ids]
    _require(np.array_equal(found, wanted, equal_nan=True), "gathered rows are not the decoded rows")
    return f"{len(ids)} gathered rows, to the bit"


def _matmul(form: NormalForm, target: Target) -> str:
    generator = np.random.default_rng(5)
    length = 96 if form.block == 1 else 3 * form.block
    group = ActivationLayout(form.activation, 1).group
    length = -(-length // group) * group
    raw = random_rows(form, ROWS, length // form.block, seed=6)
    weights = packed(form, target, raw)
    values, sizes = form.decode(raw).astype(np.float64), _magnitudes(form, raw)
    count = 0
    for columns in (1, tile_columns(target)):
        kernel = compiled(build_matmul(form, target, MatmulTile(columns)), target)
        layout = ActivationLayout(form.activation, columns, target.depth)
        for tokens in TOKENS if columns > 1 else (1,):
            for extreme in (False, True):
                codes, scales = _activations(form, tokens, length, extreme, generator)
                x = codes.astype(np.float64)
                if scales is not None:
                    x = x * np.repeat(scales.astype(np.float64), group, axis=1)
                padded = -(-ROWS // target.lanes) * target.lanes
                found = np.full((tokens, padded), np.nan, np.float32)
                kernel(weights, panels(layout, codes, scales), found, 4 * padded, length, 0,
                       padded // target.lanes, tokens)  # fmt: skip
                bound = length * 2.0**-24 * (np.abs(x) @ sizes.T) + 1e-30
                difference = np.abs(found[:, :ROWS] - x @ values.T)
                _require((difference <= bound).all(), f"{tokens} tokens, tile of {columns}: off by "
                         f"{float(np.nanmax(difference / bound)):.3g} times the rounding bound")  # fmt: skip
                count += tokens * ROWS
    return f"{count} sums of {length} products within the bound of rounding"


def _activations(
    form: NormalForm, tokens: int, length: int, extreme: bool, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray | None]:
    if ActivationLayout(form.activation, 1).plain:
        values = generator.standard_normal((tokens, length)).astype(np.float32)
        return round_bf16(values) if form.activation == "bf16" else values, None
    group = ActivationLayout(form.activation, 1).group
    codes = generator.integers(-127, 128, (tokens, length)).astype(np.int8)
    if extreme:
        codes = np.where(np.arange(length) % 5 == 0, -127, 127).astype(np.int8).repeat(tokens).reshape(
            length, tokens).T.copy()  # fmt: skip
    return codes, generator.uniform(1e-3, 1e-2, (tokens, length // group)).astype(np.float32)


def _magnitudes(form: NormalForm, raw: np.ndarray) -> np.ndarray:
    """The size of the terms whose sum a weight is, f64: what rounding is measured by."""
    if form.kind == "float":
        return np.abs(form.decode(raw)).astype(np.float64)
    assert form.scale is not None and form.code is not None
    blocks = form.completed(raw).reshape(-1, form.block_bytes + form.header_bytes)
    scale = np.abs(form.scale.decode(blocks)).astype(np.float64)
    largest = _largest_value(form) + abs(form.zero)
    size = np.repeat(scale, form.block // scale.shape[1], axis=1) * largest
    if form.offset is not None:
        offset = np.abs(form.offset.decode(blocks)).astype(np.float64)
        size = size + np.repeat(offset, form.block // offset.shape[1], axis=1)
    if form.row is not None:
        size = size * np.abs(form.row.decode(blocks))
    return size.reshape(len(raw), -1)
