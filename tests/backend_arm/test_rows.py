"""Every instruction row does what it means and is one instruction; hosts get targets that they can run."""

from __future__ import annotations

import re

import numpy as np
import pytest
from core.schedule.compiled import assembly, compiled
from kit.backends import check_rows
from kit.emulator import MISSING

from lumen_backend_arm.backend import BACKEND
from lumen_backend_arm.detect import linux_features
from lumen_backend_arm.instructions import ROWS
from lumen_core.dsl import load_text
from lumen_core.engine.targets import choose_target
from lumen_core.errors import TargetError
from lumen_core.ir import interpret
from lumen_core.ir.kernel import PTR, Kernel, Type
from lumen_core.ir.kernel_builder import Builder
from lumen_core.ir.operations.values import DTYPES, round_bf16
from lumen_core.lower.function import lower_function
from lumen_core.plugins.registry import Registry
from lumen_core.target import Instruction, Target

SELECTED = {
    "dot4_s8s8": "sdot",
    "dot8_s8s8": "smmla",
    "dot2_bf16": "bfdot",
    "dot4_bf16": "bfmmla",
    "widen_pairs": "saddlp",
    "lookup16": "tbl",
    **{f"push{width}": "sri" for width in range(1, 7)},
    "pause": "yield",
}
CASES = [(target, row) for target in BACKEND.targets for row in target.instructions]
each_row = pytest.mark.parametrize(
    ("target", "row"), CASES, ids=lambda item: getattr(item, "name", getattr(item, "op", ""))
)


def kernel_type(text: str) -> Type:
    match = re.match(r"<(\d+) x (\w+)>", text)
    assert match is not None
    return Type(match[2], int(match[1]))


def kernel_of(row: Instruction) -> Kernel:
    """A kernel that does the row once, from memory to memory."""
    operands = [(f"a{index}", kernel_type(type)) for index, type in enumerate(row.types[1:])]
    kernel = Kernel("row", [("out", PTR), *((name, PTR) for name, _ in operands)])
    b = Builder(kernel)
    values = [b.load(type, p) for (_, type), p in zip(operands, kernel.parameters[1:], strict=True)]
    result = kernel_type(row.types[0]) if row.types[0] != "void" else None
    value = b.instruction(row.op, tuple(values), result)
    if result is not None:
        b.store(value, kernel.parameters[0])
    return kernel


@each_row
def test_a_row_is_one_instruction(target: Target, row: Instruction) -> None:
    found = re.findall(r"^\t([a-z]\w*)", assembly(kernel_of(row), target), flags=re.M)
    moves = {"ldr", "ldp", "str", "stp", "ret", "ptrue", "ld1b", "ld1w", "st1b", "st1w"}
    assert [name for name in found if name not in moves] == [SELECTED[row.op]]


@pytest.mark.skipif(bool(MISSING), reason=f"not installed: {MISSING}")
@each_row
def test_a_row_does_what_it_means(target: Target, row: Instruction) -> None:
    if not row.meaning:
        assert row.types == ("void",), "only a hint has no meaning"
        return
    lanes = kernel_type(row.types[0]).lanes
    function = lower_function(load_text(row.meaning, row.op), row.op, {"N": lanes})
    random, call = np.random.default_rng(0), compiled(kernel_of(row), target)
    for trial in range(20):
        operands = []
        for argument in function.arguments:
            dtype = DTYPES[argument.type.element]
            if argument.type.element in ("f32", "bf16"):
                numbers = random.uniform(-4, 4, argument.type.sizes).astype(np.float32)
                operands.append(round_bf16(numbers) if argument.type.element == "bf16" else numbers)
                continue
            limits, shape = np.iinfo(dtype), argument.type.sizes
            extreme = random.choice([limits.min, limits.max, 0, 1], shape).astype(dtype)
            usual = random.integers(limits.min, limits.max, shape, dtype, endpoint=True)
            operands.append(usual if trial % 2 else extreme)
        (wanted,) = interpret(function, operands)
        found = np.zeros_like(wanted)
        halves = [argument.type.element == "bf16" for argument in function.arguments]
        given = [
            (operand.view(np.uint32) >> 16).astype(np.uint16) if half else operand
            for operand, half in zip(operands, halves, strict=True)
        ]
        call(found, *given)
        if any(halves):  # it rounds after each step, in a way of its own
            (size,) = interpret(function, [np.abs(operand) for operand in operands])
            assert (np.abs(found - wanted) <= 2.0**-22 * size).all()
        else:
            np.testing.assert_array_equal(found, wanted)


