"""How products are cut: the model's choice for made-up targets, and products of rows in parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from kit.forms import declarations, form

from lumen_core.ir.kernel import PTR, Kernel
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.layout import ActivationLayout, WeightLayout
from lumen_core.schedule.asking import Asking, Operand
from lumen_core.schedule.blocking import (
    Blocking,
    Part,
    choose_blocking,
    choose_unit,
    kept_near,
    tile_columns,
)
from lumen_core.target import Instruction, Target

from .compiled import TARGETS, compiled
from .matrices import multiply, packed, random_activations
from .test_matmul import close, each_target, matrix

FLOATS = sorted(name for name in declarations() if form(name).kind == "float")


def machine(**facts: object) -> Target:
    """16 lanes, 32 registers, operands spread from memory; two multiplications and loads a cycle."""
    one = Target("made-up", "", "", (), 64, 32, True, (48 << 10, 1 << 20), ())
    return replace(one, **facts)  # type: ignore[arg-type]


def cut(name: str, target: Target, columns: int = 16) -> Blocking:
    normal = form(name)
    layout = WeightLayout(normal, target.lanes, target.depth)
    return choose_blocking(layout, ActivationLayout(normal.activation, columns, target.depth), target)


@pytest.mark.parametrize(
    ("facts", "columns", "groups", "sums"),
    [
        # 16 sums hide a latency of 4 at 2 a cycle; 2 x 8 has them and brings the fewest bytes near: 12 for a
        # product, where 4 x 4 brings 20.
        ({}, 16, 2, 16),
        # With four loads a cycle 1 x 16 is as fast, and brings 8.
        ({"loads": 4}, 16, 1, 16),
        # Four multiplications a cycle have time for 16 loads, not for 17.
        ({"multiplies": 4, "loads": 4}, 16, 2, 16),
        # A lane of a register is an operand: four columns come with one load, so they may be many.
        ({"lane_operands": True, "vector_bytes": 16}, 16, 2, 16),
        # 16 registers hold 8 sums beside their operands.
        ({"registers": 16, "broadcast_memory": False, "vector_bytes": 32}, 4, 2, 8),
    ],
)
def test_the_tile_of_floats(facts: dict[str, object], columns: int, groups: int, sums: int) -> None:
    found = cut("f32", machine(**facts), columns)
    assert (found.groups, found.sums) == (groups, sums)


def test_a_panel_of_a_part_stays_in_the_nearest_cache() -> None:
    """In two thirds of it: of f32 64 bytes an element."""
    assert cut("f32", machine()) == Blocking(2, 16, 512)
    assert cut("f32", machine(cache_bytes=(96 << 10, 1 << 20))).part == 1024
    assert cut("bf16", machine()) == Blocking(2, 16, 1024)
    assert cut("f32", machine(cache_bytes=(1 << 10, 1 << 20))).part == 64


def test_weights_that_stay_near_are_unpacked_there() -> None:
    """As products take them: f16 as f32, and what bf16 holds as pairs of it; the panel stays beside them."""
    assert cut("f16", machine()) == replace(cut("f32", machine()), part=256, unpacked=32 << 10)
    assert cut("ct_float_e5m2_bf16_1_all", machine()) == replace(
        cut("bf16", machine()), part=512, unpacked=32 << 10
    )
    arm = cut("f16", machine(lane_operands=True, vector_bytes=16))
    assert arm.unpacked == 32 * arm.part > 0, "although a panel has more bytes"


def test_what_has_fewer_bytes_comes_by() -> None:
    """Two row groups of four lanes are 32 bytes an element, a panel of 16 columns 64."""
    arm = machine(lane_operands=True, vector_bytes=16)
    assert cut("f32", arm).part == 0
    assert cut("f32", machine()).part > 0


def test_codes_are_multiplied_over_whole_rows() -> None:
    assert cut("q4_k", machine()) == Blocking(1, 16)


def test_unpacked_codes_are_shared_where_every_unit_multiplies() -> None:
    """A panel has 4 to 5 KB of codes and scales for 256 elements; what several have fits near."""
    assert cut("q4_k", machine(spare_units=False)) == Blocking(1, 16, shared=256, panels=7)
    assert cut("q4_0", machine(spare_units=False)) == Blocking(1, 16, shared=256, panels=8)
    near = machine(spare_units=False, cache_bytes=(512 << 10, 1 << 20))
    assert cut("q4_0", near) == Blocking(1, 16, shared=512, panels=16)
    assert cut("q4_0", machine(spare_units=False, cache_bytes=(8 << 10, 1 << 20))).panels == 2
    assert cut("f16", machine(spare_units=False)).panels == 0


@each_target
@pytest.mark.parametrize("name", ["q4_0", "q8_0", "q4_k", "q6_k", "iq4_xs"])
def test_sums_of_codes_do_not_depend_on_the_tile(name: str, target: Target) -> None:
    """Half and twice the columns that the model chooses, and one: the same bits."""
    normal, rows, tokens, chosen = form(name), 2 * target.lanes + 3, 2 * tile_columns(target) + 3, []
    raw = matrix(normal, rows, 512)
    weights = packed(normal, target, raw)
    activations = random_activations(normal, tokens, 512)
    for columns in (tile_columns(target) // 2, tile_columns(target), 2 * tile_columns(target)):
        chosen.append(multiply(normal, target, weights, rows, activations, columns))
    one = replace(activations, codes=activations.codes[:1], scales=activations.scales[:1])
    assert np.abs(chosen[0]).max() > 0
    np.testing.assert_array_equal(chosen[0], chosen[1])
    np.testing.assert_array_equal(chosen[2], chosen[1])
    np.testing.assert_array_equal(multiply(normal, target, weights, rows, one, 1), chosen[1][:1])


@pytest.mark.parametrize(
    ("groups", "least", "near", "threads", "unit"),
    [
        (304, 2, 40 << 10, 2, 8),  # 12 would fit; 38 units of 8 are shared evenly
        (304, 2, 40 << 10, 1, 12),  # alone, the fewer the better
        (56, 1, 43 << 10, 2, 7),  # four units for each of two threads
        (128, 1, 300 << 10, 2, 1),  # no two fit
        (128, 16, 300 << 10, 2, 16),  # what goes on behind them needs 16
        (3, 1, 1 << 10, 8, 1),
        (9496, 1, 8 << 10, 2, 47),  # a head of 151936 rows
        (256, 2, 0, 2, 32),  # nothing has to fit
    ],
)
def test_units_fill_half_of_the_second_cache_evenly(
    groups: int, least: int, near: int, threads: int, unit: int
) -> None:
    assert choose_unit(groups, least, near, threads, machine()) == unit


def test_what_stays_near_of_weights() -> None:
    """Of floats, past which the panels of a prompt come, no more than a tile has; of codes a row group."""
    assert kept_near(form("f32"), 4096, 16, True, machine()) == (0, 2)
    assert kept_near(form("f32"), 4096, 16, False, machine()) == (256 << 10, 2)
    assert kept_near(form("q8_0"), 4096, 16, True, machine()) == (4096 * 16 * 34 // 32, 1)


@pytest.mark.parametrize(
    ("part", "share", "group", "panel", "first", "others"),
    [
        # Tiles of two row groups, 4 .. 10, of 4 KB; panels 0 .. 8 of 8 KB; 128 elements, parts of 64.
        ((0, 64), (0, 4), 4, 0, ("w", 6 << 12), ("w", 6 << 12)),
        ((0, 64), (0, 4), 4, 1, ("w", 7 << 12), ("w", 7 << 12)),
        ((0, 64), (0, 4), 4, 2, ("w", 4 << 12), ("w", 4 << 12)),
        # The last tile: the panel's next part, and the first tile's weights there.
        ((0, 64), (0, 4), 8, 1, ("p", (1 << 13) + 64 * 64), ("w", (5 << 12) + 64 * 64)),
        ((0, 64), (0, 4), 8, 3, ("p", (3 << 13) + 64 * 64), ("p", (3 << 13) + 64 * 64)),
        # The last part: the panel that has its place in the next share; of the last share in the next unit.
        ((64, 128), (0, 4), 8, 1, ("p", 5 << 13), ("w", 5 << 12)),
        ((64, 128), (4, 8), 8, 1, ("p", 1 << 13), ("w", 11 << 12)),
    ],
)
def test_what_is_asked_for(
    part: tuple[int, int],
    share: tuple[int, int],
    group: int,
    panel: int,
    first: tuple[str, int],
    others: tuple[str, int],
) -> None:
    """Where the lines of the part's first element are asked for."""
    target = TARGETS[0]
    layout, activation = WeightLayout(form("f32"), 16, 4), ActivationLayout("f32", 16)
    kernel = Kernel("asked", [("w", PTR), ("p", PTR), ("found", PTR)])
    b = Builder(kernel)
    w, p, found = kernel.parameters
    numbers = [(b.i64(low), b.i64(high)) for low, high in ((4, 10), (0, 8), share, part)]
    operands = Operand(w, b.i64(4 << 10)), Operand(p, b.i64(8 << 10))
    asking = Asking(
        b, layout, activation, operands, (numbers[0], numbers[1]), numbers[2], Part(*numbers[3]), b.i64(128)
    )
    here = b.offset(w, (group << 12) + part[0] * 64)
    for place, where in enumerate(asking.places(b.i64(group), 2, b.i64(panel), here)):
        b.store(b.offset(where, part[0] * 64), found, 8 * place, align=8)
    b.ret()
    memory, result = np.zeros(1 << 17, np.uint8), np.zeros(2, np.int64)
    starts = {"w": memory[: 1 << 16], "p": memory[1 << 16 :]}
    compiled(kernel, target)(starts["w"], starts["p"], result)
    wanted = [starts[name].ctypes.data + offset for name, offset in (first, others)]
    assert result.tolist() == wanted


