"""The x86 targets: which hosts they fit, and which machine instruction LLVM selects for each row."""

from __future__ import annotations

import re

import llvmlite.binding as llvm
import pytest
from kit.backends import check_rows

from lumen_backend_x86.backend import BACKEND
from lumen_backend_x86.instructions import ROWS
from lumen_core.target import Instruction, Target

SELECTED = {
    "dot4_u8s8": "vpdpbusd",
    "dot2_s16": "vpdpwssd",
    "dot2_bf16": "vdpbf16ps",
    "maddubs": "vpmaddubsw",
    "madd16": "vpmaddwd",
    "sign8": "vpsignb",
    "lookup16": "vpshufb",
    "lookup64": "vpermb",
    "bit_matrix": "vgf2p8affineqb",
    "pause": "pause",
}


def assembly(target: Target, row: Instruction) -> str:
    """Return the assembly of a function that is one call of the row's intrinsic."""
    result, *operands = row.signature
    given = operands[: len(operands) - len(row.immediates)]
    arguments = ", ".join(f"{kind} %a{index}" for index, kind in enumerate(given))
    call = f"call {result} @{row.intrinsic}({', '.join(filter(None, [arguments, *row.immediates]))})"
    body = call if result == "void" else f"%r = {call}"
    back = "ret void" if result == "void" else f"ret {result} %r"
    text = f"declare {result} @{row.intrinsic}({', '.join(operands)})\n"
    text += f"define {result} @f({arguments}) {{\n  {body}\n  {back}\n}}\n"
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple("x86_64-unknown-linux-gnu").create_target_machine(
        cpu=target.cpu, features=target.feature_string, opt=2
    )
    return machine.emit_assembly(llvm.parse_assembly(text))


@pytest.mark.parametrize("target", BACKEND.targets, ids=lambda target: target.name)
def test_every_row_is_one_instruction(target: Target) -> None:
    for row in target.instructions:
        lines = re.findall(r"^\t(?:\{vex\}\t)?(\w+)", assembly(target, row), flags=re.M)
        assert [line for line in lines if line not in ("retq", "vzeroupper")] == [SELECTED[row.op]], row


def test_targets_hold_only_rows_they_can_run() -> None:
    check_rows(BACKEND, ROWS)


def test_hosts_get_their_best_target_first() -> None:
    names = {target.name: frozenset(target.features) for target in BACKEND.targets}
    zen5 = names["x86-avx512-bf16"] | names["x86-avx-vnni"]
    assert [target.name for target in BACKEND.usable("x86_64", zen5)] == [
        "x86-avx512-bf16",
        "x86-avx512-vnni",
        "x86-avx-vnni",
        "x86-avx2",
    ]
    assert [target.name for target in BACKEND.usable("AMD64", names["x86-avx2"])] == ["x86-avx2"]
    assert BACKEND.usable("aarch64", zen5) == ()
    assert BACKEND.usable("x86_64", frozenset({"sse2"})) == ()
