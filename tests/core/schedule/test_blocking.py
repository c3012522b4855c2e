"""How products are cut: the model's choice for made-up targets, and products of rows in parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from kit.forms import declarations, form

from lumen_core.quant.layout import ActivationLayout, WeightLayout
from lumen_core.schedule.blocking import Blocking, choose_blocking, choose_unit, tile_columns
from lumen_core.target import Instruction, Target

from .compiled import TARGETS
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
    ],
)
def test_units_fill_half_of_the_second_cache_evenly(
    groups: int, least: int, near: int, threads: int, unit: int
) -> None:
    assert choose_unit(groups, least, near, threads, machine()) == unit


def test_panels_have_as_many_columns_as_registers_hold_sums() -> None:
    """Beside 8 vectors of codes, 4 totals and a scale; with 16 registers 4, 1, a scale and an activation."""
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