def test_targets_hold_only_rows_they_can_run() -> None:
    check_rows(BACKEND, ROWS)


def test_hosts_get_their_best_target_first() -> None:
    def names(*features: str) -> list[str]:
        return [target.name for target in BACKEND.usable("aarch64", frozenset(features))]

    assert names("neon") == ["arm-neon"]
    assert names("neon", "lse", "dotprod", "fullfp16") == ["arm-dotprod", "arm-neon"]
    assert names("neon", "lse", "dotprod", "sve", "sve2", "sve-128") == ["arm-dotprod", "arm-neon"]
    assert names("neon", "lse", "dotprod", "flagm") == ["arm-v8.4", "arm-dotprod", "arm-neon"]
    newer = ("neon", "lse", "dotprod", "i8mm", "bf16")
    assert names(*newer) == ["arm-i8mm", "arm-dotprod", "arm-neon"]
    assert names(*newer, "sve", "sve2", "sve-128")[0] == "arm-sve2-128"
    for bits in (256, 512, 1024, 2048):
        assert names("neon", "lse", "dotprod", "sve", f"sve-{bits}")[0] == f"arm-sve-{bits}"
    assert names(*newer, "sve", "sve2", "sve-384")[0] == "arm-i8mm"
    assert BACKEND.usable("x86_64", frozenset({"neon"})) == ()


def test_linux_says_what_there_is() -> None:
    """The words of a Graviton 2, a Graviton 4 and a Raspberry Pi 4."""
    assert linux_features(0x10FFFF, 0, -22) == {"neon", "lse", "dotprod"}
    found = linux_features(1 << 1 | 1 << 8 | 1 << 20 | 1 << 22, 1 << 1 | 1 << 13 | 1 << 14, 1 << 17 | 16)
    assert found == {"neon", "lse", "dotprod", "sve", "sve2", "i8mm", "bf16", "sve-128"}
    assert linux_features(0x8FF & ~(1 << 8), 0, -22) == {"neon"}
    for length in (16, 32, 64, 128, 256):  # with the flag that children inherit it
        assert f"sve-{8 * length}" in linux_features(1 << 1 | 1 << 22, 0, 1 << 17 | length)


def test_a_target_is_found_by_what_a_system_has() -> None:
    registry = Registry.load()
    found = choose_target(registry, "aarch64-linux+dotprod", run=False)
    assert (found.name, found.triple) == ("arm-dotprod", "aarch64-unknown-linux-gnu")
    assert choose_target(registry, "aarch64-linux", run=False).name == "arm-neon"
    assert choose_target(registry, "arm64-darwin+dotprod", run=False).triple.startswith("arm64-apple")
    assert choose_target(registry, "x86_64-linux+avx512vnni", run=False).name == "x86-avx512-vnni"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("aarch64-linux+abacus", "aarch64-linux has no feature abacus; known: bf16, dotprod, flagm, i8mm"),
        ("aarch64-plan9+dotprod", "a system of aarch64 is linux or darwin, as in aarch64-linux+dotprod"),
        (
            "aarch64-linux+sve-384",
            "aarch64-linux has no feature sve-384; known: bf16, dotprod",
        ),
        ("aarch64-linux+sve-256+i8mm", "no target has sve-256 and i8mm together"),
        ("arm-i8m", "did you mean arm-i8mm?"),
        ("vax-vms", "or a machine, a system and what it has, as in aarch64-linux+"),
    ],
)
def test_an_unknown_target_is_answered_with_those_that_there_are(name: str, said: str) -> None:
    with pytest.raises(TargetError, match=re.escape(said)):
        choose_target(Registry.load(), name, run=False)
