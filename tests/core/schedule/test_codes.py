"""Where codes lie, of every width: nothing is lost, nothing lies twice, and kernels read what was packed."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from lumen_core.dsl.parse import parse
from lumen_core.ir.kernel import I64, PTR, Kernel, Type
from lumen_core.ir.kernel_builder import Builder
from lumen_core.quant.analyse import analyse
from lumen_core.quant.layout import WeightLayout
from lumen_core.quant.normal_form import NormalForm
from lumen_core.schedule.weights import DotPlan, WeightReader
from lumen_core.source import Source
from lumen_core.target import Target

from .compiled import TARGETS, compiled
from .matrices import packed

WIDTHS = range(1, 9)
BLOCK = 32


@cache
def codes_of(width: int, centered: bool, sub: int = BLOCK) -> NormalForm:
    """A format of codes of so many bits, with a zero point in their middle or at 0."""
    block = max(BLOCK, 2 * sub)
    planes = [(own, width & (own - 1)) for own in (8, 4, 2, 1) if width & own]
    fields = " ".join(f"q{low}: u8[{block * own // 8}]" for own, low in planes)
    code = " | ".join(f"bits(q{low}, {own}, run=1) << {low}" for own, low in planes)
    zero = f" - {1 << (width - 1)}" if centered else ""
    text = (
        f"format w{width} : block {block} {{ d: f16[{block // sub}] {fields} value = d * (({code}){zero}) }}"
    )
    (declaration,) = parse(Source("any.lum", text)).formats
    return analyse(declaration)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("sub", [16, 32, 64])
def test_every_bit_of_a_unit_is_taken_once(width: int, sub: int) -> None:
    for depth in (4, 8):
        layout = WeightLayout(codes_of(width, False, sub), 16, depth)
        assert 8 * layout.unit_bytes == layout.unit * layout.rows * width
        assert layout.unit % layout.depth == 0
        assert len(layout.codes) == layout.unit // 4
        taken = [(f.vector, f.bit + bit) for fields in layout.codes for f in fields for bit in range(f.width)]
        assert sorted(taken) == [(vector, bit) for vector in range(layout.vectors) for bit in range(8)]
        for fields in layout.codes:
            assert sum(field.width for field in fields) == width


def test_codes_that_no_byte_holds_whole_have_few_fields() -> None:
    """As many as are needed: each vector has fewer bits left than a code, and none is cut without need."""
    for width, wanted in {3: [2, 2], 5: [2, 2, 3], 6: [3], 7: [7]}.items():
        layout = WeightLayout(codes_of(width, False), 16)
        vectors = width if width % 2 else width // 2
        period = layout.vectors // vectors
        rest = [len(fields) for fields in layout.codes if len(fields) > 1]
        assert sorted(rest) == sorted(wanted * period)
    for width in (1, 2, 4, 8):
        assert all(len(fields) == 1 for fields in WeightLayout(codes_of(width, False), 16).codes)


def every_code(form: NormalForm) -> np.ndarray:
    """Blocks in which every place of a block has every code, uint8 [codes, block]."""
    return (np.arange(1 << form.bits)[:, None] + 5 * np.arange(form.block)) % (1 << form.bits)


def stored(form: NormalForm, codes: np.ndarray) -> np.ndarray:
    """Raw rows of a block of these codes."""
    raw = np.zeros((len(codes), form.block_bytes), np.uint8)
    assert form.code is not None
    form.code.store(raw, codes)
    return raw


def reading(form: NormalForm, target: Target, matrices: bool) -> Kernel:
    """Build `read(weights, operands, groups)`: the operands of all row groups, of one block each.

    Each is read on its own as well, behind those that are read together.
    """
    layout, plan = WeightLayout(form, target.lanes, target.depth), DotPlan.choose(form, target)
    kernel = Kernel("read", [("weights", PTR), ("operands", PTR), ("groups", I64)])
    b = Builder(kernel)
    weights, operands, groups = kernel.parameters
    reader = WeightReader(b, layout, plan, target, matrices)
    count, step = form.block // 4, 4 * layout.rows
    with b.loop(0, groups) as group:
        row_group = b.offset(weights, b.mul(group.index, layout.group_bytes(form.block)))
        to = b.offset(operands, b.mul(group.index, 2 * count * step))
        for start in range(0, form.block, layout.unit):
            unit = b.offset(row_group, layout.places(0)[0] + start // layout.unit * layout.unit_bytes)
            every = range(layout.unit // 4)
            found = reader.operands(unit, every)
            found += [reader.operands(unit, range(own, own + 1))[0] for own in every]
            for number, operand in enumerate(found):
                half, own = divmod(number, len(every))
                where = (half * count + start // 4 + own) * step
                b.store(b.bitcast(operand, Type("i8", step)), to, where)
    return kernel


def check_operands(target: Target) -> None:
    """Codes of every width come back as the plan of their products wants them."""
    for width in WIDTHS:
        for centered in (False, True):
            form = codes_of(width, centered)
            codes = every_code(form)
            layout, plan = WeightLayout(form, target.lanes, target.depth), DotPlan.choose(form, target)
            matrix = packed(form, target, stored(form, codes))
            groups, count = layout.groups(len(codes)), form.block // 4
            turned = codes ^ (1 << (width - 1) if plan.turned else 0)
            wanted = np.zeros((groups * layout.rows, form.block), np.uint8)
            wanted[: len(codes)] = turned << plan.shift
            for matrices in dict.fromkeys((False, target.find("bit_matrix") is not None)):
                found = np.zeros((groups, 2, count // layout.parts, layout.parts, 4 * layout.rows), np.uint8)
                compiled(reading(form, target, matrices), target)(matrix.array, found, groups)
                share = layout.rows // layout.parts
                rows = found.reshape(groups, 2, -1, layout.parts, share, layout.depth)
                rows = rows.transpose(1, 0, 3, 4, 2, 5).reshape(2, groups * layout.rows, form.block)
                for half in rows:
                    np.testing.assert_array_equal(half, wanted, f"{form.name}, {plan}")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_operands_of_every_width(target: Target) -> None:
    check_operands(target)
