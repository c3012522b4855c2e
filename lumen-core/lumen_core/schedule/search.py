"""The inner steps of the quantizer as kernels: what `quant/search.py` does in numpy, for every weight.

A vector holds the same weight of as many blocks as it has lanes, so that sums over a sub-block add vectors.
`prepare` lays weights out that way, tile by tile (one tile: `lanes` blocks); `scales` or `affine` search the
scale of every sub-block; `trial` gives the sums for scales; `contents` what the fields of codes hold then.
The formulas are those of `quant/fit.py`, recorded by `Lanes` instead of run.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from lumen_core.ir.kernel import F32, Kernel, Value
from lumen_core.ir.kernel_builder import Builder, Loop
from lumen_core.quant import fit
from lumen_core.quant.alphabet import Alphabet, alphabet, fields_of
from lumen_core.quant.normal_form import NormalForm
from lumen_core.schedule.nearest import VectorSearch, content_type, near_contents
from lumen_core.schedule.recorded import Lane
from lumen_core.schedule.search_part import At, Part, Shape, new_kernel
from lumen_core.target import Target

_ZERO = 1e-30  # as in quant/search.py
_LAID_OUT = ("x", "weight")  # what `prepare` makes


def build_prepare(form: NormalForm, target: Target, name: str = "prepare") -> Kernel:
    """Build `name(blocks, x, unit, least, scaled, first, last)`.

    Tiles first <= t < last of f32 [n, block] as [tile, block, lanes]; `scaled`: divided by the largest
    magnitude of each block, which goes to unit [n] (NaN where a weight is not finite), and the least weight,
    as it is, to least [n].
    """
    shape = Shape(form, target, False)
    kernel, b = new_kernel(name, ("blocks", "x", "unit", "least"), ("scaled", "first", "last"),
                        f"{form.name}: {shape.lanes} blocks side by side")  # fmt: skip
    blocks, x, unit, least, scaled, first, last = kernel.parameters
    with b.loop(first, last) as tile:
        source = b.offset(blocks, b.mul(tile.index, 4 * form.block * shape.lanes))
        to = b.offset(x, b.mul(tile.index, shape.row * form.block))
        largest, low = lay_out(b, shape, source, to)
        with b.when(b.compare("ne", scaled, 0)):
            place = b.mul(tile.index, shape.row)
            b.store(largest, unit, place, align=4)
            b.store(low, least, place, align=4)
            scale_down(b, shape, to, largest)
    return kernel


def lay_out(b: Builder, shape: Shape, source: Value, to: Value) -> tuple[Value, Value]:
    """Lay a tile's blocks side by side; return the largest magnitude of each (at least 1e-30, or NaN), and
    the least weight."""
    zero = b.constant(shape.vector, 0.0)
    start = b.constant(shape.vector, -np.inf), b.constant(shape.vector, np.inf), zero
    with b.loop(0, shape.form.block, carried=start) as element:
        high, low, nothing = element.values
        from_lane = b.offset(source, b.mul(element.index, 4))
        value = zero
        for lane in range(shape.lanes):
            value = b.insert(value, b.load(F32, from_lane, 4 * shape.form.block * lane, align=4), lane)
        b.store(value, to, b.mul(element.index, shape.row), align=4)
        element.next(b.maximum(high, value), b.minimum(low, value), b.fma(value, zero, nothing))
    high, low, nothing = element.results
    return b.add(b.maximum(b.maximum(high, b.neg(low)), _ZERO), nothing), low


def scale_down(b: Builder, shape: Shape, x: Value, largest: Value) -> None:
    """Divide the weights of a tile by the largest magnitude of their block."""
    factor = b.div(b.constant(shape.vector, 1.0), largest)
    with b.loop(0, shape.form.block) as element:
        at = b.offset(x, b.mul(element.index, shape.row))
        b.store(b.mul(b.load(shape.vector, at, align=4), factor), at, align=4)


def build_scales(
    form: NormalForm, target: Target, weighted: bool, signed: bool, effort: str, name: str
) -> Kernel:
    """Build `name(x, weight, scale, n, first, last)`: the best scale of each sub-block, [groups, n]."""
    part = Part(form, target, weighted, (*_LAID_OUT, "scale"), name, "the scales of sub-blocks, each alone")
    with part.sub_blocks() as at:
        part.store(at, "scale", best_scale(part, at, signed, effort))
    return part.kernel


def best_scale(part: Part, at: At, signed: bool, effort: str) -> Lane:
    """The best scale of a sub-block."""
    b, ops, ends = part.builder, part.ops, part.ends
    largest, least = part.extremes(at)
    starts = fit.uncut(ops, largest, least, ends)
    carried: tuple[Value, ...] = (ops.constant(-1.0).value, ops.constant(0.0).value)

    def attempt(loop: Loop, factor: Lane) -> None:
        best, scale = (Lane(b, value) for value in loop.values)
        sums = part.sums(at, fit.tried(ops, starts, factor))
        loop.next(*(item.value for item in fit.better_scale(ops, best, scale, sums, signed)))

    carried = part.tries(fit.scale_tries(ends, signed, effort), carried, attempt)
    best, scale = (Lane(b, value) for value in carried)
    for _ in range(2):
        sums = part.sums(at, fit.inverse(ops, scale))
        best, scale = fit.better_scale(ops, best, scale, sums, signed)
    return scale


def build_affine(
    form: NormalForm, target: Target, weighted: bool, signs: bool, effort: str, name: str
) -> Kernel:
    """Build `name(x, weight, sign, scale, offset, n, first, last)`: the best scales and offsets.

    signs: offsets have the sign that f32 [n] gives for their block.
    """
    part = Part(
        form,
        target,
        weighted,
        (*_LAID_OUT, "sign", "scale", "offset"),
        name,
        "scales and offsets, each alone",
    )
    with part.sub_blocks() as at:
        scale, offset = best_affine(part, at, part.load_block(at, "sign") if signs else None, effort)
        part.store(at, "scale", scale)
        part.store(at, "offset", offset)
    return part.kernel


def best_affine(part: Part, at: At, sign: Lane | None, effort: str) -> tuple[Lane, Lane]:
    """The best scale and offset of a sub-block; `sign`: of its offset."""
    b, ops, ends = part.builder, part.ops, part.ends
    high, low = part.extremes(at)
    fixed = part.fixed_sums(at)
    low = fit.bounded_low(ops, low, sign)
    multiplier = fit.inverse(ops, high - low) * (ends.high - ends.low)
    carried: tuple[Value, ...] = (ops.constant(np.inf).value, ops.constant(0.0).value, low.value)
    for cut, factors in zip((False, True), fit.affine_tries(ends, effort), strict=True):

        def attempt(loop: Loop, factor: Lane, cut: bool = cut) -> None:
            best, scale, offset = (Lane(b, value) for value in loop.values)
            step = multiplier * factor
            start = fit.affine_start(ops, ends, low, high, step, cut, sign is not None)
            sums = part.sums(at, step, start, fixed=fixed)
            found = fit.better_affine(ops, best, scale, offset, sums, sign)
            loop.next(*(item.value for item in found))

        carried = part.tries(factors, carried, attempt)
    best, scale, offset = (Lane(b, value) for value in carried)
    for _ in range(2):
        times = fit.inverse(ops, scale)
        sums = part.sums(at, times, 0.0 - offset * times, fixed=fixed)
        best, scale, offset = fit.better_affine(ops, best, scale, offset, sums, sign)
    return scale, offset


TRIAL_SUMS = ("xv", "vv", "lost")
AFFINE_SUMS = ("xv", "vv", "v", "x", "one", "lost")


def build_trial(form: NormalForm, target: Target, weighted: bool, name: str) -> Kernel:
    """Build `name(x, weight, scale[, offset], sums..., n, first, last)`: the sums of a trial, [groups, n]."""
    affine = form.offset is not None
    given = ("scale", "offset") if affine else ("scale",)
    kept = AFFINE_SUMS if affine else TRIAL_SUMS
    labels = {f"sum_{item}": item for item in kept}
    part = Part(form, target, weighted, (*_LAID_OUT, *given, *labels), name, "the sums for given scales")
    ops = part.ops
    with part.sub_blocks() as at:
        scale = part.load(at, "scale")
        offset = part.load(at, "offset") if affine else None
        times = fit.inverse(ops, scale)
        start = 0.0 - offset * times if offset is not None else None
        fixed = part.fixed_sums(at) if affine else None
        sums = part.sums(at, times, start, (scale, offset), fixed)
        for label, item in labels.items():
            part.store(at, label, getattr(sums, item))
    return part.kernel


def build_contents(form: NormalForm, target: Target, weighted: bool, name: str) -> Kernel:
    """Build `name(x, weight, scale[, offset], contents..., n, first, last)`.

    For every field of codes, what it holds for the nearest values: [count, n] of `content_type`.
    """
    affine = form.offset is not None
    given = ("scale", "offset") if affine else ("scale",)
    values = alphabet(form)
    labels = tuple(f"contents{index}" for index in range(len(fields_of(values))))
    part = Part(form, target, weighted, (*_LAID_OUT, *given, *labels), name, "what the fields of codes hold")
    with part.sub_blocks() as at:
        scale, offset = part.load(at, "scale"), part.load(at, "offset") if affine else None

        def keep(field: int, row: Value, bits: Value, at: At = at) -> None:
            part.store_contents(at, labels[field], row, bits)

        find_contents(part, at, scale, offset, keep)
    return part.kernel


Keep = Callable[[int, Value, Value], None]


def find_contents(part: Part, at: At, scale: Lane, offset: Lane | None, keep: Keep) -> None:
    """Find the nearest values, and call `keep(field, row, bits)` for what the integers of each field hold."""
    b, shape, values = part.builder, part.shape, part.values
    times = fit.inverse(part.ops, scale)
    start = 0.0 - offset * times if offset is not None else None
    if isinstance(values, Alphabet):
        with b.loop(0, shape.sub) as element:
            number = part.number(at, element.index, times, start)
            bits = b.convert(near_contents(b, values, number.value), content_type(values.field).element)
            keep(0, b.add(b.mul(at.group, shape.sub), element.index), bits)
        return
    part.numbers(at, times, start)
    weight = at.weight if shape.weighted else None
    found = VectorSearch(b, values, shape.lanes, part.scratch, weight, exact=True).run()
    for index, (item, contents) in enumerate(zip(values.fields, found, strict=True)):
        for place, content in enumerate(contents):
            row = b.add(b.mul(at.group, len(contents)), place)
            keep(index, row, b.convert(content, content_type(item.field).element))
