"""The inner loops of an assembly listing of 64-bit ARM: what golden listings and cycle counts look at."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from lumen_core.codegen.llvm import emit_llvm
from lumen_core.codegen.objects import compile_assembly
from lumen_core.quant.normal_form import NormalForm
from lumen_core.schedule.matmul import MatmulTile, build_matmul
from lumen_core.target import Target

_LABEL = re.compile(r"^(\.\w+):")
_BRANCH = re.compile(r"^\s+(?:b|b\.\w+|cbn?z|tbn?z)\s.*?(\.LBB\w+)")
_DOT = re.compile(r"\s(?:[su]dot|smmla|bfdot|bfmmla)\s")
_PRODUCT = re.compile(r"\s(?:[su]?dot|smmla|smlal2?|fmla|fmad|bfdot|bfmmla)\s")


def matmul_assembly(form: NormalForm, target: Target, columns: int) -> str:
    return compile_assembly(emit_llvm(build_matmul(form, target, MatmulTile(columns)), target), target)


def loop_spans(assembly: str) -> list[tuple[int, int]]:
    """First and last line of every loop, in order of their ends."""
    labels, spans = {}, []
    for number, line in enumerate(assembly.splitlines()):
        if found := _LABEL.match(line):
            labels[found[1]] = number
        elif (found := _BRANCH.match(line)) and found[1] in labels:
            spans.append((labels[found[1]], number))
    return spans


def inner_loops(assembly: str) -> list[list[str]]:
    """The loops that hold no other loop, in order, as lines of instructions."""
    lines, spans = assembly.splitlines(), loop_spans(assembly)
    inner = [s for s in spans if not any(o != s and s[0] <= o[0] and o[1] <= s[1] for o in spans)]
    return [[line for line in lines[a : b + 1] if re.match(r"^\s+[a-z]", line)] for a, b in inner]


def hot_loop(assembly: str) -> list[str]:
    """The inner loop with the most dot products, or else multiplications."""
    return max(inner_loops(assembly), key=lambda loop: (count(_DOT, loop), count(_PRODUCT, loop)))


def widest_loops(assembly: str) -> list[list[str]]:
    """The inner loops with as many dot products as any."""
    loops = inner_loops(assembly)
    most = max(count(_DOT, loop) for loop in loops)
    return [loop for loop in loops if count(_DOT, loop) == most]


def count(pattern: re.Pattern[str], loop: Sequence[str]) -> int:
    return sum(bool(pattern.search(line)) for line in loop)


def touches_stack(loop: Sequence[str]) -> list[str]:
    """Instructions that spill registers or read them back."""
    return [line for line in loop if re.search(r"\[sp\b", line)]


def census(loop: Sequence[str]) -> str:
    """How often each instruction stands in a loop, the most frequent first."""
    counts = Counter(line.split()[0] for line in loop)
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items(), key=lambda p: (-p[1], p[0])))