def test_panels_have_as_many_columns_as_registers_hold_sums() -> None:
    """Beside 8 vectors of codes, 4 totals and a scale; with 16 registers sums come from memory."""
    dots = Instruction("dot4_u8s8", (), "", (), (), "")
    pairs = replace(dots, op="maddubs")
    wide = machine(instructions=(dots,))
    narrow = replace(wide, registers=16, broadcast_memory=False, vector_bytes=32)
    assert (tile_columns(wide), tile_columns(replace(wide, registers=64))) == (16, 32)
    assert (tile_columns(narrow), tile_columns(replace(narrow, instructions=(pairs,)))) == (8, 8)
    assert tile_columns(replace(narrow, registers=32)) == 16
    assert tile_columns(replace(narrow, registers=32, instructions=())) == 8, "products of 16 bits"


@each_target
@pytest.mark.parametrize("name", FLOATS)
def test_rows_in_parts(name: str, target: Target) -> None:
    """Caches so small that rows are cut in parts for 37 tokens; any share of the rows has the same bits."""
    normal, rows = form(name), 5 * target.lanes + 3
    small = replace(target, cache_bytes=(4 << 10, 8 << 10))
    length = 2 * cut(name, small, tile_columns(small)).part + (normal.block if normal.block > 1 else 7)
    raw = matrix(normal, rows, length)
    weights = packed(normal, small, raw)
    for tokens in (3, 37):
        activations = random_activations(normal, tokens, length)
        before = np.random.default_rng(1).standard_normal((tokens, rows)).astype(np.float32)
        for held in (None, before):
            whole = multiply(normal, small, weights, rows, activations, tile_columns(small), held)
            close(whole, name, raw, activations.values, 0 if held is None else held)
            for parts in (2, 5):
                split = multiply(normal, small, weights, rows, activations, tile_columns(small), held, parts)
                np.testing.assert_array_equal(split, whole)


def test_every_target_has_a_tile() -> None:
    for target in TARGETS:
        cuts = {name: cut(name, target, tile_columns(target)) for name in FLOATS}
        assert all(1 <= found.groups <= found.sums < target.registers for found in cuts.values())
        assert all(cuts[name].part > 0 for name in ("f32", "f16", "bf16")), "what the test above is about"
