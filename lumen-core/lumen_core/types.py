"""Types shared by every level: symbolic dimensions, element types and tensor types.

A `Dim` is a polynomial with integer coefficients over named sizes (`T`, `P + T`, `2*H*E`), so that
two shapes are equal exactly when their polynomials are.
An element type is a string: a scalar (`f32`, `i8`, ...), a weight format (`q4_k`), an unpacked weight
(`unpacked<q4_k>`) or an activation format (`i8g32`). It is open: any plugin may add names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

SCALARS: dict[str, int] = {  # name -> bits
    "i1": 1, "i8": 8, "u8": 8, "i16": 16, "u16": 16, "i32": 32, "u32": 32, "i64": 64, "u64": 64,
    "f16": 16, "bf16": 16, "f32": 32, "f64": 64,
}  # fmt: skip


@dataclass(frozen=True)
class Dim:
    """A polynomial over named sizes; `terms` maps a sorted tuple of names to its coefficient."""

    terms: tuple[tuple[tuple[str, ...], int], ...]

    @staticmethod
    def of(value: Dim | int | str) -> Dim:
        if isinstance(value, Dim):
            return value
        if isinstance(value, str):
            return Dim((((value,), 1),))
        return Dim((((), int(value)),) if value else ())

    @staticmethod
    def _from(terms: Mapping[tuple[str, ...], int]) -> Dim:
        return Dim(tuple(sorted((k, v) for k, v in terms.items() if v)))

    def __add__(self, other: Dim | int | str) -> Dim:
        total = dict(self.terms)
        for names, count in Dim.of(other).terms:
            total[names] = total.get(names, 0) + count
        return Dim._from(total)

    def __mul__(self, other: Dim | int | str) -> Dim:
        product: dict[tuple[str, ...], int] = {}
        for left, a in self.terms:
            for right, b in Dim.of(other).terms:
                names = tuple(sorted(left + right))
                product[names] = product.get(names, 0) + a * b
        return Dim._from(product)

    def __neg__(self) -> Dim:
        return self * -1

    def __sub__(self, other: Dim | int | str) -> Dim:
        return self + -Dim.of(other)

    def divided(self, other: Dim | int | str) -> Dim | None:
        """Return self / other if it is exact and `other` is a single term, else None."""
        divisor = Dim.of(other).terms
        if len(divisor) != 1:
            return None
        names, count = divisor[0]
        quotient: dict[tuple[str, ...], int] = {}
        for left, a in self.terms:
            rest = list(left)
            for name in names:
                if name not in rest:
                    return None
                rest.remove(name)
            if a % count:
                return None
            quotient[tuple(rest)] = a // count
        return Dim._from(quotient)

    @property
    def symbols(self) -> frozenset[str]:
        return frozenset(name for names, _ in self.terms for name in names)

    @property
    def value(self) -> int | None:
        """The number this is, or None while it has symbols."""
        if not self.terms:
            return 0
        return self.terms[0][1] if self.terms[0][0] == () and len(self.terms) == 1 else None

    def substitute(self, sizes: Mapping[str, Dim | int]) -> Dim:
        result = Dim(())
        for names, count in self.terms:
            term = Dim.of(count)
            for name in names:
                term = term * sizes.get(name, name)
            result = result + term
        return result

    def __str__(self) -> str:
        if not self.terms:
            return "0"
        parts = []
        for names, count in sorted(self.terms, key=lambda term: (-len(term[0]), term[0])):
            body = "*".join(([] if count == 1 and names else [str(count)]) + list(names))
            parts.append(body)
        return " + ".join(parts).replace("+ -", "- ")

    __repr__ = __str__


@dataclass(frozen=True)
class TensorType:
    """An element type and a shape; `shape == ()` is a scalar."""

    element: str
    shape: tuple[Dim, ...]

    @staticmethod
    def of(element: str, *shape: Dim | int | str) -> TensorType:
        return TensorType(element, tuple(Dim.of(size) for size in shape))

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape as numbers; raises ValueError while a symbol is left."""
        sizes = tuple(dim.value for dim in self.shape)
        if None in sizes:
            raise ValueError(f"{self} has a symbolic dimension")
        return sizes  # type: ignore[return-value]

    def substitute(self, sizes: Mapping[str, Dim | int]) -> TensorType:
        return TensorType(self.element, tuple(dim.substitute(sizes) for dim in self.shape))

    def __str__(self) -> str:
        return f"tensor<{self.element}, [{', '.join(map(str, self.shape))}]>"
