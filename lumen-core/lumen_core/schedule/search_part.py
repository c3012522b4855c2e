"""The steps that the kernels of the quantizer's search are made of: loops over sub-blocks, loads, sums.

In: a format, a target, the arrays of a kernel. Out: a `Part` whose methods append those steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from lumen_core.ir.kernel import I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder, Loop
from lumen_core.quant import fit
from lumen_core.quant.alphabet import Alphabet, alphabet
from lumen_core.quant.normal_form import NormalForm
from lumen_core.schedule.nearest import VectorSearch, near_value
from lumen_core.schedule.recorded import Lane, Lanes
from lumen_core.target import Target

_UNROLLED = 8  # weights of a sub-block in a row


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


@dataclass
class At:
    """One sub-block of one tile: addresses of its weights and importance, and where its results go."""

    x: Value
    weight: Value
    group: Value
    tile: Value


class Part:
    """A kernel over the sub-blocks of tiles, and the steps that such kernels are made of."""

    def __init__(self, form: NormalForm, target: Target, weighted: bool, arrays: Sequence[str], name: str,
                 doc: str, numbers: Sequence[str] = ("n", "first", "last")):  # fmt: skip
        self.shape = Shape(form, target, weighted)
        self.kernel, self.builder = new_kernel(name, arrays, numbers, f"{form.name}: {doc}")
        self.given = dict(zip((*arrays, *numbers), self.kernel.parameters, strict=True))
        self.ops = Lanes(self.builder, self.shape.vector)
        self.values = alphabet(form)
        self.ends = self.values.ends
        if not isinstance(self.values, Alphabet):
            size = self.shape.row * self.shape.sub
            self.scratch, self.found = self.builder.stack(size), self.builder.stack(size)

    @contextmanager
    def sub_blocks(self) -> Iterator[At]:
        """`with part.sub_blocks() as at`: every sub-block of every tile."""
        b, shape = self.builder, self.shape
        with b.loop(self.given["first"], self.given["last"]) as tile, b.loop(0, shape.groups) as group:
            place = b.mul(tile.index, shape.row * shape.form.block)
            place = b.add(place, b.mul(group.index, shape.row * shape.sub))
            x, weight = b.offset(self.given["x"], place), b.offset(self.given["weight"], place)
            yield At(x, weight, group.index, tile.index)

    # ------------------------------------------------------------------ memory

    def _place(self, at: At) -> Value:
        b = self.builder
        row = b.mul(b.mul(at.group, self.given["n"]), 4)
        return b.add(row, b.mul(at.tile, self.shape.row))

    def load(self, at: At, label: str) -> Lane:
        return Lane(self.builder, self.builder.load(self.shape.vector, self.given[label], self._place(at), 4))

    def load_block(self, at: At, label: str) -> Lane:
        place = self.builder.mul(at.tile, self.shape.row)
        return Lane(self.builder, self.builder.load(self.shape.vector, self.given[label], place, 4))

    def store(self, at: At, label: str, value: Lane) -> None:
        self.builder.store(value.value, self.given[label], self._place(at), align=4)

    def store_contents(self, at: At, label: str, row: Value, bits: Value) -> None:
        b, size = self.builder, Type(bits.type.element).bytes
        place = b.add(b.mul(row, self.given["n"]), b.mul(at.tile, self.shape.lanes))
        b.store(bits, self.given[label], b.mul(place, size), align=size)

    def _x(self, at: At, index: Value) -> Lane:
        b = self.builder
        return Lane(b, b.load(self.shape.vector, at.x, b.mul(index, self.shape.row), align=4))

    def _weight(self, at: At, index: Value) -> Lane:
        b = self.builder
        return Lane(b, b.load(self.shape.vector, at.weight, b.mul(index, self.shape.row), align=4))

    # ------------------------------------------------------------------- steps

    def extremes(self, at: At) -> tuple[Lane, Lane]:
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

    def number(self, at: At, index: Value, times: Lane, start: Lane | None) -> Lane:
        """x * times + start: what is to be replaced by a value."""
        x = self._x(at, index)
        if start is None:
            return x * times
        return Lane(self.builder, self.builder.fma(x.value, times.value, start.value))

    def numbers(self, at: At, times: Lane, start: Lane | None) -> None:
        """Write the numbers of a sub-block to scratch."""
        b = self.builder
        with b.loop(0, self.shape.sub) as element:
            number = self.number(at, element.index, times, start)
            b.store(number.value, self.scratch, b.mul(element.index, self.shape.row), align=4)

    def fixed_sums(self, at: At) -> tuple[Lane, Lane]:
        """The sums of the weights and of the importance, which no scale changes."""
        b, shape = self.builder, self.shape
        zero = self.ops.constant(0.0).value
        with b.loop(0, shape.sub, shape.step, [zero] * 2) as element:
            x_sum, one = element.values
            for place in range(shape.step):
                index = b.add(element.index, place)
                x = self._x(at, index)
                if shape.weighted:
                    weight = self._weight(at, index)
                    x, one = x * weight, b.add(one, weight.value)
                x_sum = b.add(x_sum, x.value)
            element.next(x_sum, one)
        sums = [Lane(b, value) for value in element.results]
        return sums[0], sums[1] if shape.weighted else self.ops.constant(float(shape.sub))

    def sums(
        self,
        at: At,
        times: Lane,
        start: Lane | None = None,
        scales: tuple[Lane, Lane | None] | None = None,
        fixed: tuple[Lane, Lane] | None = None,
    ) -> fit.Sums:
        """The sums for the values near to x * times + start; errors only with `scales`.

        fixed: the sums that `fixed_sums` gave, where there is an offset to be found.
        """
        b, shape, values = self.builder, self.shape, self.values
        if not isinstance(values, Alphabet):
            self.numbers(at, times, start)
            search = VectorSearch(b, values, shape.lanes, self.scratch, None, exact=False)
            search.run()
            for place, value in search.values.items():
                b.store(value, self.found, place * shape.row, align=4)
        zero = self.ops.constant(0.0).value
        with b.loop(0, shape.sub, shape.step, [zero] * 4) as element:
            xv, vv, v_sum, lost = element.values
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
                if fixed is not None:
                    v_sum = b.add(v_sum, wv.value)
                if scales is not None:
                    scale, offset = scales
                    error = v * scale - x if offset is None else v * scale + offset - x
                    bent = error * weight if shape.weighted else error
                    lost = b.fma(bent.value, error.value, lost)
            element.next(xv, vv, v_sum, lost)
        found = [Lane(b, value) for value in element.results]
        none = self.ops.constant(0.0)
        x_sum, one = fixed or (none, none)
        return fit.Sums(found[0], found[1], found[2], x_sum, one, found[3])


def new_kernel(
    name: str, pointers: Sequence[str], numbers: Sequence[str], doc: str
) -> tuple[Kernel, Builder]:
    parameters = [(label, PTR) for label in pointers] + [(label, I64) for label in numbers]
    kernel = Kernel(name, parameters, doc=doc)
    return kernel, Builder(kernel)
