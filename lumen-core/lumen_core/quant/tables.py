"""Tables whose values a package supplies, checked against what its `.lum` file declares.

In: `table name: i8[256, 8]` with a function that gives the values. Out: a `Table`, or the finding why not.
"""

from __future__ import annotations

import numpy as np

from lumen_core.dsl import ast
from lumen_core.quant.finding import Wrong
from lumen_core.quant.integers import Table

_RANGES = {"i8": (-128, 127), "u8": (0, 255), "i16": (-32768, 32767)}


def supplied(table: ast.Table) -> Table:
    """Return the values of a declared table; raises Wrong."""
    if table.supply is None:
        help = "return FormatSource(path, tables=...) from the package's hook"
        raise Wrong(f"nobody supplies the values of the table {table.name}", table.span, help)
    try:
        array = np.asarray(table.supply(table.name))
    except Exception as error:  # a foreign function may raise anything
        raise Wrong(
            f"the table {table.name} cannot be had: {error or type(error).__name__}", table.span
        ) from None
    if array.dtype.kind not in "iu" or array.shape != table.shape:
        wanted = f"{table.dtype}[{', '.join(map(str, table.shape))}]"
        raise Wrong(f"the table {table.name} is {array.dtype}{list(array.shape)}, not {wanted}", table.span)
    low, high = _RANGES[table.dtype]
    if array.size and not low <= int(array.min()) <= int(array.max()) <= high:
        raise Wrong(f"the table {table.name} does not fit in {table.dtype}", table.span)
    return Table.of(table.name, array)
