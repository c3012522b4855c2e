"""Numbers that record what is done with them: formulas written for numpy arrays become kernel IR.

`Lane` has the operators of an array, `Lanes` the functions that formulas call (`where`, `maximum`, `abs`).
"""

from __future__ import annotations

from lumen_core.ir.kernel import Type, Value
from lumen_core.ir.kernel_builder import Builder


class Lane:
    """A vector, or a comparison's outcome; operands may be plain numbers."""

    __array_ufunc__ = None  # numpy's scalars leave operators to this class

    def __init__(self, builder: Builder, value: Value):
        self.builder = builder
        self.value = value

    def _other(self, other: Lane | float) -> Value:
        return other.value if isinstance(other, Lane) else self.builder.constant(self.value.type, other)

    def _made(self, value: Value) -> Lane:
        return Lane(self.builder, value)

    def __add__(self, other: Lane | float) -> Lane:
        return self._made(self.builder.add(self.value, self._other(other)))

    def __sub__(self, other: Lane | float) -> Lane:
        return self._made(self.builder.sub(self.value, self._other(other)))

    def __mul__(self, other: Lane | float) -> Lane:
        return self._made(self.builder.mul(self.value, self._other(other)))

    def __truediv__(self, other: Lane | float) -> Lane:
        return self._made(self.builder.div(self.value, self._other(other)))

    def __radd__(self, other: float) -> Lane:
        return self + other

    def __rsub__(self, other: float) -> Lane:
        return self._made(self.builder.sub(self._other(other), self.value))

    def __rmul__(self, other: float) -> Lane:
        return self * other

    def __rtruediv__(self, other: float) -> Lane:
        return self._made(self.builder.div(self._other(other), self.value))

    def _compared(self, predicate: str, other: Lane | float) -> Lane:
        return self._made(self.builder.compare(predicate, self.value, self._other(other)))

    def __gt__(self, other: Lane | float) -> Lane:
        return self._compared("gt", other)

    def __lt__(self, other: Lane | float) -> Lane:
        return self._compared("lt", other)

    def __ge__(self, other: Lane | float) -> Lane:
        return self._compared("ge", other)

    def __eq__(self, other: object) -> Lane:  # type: ignore[override]  # element by element, as in numpy
        assert isinstance(other, Lane | float)
        return self._compared("eq", other)

    __hash__ = None  # type: ignore[assignment]

    def __and__(self, other: Lane) -> Lane:
        return self._made(self.builder.bitand(self.value, other.value))


class Lanes:
    """The functions, for vectors of one type."""

    def __init__(self, builder: Builder, type: Type):
        self.builder = builder
        self.type = type

    def constant(self, value: float) -> Lane:
        return Lane(self.builder, self.builder.constant(self.type, value))

    def _lane(self, item: Lane | float) -> Lane:
        return item if isinstance(item, Lane) else self.constant(item)

    def where(self, condition: Lane, a: Lane | float, b: Lane | float) -> Lane:
        chosen = self.builder.select(condition.value, self._lane(a).value, self._lane(b).value)
        return Lane(self.builder, chosen)

    def maximum(self, a: Lane, b: Lane | float) -> Lane:
        return Lane(self.builder, self.builder.maximum(a.value, self._lane(b).value))

    def abs(self, a: Lane) -> Lane:
        return Lane(self.builder, self.builder.abs(a.value))
