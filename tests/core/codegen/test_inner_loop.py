"""Cutting the inner loop out of a listing, on made-up text and on real kernels."""

from __future__ import annotations

from lumen_core.codegen.inner_loop import inner_loop
from lumen_core.codegen.llvm import emit_llvm
from lumen_core.codegen.objects import compile_assembly
from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse
from lumen_core.schedule.matmul import MatmulTile, build_matmul

LISTING = """
    .text
f:
    movl $0, %eax
.LBB0_1:                # outer
    movl $1, %ebx
.LBB0_2:                # inner
    addl %ebx, %eax     # a comment
    incl %ebx
    jne .LBB0_2
.LBB0_3:
    jmp .LBB0_1
"""


def test_the_innermost_loop() -> None:
    assert [line.split()[0] for line in inner_loop(LISTING)] == ["addl", "incl", "jne"]
    assert inner_loop("f:\n    ret\n") == []


def test_real_kernels_have_one() -> None:
    registry = Registry.load()
    form = analyse(registry.format("q4_0"))
    for entry in registry.backends.values():
        for target in entry.value.targets if entry.value.systems else ():
            kernel = build_matmul(form, target, MatmulTile(1))
            lines = inner_loop(compile_assembly(emit_llvm(kernel, target), target))
            assert 8 <= len(lines) < 400, target.name
