"""Row-wise work that goes on with products while they are near: piece by piece of the rows, for all tokens.

What is quantized right behind products, such as silu(gate) * up, and needs no sum over a row, needs of it no
more than the elements that share a scale. So the thread that made these of every token can go on with them,
and what it made is not written to memory and read again after a barrier.
"""

from __future__ import annotations

from lumen_core.ir.core import Function, Operation, Value
from lumen_core.quant.layout import ActivationLayout


class Pieces:
    """Which operations of a function work on pieces; rows go to panels of `columns` tokens, many at a time.

    Products come in row groups of `lanes` rows. A row has at least so many pieces that no thread waits.
    """

    def __init__(self, function: Function, columns: int, lanes: int, least: int):
        self.function = function
        self.columns = columns
        self.lanes = lanes
        self.least = least

    def size(self, operation: Operation) -> int:
        """Elements of the pieces that an operation can work on, 0 if it needs whole rows."""
        if operation.name != "rowwise" or operation.attributes["space"] != "token" or self.columns == 1:
            return 0
        assert operation.region is not None
        steps = operation.region.operations
        makers = {operand.owner.name if operand.owner is not None else "" for operand in operation.operands}
        if makers != {"fused_matmul"} or any(step.family == "reduction" for step in steps):
            return 0
        if len(operation.results) != 1 or not steps or steps[-1].name != "quantize":
            return 0
        lengths = {operand.type.shape[-1].value or 0 for operand in operation.operands}
        group = ActivationLayout(operation.results[0].type.element, self.columns).group
        size, length = max(group, self.lanes), lengths.pop()
        return size if not lengths and length % size == 0 and length // size >= self.least else 0

    def behind(self, product: Value) -> int:
        """Elements of the pieces that what reads a product works on, 0 if it needs whole rows."""
        reader = self._reader(product)
        return self.size(reader) if reader is not None else 0

    def partners(self, product: Value) -> list[Value]:
        """The other products that this one meets in a piece."""
        reader = self._reader(product) if self.behind(product) else None
        return [] if reader is None else [operand for operand in reader.operands if operand is not product]

    def are_kept(self, product: Value) -> bool:
        """Tell whether nobody needs more of a product at a time than a thread's unit.

        So it is where what it meets in the pieces, and then what reads them, follow it without a break.
        """
        reader = self._reader(product) if self.behind(product) else None
        if reader is None or product in self.function.results:
            return False
        last, count = self.function.operations.index(reader), len(set(reader.operands))
        makers = self.function.operations[last - count : last]
        return {maker.results[0] for maker in makers} == set(reader.operands) and all(
            maker.operands[0] is makers[0].operands[0] and len(maker.operands) == 2 for maker in makers
        )

    def _reader(self, product: Value) -> Operation | None:
        readers = [operation for operation in self.function.operations if product in operation.operands]
        return readers[0] if len(readers) == 1 else None
