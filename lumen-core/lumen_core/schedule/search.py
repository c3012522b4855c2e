"""The inner steps of the quantizer as kernels: what `quant/search.py` does in numpy, for every weight.

A vector holds the same weight of as many blocks as it has lanes, so that sums over a sub-block add vectors.
`prepare` lays weights out that way, tile by tile (one tile: `lanes` blocks); `scales` or `affine` search the
scale of every sub-block; `trial` gives the sums for scales; `contents` what the fields of codes hold then.
The formulas are those of `quant/fit.py`, recorded by `Lanes` instead of run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from lumen_core.ir.kernel import F32, I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder, Loop
from lumen_core.quant import fit
from lumen_core.quant.alphabet import Alphabet, alphabet, fields_of
from lumen_core.quant.normal_form import NormalForm
from lumen_core.schedule.nearest import VectorSearch, content_type, near_contents, near_value
from lumen_core.schedule.recorded import Lane, Lanes
from lumen_core.target import Target

_UNROLLED = 8  # weights of a sub-block in a row
_ZERO = 1e-30  # as in quant/search.py


@dataclass(frozen=True)
class Shape:
    """Sizes that all kernels of a format share."""

    form: NormalForm
    target: Target
    weighted: bool

    @property
    def lanes(self) -> int:
        return self.target.lanes

    @property
    def vector(self) -> Type:
        return Type("f32", self.lanes)

    @property
    def sub(self) -> int:
        return self.form.sub

    @property
    def groups(self) -> int:
        return self.form.block // self.form.sub

    @property
    def step(self) -> int:
        """Weights of a sub-block that are handled without a loop."""
        return max(step for step in range(1, _UNROLLED + 1) if self.sub % step == 0)

    @property
    def row(self) -> int:
        """Bytes of a vector."""
        return 4 * self.lanes


def build_prepare(form: NormalForm, target: Target, name: str = "prepare") -> Kernel:
    """Build `name(blocks, x, unit, least, scaled, first, last)`.

    Tiles first <= t < last of f32 [n, block] as [tile, block, lanes]; `scaled`: divided by the largest
    magnitude of each block, which goes to unit [n] (NaN where a weight is not finite), and the least weight,
    as it is, to least [n].
    """
    shape = Shape(form, target, False)
    kernel, b = _kernel(name, ("blocks", "x", "unit", "least"), ("scaled", "first", "last"),
                        f"{form.name}: {shape.lanes} blocks side by side")  # fmt: skip
    blocks, x, unit, least, scaled, first, last = kernel.parameters
    zero = b.constant(shape.vector, 0.0)
    with b.loop(first, last) as tile:
        source = b.offset(blocks, b.mul(tile.index, 4 * form.block * shape.lanes))
        to = b.offset(x, b.mul(tile.index, shape.row * form.block))
        start = b.constant(shape.vector, -np.inf), b.constant(shape.vector, np.inf), zero
        with b.loop(0, form.block, carried=start) as element:
            high, low, nothing = element.values
            from_lane = b.offset(source, b.mul(element.index, 4))
            value = zero
            for lane in range(shape.lanes):
                value = b.insert(value, b.load(F32, from_lane, 4 * form.block * lane, align=4), lane)
            b.store(value, to, b.mul(element.index, shape.row), align=4)
            element.next(b.maximum(high, value), b.minimum(low, value), b.fma(value, zero, nothing))
        high, low, nothing = element.results
        with b.when(b.compare("ne", scaled, 0)):
            largest = b.add(b.maximum(b.maximum(high, b.neg(low)), _ZERO), nothing)
            place = b.mul(tile.index, shape.row)
            b.store(largest, unit, place, align=4)
            b.store(low, least, place, align=4)
            factor = b.div(b.constant(shape.vector, 1.0), largest)
            with b.loop(0, form.block) as element:
                at = b.offset(to, b.mul(element.index, shape.row))
                b.store(b.mul(b.load(shape.vector, at, align=4), factor), at, align=4)
    return kernel


def build_scales(
    form: NormalForm, target: Target, weighted: bool, signed: bool, effort: str, name: str
) -> Kernel:
    """Build `name(x, weight, scale, n, first, last)`: the best scale of each sub-block, [groups, n]."""
    part = _Part(form, target, weighted, ("scale",), name, "the scales of sub-blocks, each alone")
    b, ops, ends = part.builder, part.ops, part.ends
    with part.sub_blocks() as at:
        largest, least = part.extremes(at)
        start = fit.extreme(ops, largest, least, ends, signed)
        multiplier = fit.inverse(ops, start)
        carried: tuple[Value, ...] = (ops.constant(-1.0).value, ops.constant(0.0).value)

        def attempt(loop: Loop, factor: Lane) -> None:
            best, scale = (Lane(b, value) for value in loop.values)
            sums = part.sums(at, multiplier * factor)
            loop.next(*(item.value for item in fit.better_scale(ops, best, scale, sums, signed)))

        carried = part.tries(fit.scale_tries(ends, signed, effort), carried, attempt)
        best, scale = (Lane(b, value) for value in carried)
        for _ in range(2):
            sums = part.sums(at, fit.inverse(ops, scale))
            best, scale = fit.better_scale(ops, best, scale, sums, signed)
        part.store(at, "scale", scale)
    return part.kernel


def build_affine(
    form: NormalForm, target: Target, weighted: bool, signs: bool, effort: str, name: str
) -> Kernel:
    """Build `name(x, weight, sign, scale, offset, n, first, last)`: the best scales and offsets.

    signs: offsets have the sign that f32 [n] gives for their block.
    """
    part = _Part(form, target, weighted, ("sign", "scale", "offset"), name, "scales and offsets, each alone")
    b, ops, ends = part.builder, part.ops, part.ends
    with part.sub_blocks() as at:
        sign = part.load_block(at, "sign") if signs else None
        high, low = part.extremes(at)
        low = fit.bounded_low(ops, low, sign)
        multiplier = fit.inverse(ops, high - low) * (ends.high - ends.low)
        carried: tuple[Value, ...] = (ops.constant(np.inf).value, ops.constant(0.0).value, low.value)
        for cut, factors in zip((False, True), fit.affine_tries(ends, effort), strict=True):

            def attempt(loop: Loop, factor: Lane, cut: bool = cut) -> None:
                best, scale, offset = (Lane(b, value) for value in loop.values)
                step = multiplier * factor
                start = fit.affine_start(ops, ends, low, high, step, cut, signs)
                sums = part.sums(at, step, start)
                found = fit.better_affine(ops, best, scale, offset, sums, sign)
                loop.next(*(item.value for item in found))

            carried = part.tries(factors, carried, attempt)
        best, scale, offset = (Lane(b, value) for value in carried)
        for _ in range(2):
            times = fit.inverse(ops, scale)
            sums = part.sums(at, times, 0.0 - offset * times)
            best, scale, offset = fit.better_affine(ops, best, scale, offset, sums, sign)
        part.store(at, "scale", scale)
        part.store(at, "offset", offset)
    return part.kernel


TRIAL_SUMS = ("xv", "vv", "lost")
AFFINE_SUMS = ("xv", "vv", "v", "x", "one", "lost")


def build_trial(form: NormalForm, target: Target, weighted: bool, name: str) -> Kernel:
    """Build `name(x, weight, scale[, offset], sums..., n, first, last)`: the sums of a trial, [groups, n]."""
    affine = form.offset is not None
    given = ("scale", "offset") if affine else ("scale",)
    kept = AFFINE_SUMS if affine else TRIAL_SUMS
    labels = {f"sum_{item}": item for item in kept}
    part = _Part(form, target, weighted, (*given, *labels), name, "the sums for given scales")
    ops = part.ops
    with part.sub_blocks() as at:
        scale = part.load(at, "scale")
        offset = part.load(at, "offset") if affine else None
        times = fit.inverse(ops, scale)
        sums = part.sums(at, times, 0.0 - offset * times if offset is not None else None, (scale, offset))
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
    part = _Part(form, target, weighted, (*given, *labels), name, "what the fields of codes hold")
    b, ops, shape = part.builder, part.ops, part.shape
    with part.sub_blocks() as at:
        scale = part.load(at, "scale")
        times = fit.inverse(ops, scale)
        start = 0.0 - part.load(at, "offset") * times if affine else None
        if isinstance(values, Alphabet):
            with b.loop(0, shape.sub) as element:
                number = part.number(at, element.index, times, start)
                bits = near_contents(b, values, number.value)
                bits = b.convert(bits, content_type(values.field).element)
                row = b.add(b.mul(at.group, shape.sub), element.index)
                part.store_contents(at, labels[0], row, bits)
        else:
            part.numbers(at, times, start)
            weight = at.weight if weighted else None
            found = VectorSearch(b, values, shape.lanes, part.scratch, weight, exact=True).run()
            for label, item, contents in zip(labels, values.fields, found, strict=True):
                for place, content in enumerate(contents):
                    row = b.add(b.mul(at.group, len(contents)), place)
                    bits = b.convert(content, content_type(item.field).element)
                    part.store_contents(at, label, row, bits)
    return part.kernel


# ----------------------------------------------------------------------- parts


@dataclass
class _At:
    """One sub-block of one tile: addresses of its weights and importance, and where its results go."""

    x: Value
    weight: Value
    group: Value
    tile: Value


class _Part:
    """A kernel over the sub-blocks of tiles, and the steps that such kernels are made of."""

    def __init__(self, form: NormalForm, target: Target, weighted: bool, arrays: Sequence[str], name: str,
                 doc: str):  # fmt: skip
        self.shape = Shape(form, target, weighted)
        self.kernel, self.builder = _kernel(
            name, ("x", "weight", *arrays), ("n", "first", "last"), f"{form.name}: {doc}"
        )
        names = ("x", "weight", *arrays, "n", "first", "last")
        self.given = dict(zip(names, self.kernel.parameters, strict=True))
        self.ops = Lanes(self.builder, self.shape.vector)
        self.values = alphabet(form)
        self.ends = self.values.ends
        if not isinstance(self.values, Alphabet):
            size = self.shape.row * self.shape.sub
            self.scratch, self.found = self.builder.stack(size), self.builder.stack(size)

    @contextmanager
    def sub_blocks(self) -> Iterator[_At]:
        """`with part.sub_blocks() as at`: every sub-block of every tile."""
        b, shape = self.builder, self.shape
        with b.loop(self.given["first"], self.given["last"]) as tile, b.loop(0, shape.groups) as group:
            place = b.mul(tile.index, shape.row * shape.form.block)
            place = b.add(place, b.mul(group.index, shape.row * shape.sub))
            x, weight = b.offset(self.given["x"], place), b.offset(self.given["weight"], place)
            yield _At(x, weight, group.index, tile.index)

    # ------------------------------------------------------------------ memory

    def _place(self, at: _At) -> Value:
        b = self.builder
        row = b.mul(b.mul(at.group, self.given["n"]), 4)
        return b.add(row, b.mul(at.tile, self.shape.row))

    def load(self, at: _At, label: str) -> Lane:
        return Lane(self.builder, self.builder.load(self.shape.vector, self.given[label], self._place(at), 4))

    def load_block(self, at: _At, label: str) -> Lane:
        place = self.builder.mul(at.tile, self.shape.row)
        return Lane(self.builder, self.builder.load(self.shape.vector, self.given[label], place, 4))

    def store(self, at: _At, label: str, value: Lane) -> None:
        self.builder.store(value.value, self.given[label], self._place(at), align=4)

    def store_contents(self, at: _At, label: str, row: Value, bits: Value) -> None:
        b, size = self.builder, Type(bits.type.element).bytes
        place = b.add(b.mul(row, self.given["n"]), b.mul(at.tile, self.shape.lanes))
        b.store(bits, self.given[label], b.mul(place, size), align=size)

    def _x(self, at: _At, index: Value) -> Lane:
        b = self.builder
        return Lane(b, b.load(self.shape.vector, at.x, b.mul(index, self.shape.row), align=4))

    def _weight(self, at: _At, index: Value) -> Lane:
        b = self.builder
        return Lane(b, b.load(self.shape.vector, at.weight, b.mul(index, self.shape.row), align=4))

    # ------------------------------------------------------------------- steps

    def extremes(self, at: _At) -> tuple[Lane, Lane]:
        """The largest and the least weight of a sub-block."""
        b = self.builder
        start = tuple(self.ops.constant(value).value for value in (-np.inf, np.inf))
        with b.loop(0, self.shape.sub, self.shape.step, start) as element:
            high, low = element.values
            for place in range(self.shape.step):
                value = self._x(at, b.add(element.index, place)).value
                high, low = b.maximum(high, value), b.minimum(low, value)
            element.next(high, low)
        return Lane(b, element.results[0]), Lane(b, element.results[1])

    def tries(
        self, factors: Sequence[float], carried: tuple[Value, ...], attempt: Callable[[Loop, Lane], None]
    ) -> tuple[Value, ...]:
        """Run `attempt` for every factor."""
        b = self.builder
        data = b.data(np.array(factors, "<f4").tobytes())
        with b.loop(0, len(factors), carried=carried) as loop:
            attempt(loop, Lane(b, b.load_splat(self.shape.vector, data, b.mul(loop.index, 4))))
        return loop.results

    def number(self, at: _At, index: Value, times: Lane, start: Lane | None) -> Lane:
        """x * times + start: what is to be replaced by a value."""
        x = self._x(at, index)
        if start is None:
            return x * times
        return Lane(self.builder, self.builder.fma(x.value, times.value, start.value))

    def numbers(self, at: _At, times: Lane, start: Lane | None) -> None:
        """Write the numbers of a sub-block to scratch."""
        b = self.builder
        with b.loop(0, self.shape.sub) as element:
            number = self.number(at, element.index, times, start)
            b.store(number.value, self.scratch, b.mul(element.index, self.shape.row), align=4)

    def sums(
        self, at: _At, times: Lane, start: Lane | None = None, scales: tuple[Lane, Lane | None] | None = None
    ) -> fit.Sums:
        """The sums for the values near to x * times + start; errors only with `scales`."""
        b, shape, values = self.builder, self.shape, self.values
        if not isinstance(values, Alphabet):
            self.numbers(at, times, start)
            search = VectorSearch(b, values, shape.lanes, self.scratch, None, exact=False)
            search.run()
            for place, value in search.values.items():
                b.store(value, self.found, place * shape.row, align=4)
        affine = start is not None
        zero = self.ops.constant(0.0).value
        with b.loop(0, shape.sub, shape.step, [zero] * 6) as element:
            xv, vv, v_sum, x_sum, one, lost = element.values
            for place in range(shape.step):
                index = b.add(element.index, place)
                x = self._x(at, index)
                if isinstance(values, Alphabet):
                    v = Lane(b, near_value(b, values, self.number(at, index, times, start).value))
                else:
                    v = Lane(b, b.load(shape.vector, self.found, b.mul(index, shape.row), align=4))
                wx, wv = x, v
                if shape.weighted:
                    weight = self._weight(at, index)
                    wx, wv = x * weight, v * weight
                xv, vv = b.fma(wx.value, v.value, xv), b.fma(wv.value, v.value, vv)
                if affine:
                    v_sum, x_sum = b.add(v_sum, wv.value), b.add(x_sum, wx.value)
                    if shape.weighted:
                        one = b.add(one, weight.value)
                if scales is not None:
                    scale, offset = scales
                    error = v * scale - x if offset is None else v * scale + offset - x
                    bent = error * weight if shape.weighted else error
                    lost = b.fma(bent.value, error.value, lost)
            element.next(xv, vv, v_sum, x_sum, one, lost)
        found = [Lane(b, value) for value in element.results]
        if not shape.weighted:
            found[4] = self.ops.constant(float(shape.sub))
        return fit.Sums(*found)


def _kernel(name: str, pointers: Sequence[str], numbers: Sequence[str], doc: str) -> tuple[Kernel, Builder]:
    parameters = [(label, PTR) for label in pointers] + [(label, I64) for label in numbers]
    kernel = Kernel(name, parameters, doc=doc)
    return kernel, Builder(kernel)
