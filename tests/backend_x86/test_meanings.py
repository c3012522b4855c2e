"""Every instruction row is executed and compared with its meaning, interpreted.

Operands are random and extreme; where a row has a bound, its unsigned operand may exceed it here, because a
meaning states what the instruction does for every operand. The bound itself is tested apart.
"""

from __future__ import annotations

import ctypes
import re

import llvmlite.binding as llvm
import numpy as np
import pytest

from lumen_backend_x86.backend import BACKEND
from lumen_core.codegen.objects import compile_object, host_features
from lumen_core.dsl import load_text
from lumen_core.ir import Function, interpret
from lumen_core.ir.operations.values import DTYPES, round_bf16
from lumen_core.lower.function import lower_function
from lumen_core.runtime.link import Library
from lumen_core.target import Instruction, Target

TARGETS = BACKEND.usable("x86_64", host_features())
ROWS = [(target, row) for target in TARGETS for row in target.instructions]


def lanes(type: str) -> int:
    match = re.match(r"<(\d+) x", type)
    assert match is not None
    return int(match[1])


def executed(target: Target, row: Instruction, operands: list[np.ndarray]) -> np.ndarray:
    """Run the row's intrinsic on operands in memory."""
    result, *declared = row.signature
    types = declared[: len(operands)]
    pointers = ", ".join(f"ptr %p{index}" for index in range(len(types)))
    loads = "\n".join(f"  %a{i} = load {type}, ptr %p{i}, align 1" for i, type in enumerate(types))
    arguments = ", ".join([*(f"{type} %a{i}" for i, type in enumerate(types)), *row.immediates])
    text = f"""
declare {result} @{row.intrinsic}({", ".join(declared)})
define void @f(ptr %out, {pointers}) {{
{loads}
  %r = call {result} @{row.intrinsic}({arguments})
  store {result} %r, ptr %out, align 1
  ret void
}}
"""
    call = Library([compile_object(text, target)], ["f"]).function(
        "f", None, *[ctypes.c_void_p] * (len(types) + 1)
    )
    out = np.zeros(128, np.uint8)
    call(out.ctypes.data, *(operand.ctypes.data for operand in operands))
    return out


def meaning_of(row: Instruction) -> Function:
    module = load_text(row.meaning, row.op)
    count = lanes(row.types[0])
    return lower_function(module, row.op, {"N": count, "G": count // 16})


def operands_of(function: Function, random: np.random.Generator, extreme: bool) -> list[np.ndarray]:
    operands = []
    for argument in function.arguments:
        dtype = DTYPES[argument.type.element]
        shape = argument.type.sizes
        if argument.type.element in ("f32", "bf16"):  # bf16 comes as f32 numbers that it can hold
            numbers = random.standard_normal(shape) * 10.0 ** random.integers(-12, 12, shape)
            numbers = random.choice([0.0, 1.0, -3.0e12, 2.0**-40], shape) if extreme else numbers
            rounded = numbers.astype(np.float32)
            operands.append(round_bf16(rounded) if argument.type.element == "bf16" else rounded)
            continue
        limits = np.iinfo(dtype)
        if extreme:
            operands.append(random.choice(np.array([limits.min, limits.max, 0, 1], dtype), shape))
        else:
            operands.append(random.integers(limits.min, limits.max, shape, dtype, endpoint=True))
    return operands


@pytest.mark.parametrize(
    ("target", "row"), ROWS, ids=lambda item: getattr(item, "name", getattr(item, "op", ""))
)
def test_a_row_does_what_it_means(target: Target, row: Instruction) -> None:
    if not row.meaning:
        assert row.types == ("void",), "only a hint has no meaning"
        return
    function = meaning_of(row)
    random = np.random.default_rng(0)
    for trial in range(40):
        operands = operands_of(function, random, extreme=trial % 2 == 0)
        (wanted,) = interpret(function, operands)
        stored = [
            (operand.view(np.uint32) >> 16).astype(np.uint16) if a.type.element == "bf16" else operand
            for a, operand in zip(function.arguments, operands, strict=True)
        ]
        found = executed(target, row, stored).view(wanted.dtype)[: wanted.size]
        if wanted.dtype == np.float32:  # sums of floats, in an order of the machine's
            (size,) = interpret(function, [np.abs(operand) for operand in operands])
            assert (np.abs(found - wanted) <= 2.0**-22 * size).all(), f"{row.intrinsic} {operands}"
        else:
            np.testing.assert_array_equal(found, wanted, err_msg=f"{row.intrinsic} {operands}")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_pairs_are_exact_up_to_the_bound(target: Target) -> None:
    row = target.find("maddubs")
    assert row is not None
    function = meaning_of(row)
    for unsigned, exact in ((row.bound, True), (row.bound + 2, False)):
        operands = [
            np.full(a.type.sizes, v, DTYPES[a.type.element])
            for a, v in zip(function.arguments, (unsigned, 127), strict=True)
        ]
        assert np.all(interpret(function, operands)[0] == 2 * unsigned * 127) == exact


def test_llvm_converts_half_floats_with_one_instruction() -> None:
    """Kernels convert f16 in plain code; this is the selection they count on."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    for target in TARGETS:
        width = target.lanes
        text = f"""
define <{width} x float> @f(<{width} x half> %a) {{
  %r = fpext <{width} x half> %a to <{width} x float>
  ret <{width} x float> %r
}}
"""
        machine = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(
            cpu=target.cpu, features=target.feature_string, opt=2
        )
        assert machine.emit_assembly(llvm.parse_assembly(text)).count("vcvtph2ps") == 1
