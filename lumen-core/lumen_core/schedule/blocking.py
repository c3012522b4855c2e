"""How a product of many columns is cut for a target: its tile, what stays near, and parts of the rows.

A tile is some row groups times some columns of a panel; its sums live in registers. Of the two operands one
stays near (in the nearest cache, or in the second where more of a row is summed so) while the other comes by:

    for a share of what comes by, as much as half of the second cache holds
        for a part of the rows' elements
            for what stays: a tile's row groups, or a panel
                for what comes by: panels, or row groups
                    the tile adds its sums to the output

A panel is always summed over whole rows: it may as well come from the second cache.
Where unpacking codes costs what multiplying them does, several panels share unpacked ones (shared_tile.py).
Weights that are stored as other floats stay and are unpacked once for all that comes by.
The choice is arithmetic on numbers of the target (Goto and van de Geijn, "Anatomy of high-performance matrix
multiplication", 2008; Low et al., "Analytical modeling is enough for high-performance BLIS", 2016).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from lumen_core.ir.kernel import Value
from lumen_core.quant.layout import ActivationLayout, WeightLayout
from lumen_core.quant.normal_form import NormalForm
from lumen_core.target import Target

CODES = 8  # vectors of codes of a sub-block of 32, which wait in registers
LEAST_COLUMNS = 8  # of a panel; with 16 registers, measured: 4 take up to 20 % longer, 16 up to 50 %
STEP = 64  # a part of the rows has a multiple of so many elements
TURNS = 4  # units that every thread takes of a phase, at least
NEARING = 0.05  # of the time of a row group's products, what it takes to bring the first panel near: measured
SHARED = (512, 256, 128)  # elements of a row that are unpacked together, where a block is less
PANELS = 16  # that share them, at most
GROUPS = 8  # row groups that meet what the panels have for these elements while it is near


@dataclass(frozen=True)
class Part:
    """Elements start .. stop of the rows."""

    start: Value
    stop: Value


@dataclass(frozen=True)
class Blocking:
    """The cut of a product of many columns.

    groups    row groups of a tile; what they leave is done one by one
    sums      vectors of sums of the widest tile: its row groups times its columns
    part      where a tile's weights stay near: elements of a row that are summed before the sums go to the
              output; 0 where a panel stays, whose rows are summed whole
    unpacked  bytes of a part of a tile's weights as products take them; 0 where they are read as they lie
    shared    of codes: elements of a row that are unpacked together, for `panels` panels at most, whose own
              elements fit the nearest cache; 0 where each panel unpacks them
    """

    groups: int
    sums: int
    part: int = 0
    unpacked: int = 0
    shared: int = 0
    panels: int = 0


def columns_in_turn(target: Target) -> int:
    """Return the columns whose dot products take turns, so that none waits for the one before it.

    Where each takes a register of its own, they are as few as the multipliers need: of products that add up
    in 16 bits none waits, and of a dot product the next column's loads go on meanwhile.
    """
    if target.broadcast_memory:
        return 4
    waits = has_dots(target) and not target.lane_operands
    return max(2 if waits or target.multiplies > 2 else 1, target.depth // 4)


def has_dots(target: Target) -> bool:
    """Tell whether bytes have a dot product of their own, and need not be added up in 16 bits."""
    return any(target.find(op) for op in ("dot4_u8s8", "dot4_s8s8", "dot8_s8s8"))


def tile_columns(target: Target) -> int:
    """Return the columns of a panel: as many sums as the registers hold beside what a row group needs.

    That is a sub-block's codes, the totals that take turns, the rows' scale, what one column has, and of
    products of 16 bits what these take: a register where pairs of them have an instruction, else two for
    either operand's words, a product and the sum of some. Where too few are left, sums come from memory and
    go there, once a sub-block: that costs less than to unpack codes for fewer columns.
    """
    item = 0 if target.broadcast_memory else 1
    words = 0 if has_dots(target) else 1 if target.find("maddubs") else 6
    beside = CODES + columns_in_turn(target) + item + words + 1
    columns = LEAST_COLUMNS
    while 2 * columns + beside <= target.registers:
        columns *= 2
    return columns


def choose_unit(groups: int, least: int, near: int, threads: int, target: Target) -> int:
    """Return the row groups that a thread takes at a time, a multiple of `least`, of `groups` altogether.

    near  bytes of a row group that are used again for every panel, 0 if none

    So many that they stay in half of the second cache, and that every thread has some turns; of these
    choices the one with which the slowest thread is ready first.
    """
    room = target.cache_bytes[1] // 2
    most = max(least, min(room // near if near else groups, groups // (TURNS * threads)))

    def slowest(unit: int) -> float:
        turns, others = divmod(-(-groups // unit) - 1, threads)  # before the last turn, and in it
        last = unit if others else groups - turns * threads * unit  # alone there is what is left
        return turns * unit + last + NEARING * (turns + 1)

    return min(range(least, most + 1, least), key=lambda unit: (slowest(unit), -unit))


def kept_near(form: NormalForm, length: int, columns: int, many: bool, target: Target) -> tuple[int, int]:
    """Return the bytes of a row group that are used again for every panel, and the row groups of a tile.

    Where panels come by (of `many` tokens; few wait for the weights), the weights of a tile are near without
    that, and the more row groups are done together the seldomer the panels come.
    """
    layout = WeightLayout(form, target.lanes, target.depth)
    cut = choose_blocking(layout, ActivationLayout(form.activation, columns, target.depth), target)
    return 0 if cut.part and many else layout.group_bytes(length), cut.groups


def choose_blocking(layout: WeightLayout, activation: ActivationLayout, target: Target) -> Blocking:
    """Return the cut for a format's weights and panels of an activation format.

    Codes bring so many products a byte that neither operand keeps the multiplier waiting: a tile is one row
    group times a panel, over the whole rows. Of floats the tile is one that takes the fewest cycles: with the
    fewest loads if its weights have fewer bytes than the panel, else the one for which the fewest bytes are
    brought near. What has fewer bytes comes by, unless the weights have to be unpacked. Where a panel comes
    by, a part of a row is as long as two thirds of the nearest cache hold of it, so that sums are seldom read
    and written: the tile's weights stay in the second cache. Those that are unpacked stay beside the panel.
    """
    if layout.form.kind == "integer":
        if target.spare_units:
            return Blocking(1, activation.columns)
        sums = layout.form.offset is not None and not activation.has_digits  # codes, scales and little else
        used = activation.block_bytes if sums else activation.seeds16
        near = target.cache_bytes[0] * 3 // 4 // used * activation.group  # elements of a panel
        # Unpacking 32 elements takes about as long as reading and writing the sums of a tile.
        lengths = [max(layout.form.block, own if activation.group <= 32 else 0) for own in SHARED]
        shared = min(lengths, key=lambda own: 32 / own + 1 / min(near / own, PANELS))
        panels = max(2, min(near // shared, PANELS))
        return Blocking(1, activation.columns, shared=shared, panels=panels)
    tiles = list(_tiles(activation.columns, target))
    groups, columns = min(tiles, key=lambda tile: _cost(tile[0], tile[1], target))
    panel = 4 * activation.columns // layout.run
    if _element(layout, groups) >= panel:

        def cost(tile: tuple[int, int]) -> tuple[float, float]:
            cycles, _ = _cost(tile[0], tile[1], target)
            return cycles, (_element(layout, tile[0]) + panel) / (tile[0] * tile[1])

        groups, columns = min(tiles, key=cost)
    elif layout.ready:
        return Blocking(groups, groups * columns)
    element = _element(layout, groups)
    near = target.cache_bytes[0]
    fits = near * 2 // 3 // panel if layout.ready else near // (element + panel)
    step = max(STEP, layout.form.block)
    part = max(fits // step * step, step)
    return Blocking(groups, groups * columns, part, 0 if layout.ready else part * element)


def _element(layout: WeightLayout, groups: int) -> int:
    """Bytes of an element of some row groups, as products take it."""
    return 4 * layout.rows * groups // layout.run


def _tiles(columns: int, target: Target) -> Iterator[tuple[int, int]]:
    """Row groups and columns of tiles whose operands and sums fit the registers, the widest first."""
    while columns >= 1:
        groups = 1
        while groups * columns + groups + _spread_registers(groups, target) <= target.registers:
            yield groups, columns
            groups *= 2
        columns //= 2


def _cost(groups: int, columns: int, target: Target) -> tuple[float, float]:
    """Of a product of vectors: cycles (the most of multiplying, loading, waiting for a sum), and loads."""
    products = groups * columns
    loads = groups + (columns / 4 if target.lane_operands else columns)
    cycles = max(products / target.multiplies, loads / target.loads, target.latency)
    return cycles / products, loads / products


def _spread_registers(groups: int, target: Target) -> int:
    """Registers that hold items of the columns."""
    return 0 if groups == 1 and target.broadcast_memory else 1
