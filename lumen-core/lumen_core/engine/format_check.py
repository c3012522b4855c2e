"""Every derived test of one declaration: what `lumen formats check` runs.

In: a declaration and the targets of this machine. Out: one `Finding` a test; nothing is looked up by name.
Codes are compared with plain arithmetic on the declared expression, storing with reading, kernels with
decoding and multiplying in f64 (within the bound of rounded sums), the quantizer with its own reading.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from lumen_core.dsl import ast
from lumen_core.engine.coverage import USES, coverage
from lumen_core.engine.encoders import compile_encoder
from lumen_core.engine.format_samples import complete, magnitudes
from lumen_core.engine.kernel_check import Difference, check_matmul, check_overflow, check_rows, require
from lumen_core.errors import LumenError
from lumen_core.quant.choices import choice
from lumen_core.quant.describe import counted
from lumen_core.quant.direct import evaluate
from lumen_core.quant.encode import Encoder, encode
from lumen_core.quant.integers import BitField, leaves
from lumen_core.quant.normal_form import NormalForm
from lumen_core.runtime.cache import ObjectCache
from lumen_core.target import Target

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
        ("codes against the declaration", partial(_codes, declaration, form)),
        ("storing is the inverse of reading", partial(_storing, form)),
        ("quantizer", partial(_quantizer, form)),
    ]
    for target in targets:
        tests += [
            (f"{target.name}: no overflow", partial(check_overflow, form, target)),
            (f"{target.name}: rows", partial(check_rows, form, target)),
            (f"{target.name}: matmul", partial(check_matmul, form, target)),
            (f"{target.name}: quantizer", partial(_compiled_quantizer, form, target)),
        ]
    tests += [(f"{target.name}: built", partial(_built, form, target)) for target in others]
    for name, test in tests:
        try:
            yield Finding(name, True, test())
        except (LumenError, Difference) as error:
            yield Finding(name, False, str(error))


def fields(form: NormalForm) -> list[BitField]:
    """Every plain integer that a block stores, those that indices of tables and arithmetic read too."""
    found = [form.code, *(scale.integer for scale in (form.scale, form.offset) if scale is not None)]
    return list(dict.fromkeys(field for node in found if node is not None for field in leaves(node)))


def _codes(declaration: ast.Format, form: NormalForm) -> str:
    """Every value of every stored integer, the others random; and blocks of random bits."""
    raw = complete(form, 64)
    tried = [raw]
    values = 0
    for field in fields(form):
        numbers = choice(field, form.name)
        whole = numbers.values[:: max(1, len(numbers.values) // _MOST_VALUES)].astype(np.float32)
        stored = np.ascontiguousarray(_cleared(field, complete(form, len(whole), seed=1)).T)
        numbers.store(np.broadcast_to(whole, (field.count, len(whole))), stored)
        tried.append(np.ascontiguousarray(stored.T))
        values += len(whole)
    blocks = np.concatenate(tried)
    with np.errstate(all="ignore"):
        rows = form.rows(blocks[:, None])
        found, wanted = form.decode(rows), evaluate(declaration, blocks, np.float64)
        bound = 4 * 2.0**-24 * (np.abs(wanted) + magnitudes(form, rows))
        same = (np.abs(found - wanted) <= bound + 1e-37) | (np.isnan(found) & np.isnan(wanted))
    if not same.all():
        block, weight = np.argwhere(~same)[0]
        raise Difference(
            f"weight {weight} of block {blocks[block].tobytes().hex()} is "
            f"{found[block, weight]:g}, the declaration gives {wanted[block, weight]:g}"
        )
    return f"{values} values of {counted(len(fields(form)), 'stored integer')}, {len(raw)} random blocks"


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
        require(np.array_equal(found, values), "stored integers read back differently")
    return f"{counted(len(fields(form)), 'field')} of bits in 256 blocks"


def _quantizer(form: NormalForm) -> str:
    Encoder(form)
    generator = np.random.default_rng(3)
    blocks = max(form.block, 32)
    rows = (generator.standard_normal((64, 4 * blocks)) * 0.02).astype(np.float32)
    once = form.decode(encode(form, rows))
    again = form.decode(encode(form, once))
    error = _relative(once, rows)
    require(np.isfinite(once).all(), "it writes numbers that are not finite")
    drift = _relative(again, once)
    # Of many values the largest of a sub-block may be any, and few scales are tried: another one costs again
    # what the first did.
    most = 0.5 if form.kind == "float" or len(form.alphabet) <= _FOUND_AGAIN else 1.0
    require(drift <= most * error + 1e-7, f"quantizing twice loses {drift:.4f} more, once {error:.4f}")
    zeros = form.decode(encode(form, np.zeros((1, blocks), np.float32)))
    require(np.abs(zeros).max() <= 1e-6, "zeros do not stay zero")
    return f"error {error:.5f} on Gaussian weights, {drift:.5f} more when quantized again"


def _compiled_quantizer(form: NormalForm, target: Target) -> str:
    """The kernels find what numpy finds, but for the order in which sums are rounded."""
    generator = np.random.default_rng(8)
    rows = (generator.standard_normal((24, 4 * max(form.block, 32))) * 0.02).astype(np.float32)
    engine = compile_encoder(form, target, ObjectCache(None))
    lost, wanted = (_relative(form.decode(encode(form, rows, None, by)), rows) for by in (engine, None))
    require(abs(lost - wanted) <= 0.02 * wanted, f"it loses {lost:.5f}, numpy {wanted:.5f}")
    return f"error {lost:.5f}, numpy's {wanted:.5f}"


def _relative(found: np.ndarray, wanted: np.ndarray) -> float:
    difference = found.astype(np.float64) - wanted
    return float(np.sqrt(np.square(difference).mean() / np.square(wanted.astype(np.float64)).mean()))


def _built(form: NormalForm, target: Target) -> str:
    (row,) = coverage([form], [target])
    needed = [use for use in USES if use in row.missing and use != "KV"]
    require(not needed, "; ".join(f"{use}: {row.missing[use]}" for use in needed))
    return ", ".join(use for use in USES if use not in row.missing)
