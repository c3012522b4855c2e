"""What stands around the matmul kernels of experts: rows gathered into panels, results blended.

The products themselves are those of `matmul.py`, called for one expert at a time.
"""

from __future__ import annotations

from lumen_core.ir.kernel import I32, I64, PTR, Kernel, Type, Value
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.layout import ActivationLayout
from lumen_core.schedule.quantize import column_codes, column_scale
from lumen_core.target import Target


def _copy_column(
    b: Builder, source: ActivationLayout, column: Value, panel: Value,
    target: ActivationLayout, to_column: Value, to_panel: Value, length: Value,
) -> None:  # fmt: skip
    """Copy one token's column of a panel of activations to a column of another panel."""

    def at(panel: Value, layout: ActivationLayout, column: Value, size: int) -> Value:
        return b.offset(panel, b.mul(column, size)) if layout.columns > 1 else panel

    words, to_words = at(panel, source, column, 4), at(to_panel, target, to_column, 4)
    if source.plain:
        with b.loop(0, b.div(b.add(length, source.group - 1), source.group)) as entry:
            value = b.load(I32, words, b.mul(entry.index, 4 * source.columns), align=4)
            b.store(value, to_words, b.mul(entry.index, 4 * target.columns), align=4)
        return
    (codes, to_codes), (scales, to_scales) = (
        tuple(
            place(b, layout, where, number) if layout.columns > 1 else where
            for layout, where, number in ((source, panel, column), (target, to_panel, to_column))
        )
        for place in (column_codes, column_scale)
    )
    run = min(source.run, target.run)
    vector = Type("i8", run)
    with b.loop(0, b.div(length, source.group)) as block:
        here, there = (b.mul(block.index, layout.block_bytes) for layout in (source, target))
        for first in range(0, source.codes, run):
            part = b.load(vector, b.offset(codes, here), source.code(0, first))
            b.store(part, b.offset(to_codes, there), target.code(0, first))
        item = b.load(I32, b.offset(scales, here), source.scales, align=4)
        for copy in range(target.side):
            b.store(item, b.offset(to_scales, there), target.scales + 4 * target.side * copy, align=4)
        for word in range((source.block_bytes - source.seeds16) // (4 * source.columns)):
            item = b.load(I32, b.offset(words, here), source.seeds16 + 4 * word * source.columns, align=4)
            b.store(item, b.offset(to_words, there), target.seeds16 + 4 * word * target.columns, align=4)


def build_gather(activation: str, columns: int, depth: int, choices: int, name: str = "gather") -> Kernel:
    """Build `name(source, panel_bytes, rows, target, length, start, count)`.

    Column i of the panels at `target` becomes that of token rows[start + i] / choices, for i < count; both
    sides are panels of `columns` tokens, `panel_bytes` apart.
    """
    layout = ActivationLayout(activation, columns, depth)
    parameters = [("source", PTR), ("panel_bytes", I64), ("rows", PTR), ("target", PTR)]
    parameters += [(label, I64) for label in ("length", "start", "count")]
    kernel = Kernel(name, parameters, doc=f"{activation} columns of the tokens of an expert")
    b = Builder(kernel)
    source, panel_bytes, rows, target, length, start, count = kernel.parameters
    with b.loop(0, count) as entry:
        row = b.convert(b.load(I32, rows, b.mul(b.add(start, entry.index), 4), align=4), "i64")
        token = b.div(row, choices)
        panel = b.offset(source, b.mul(b.div(token, columns), panel_bytes))
        to_panel = b.offset(target, b.mul(b.div(entry.index, columns), panel_bytes))
        to_column = b.rem(entry.index, columns)
        _copy_column(b, layout, b.rem(token, columns), panel, layout, to_column, to_panel, length)
    return kernel


def build_by_token(symbol: str, activation: str, columns: int, depth: int, name: str = "bytoken") -> Kernel:
    """Build `name(weights, activations, panel_bytes, scratch, output, stride, length, groups, first, last)`.

    The product with a whole matrix by the kernel `symbol` of one column, token by token, so that a token's
    numbers are those of a step of its own. `scratch` holds the columns of last - first tokens.
    """
    layout, single = ActivationLayout(activation, columns, depth), ActivationLayout(activation, 1)
    parameters = [("weights", PTR), ("activations", PTR), ("panel_bytes", I64), ("scratch", PTR)]
    parameters += [("output", PTR), *((label, I64) for label in ("stride", "length", "groups"))]
    kernel = Kernel(name, [*parameters, ("first", I64), ("last", I64)], doc="a product, token by token")
    b = Builder(kernel)
    weights, activations, panel_bytes, scratch, output, stride, length, groups, first, last = (
        kernel.parameters
    )
    groups_of = b.div(b.add(length, single.group - 1), single.group)
    column_bytes = b.mul(groups_of, single.block_bytes)

    def column(token: Value) -> Value:
        return b.offset(scratch, b.mul(b.sub(token, first), column_bytes))

    with b.loop(first, last) as token:
        panel = b.offset(activations, b.mul(b.div(token.index, columns), panel_bytes))
        own = b.rem(token.index, columns)
        _copy_column(b, layout, own, panel, single, b.i64(0), column(token.index), length)
    # a group's weights stay near while all tokens take them
    with b.loop(0, groups) as group, b.loop(first, last) as token:
        to = b.offset(output, b.mul(token.index, stride))
        bounds = (group.index, b.add(group.index, 1), b.i64(1))
        b.call(symbol, [weights, column(token.index), to, stride, length, *bounds])
    return kernel


def build_blend(choices: int, target: Target, accumulate: bool, grouped: bool, name: str = "blend") -> Kernel:
    """Build `name(shares, shares_stride, x, x_stride, places, output, stride, first, last, begin, end)`.

    output[t] = or += sum over j of shares[t][j] * x[row of choice j], in the order of choices, for tokens
    first <= t < last and elements begin <= i < end, which are whole vectors. The row is
    places[t * choices + j] if `grouped`, else t * choices + j.
    """
    pairs = [("shares", PTR), ("shares_stride", I64), ("x", PTR), ("x_stride", I64), ("places", PTR)]
    numbers = [(label, I64) for label in ("first", "last", "begin", "end")]
    parameters = [*pairs, ("output", PTR), ("stride", I64), *numbers]
    kernel = Kernel(name, parameters, doc=f"the sum of {choices} rows, each times its share")
    b = Builder(kernel)
    shares, shares_stride, x, x_stride, places, output, stride, first, last, begin, end = kernel.parameters
    vector = Type("f32", target.lanes)
    with b.loop(first, last) as token:
        weights = b.offset(shares, b.mul(token.index, shares_stride))
        to = b.offset(output, b.mul(token.index, stride))
        rows = []
        for choice in range(choices):
            row = b.add(b.mul(token.index, choices), choice)
            if grouped:
                row = b.convert(b.load(I32, places, b.mul(row, 4), align=4), "i64")
            rows.append(b.offset(x, b.mul(row, x_stride)))
        with b.loop(begin, end, target.lanes) as element:
            here = b.mul(element.index, 4)
            total: Value | None = None
            for choice, pointer in enumerate(rows):
                share = b.load_splat(vector, weights, 4 * choice)
                part = b.load(vector, pointer, here, align=4)
                total = b.mul(share, part) if total is None else b.fma(share, part, total)
            assert total is not None
            if accumulate:
                total = b.add(b.load(vector, to, here, align=4), total)
            b.store(total, to, here, align=4)
    return kernel
