"""The inner loops of 64-bit ARM by llvm-mca, beside llama.cpp's for the same cores: writes docs/arm.md.

    python benchmarks/arm.py [--llvm-mca PATH] [--llama-cpp CHECKOUT]

No ARM machine is needed: the loops are compiled here, and llvm-mca tells the cycles of a turn when all data
lies in the nearest cache. llama.cpp's kernels are compiled by aarch64-linux-gnu-g++ from its sources; of its
loop nests only the loop with the dot products counts, of ours the work of a whole block.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))

from kit.forms import form
from kit.loops import hot_loop, inner_loops, loop_spans, matmul_assembly

from lumen_backend_arm.backend import BACKEND
from lumen_core.quant.layout import ActivationLayout, WeightLayout
from lumen_core.quant.normal_form import NormalForm
from lumen_core.schedule.blocking import choose_blocking, tile_columns
from lumen_core.schedule.weights import DotPlan
from lumen_core.target import Target

# Which targets are shown on which cores; LLVM has one model for all of Apple's, that of an older core.
CORES = {
    "arm-v8.4": ("neoverse-v2", "apple-m1"),
    "arm-dotprod": ("neoverse-n1",),
    "arm-i8mm": ("apple-m2",),
    "arm-sve2-128": ("neoverse-v2",),
}
FLAGS = {"sdot": "armv8.2-a+dotprod+fp16", "smmla": "armv8.2-a+dotprod+fp16+i8mm+bf16"}
FORMATS = ("q4_0", "q8_0", "q4_k", "q5_k", "q6_k", "iq4_xs")
PRODUCTS = {"sdot": 16, "smmla": 32, "bfmmla": 16}
BYTES = ("sdot", "smmla", "and", "ushr", "sri", "tbl", "mov")  # what else is counted has lanes of 4 bytes
OPERANDS = {
    "tbl": "{v16.16b}, v17.16b", "ushr": "v16.16b, #4", "sri": "v16.16b, #2", "shl": "v16.4s, #6",
    "ldr": "[x0, #64]", "mov": "v16.16b", "scvtf": "v16.4s", "fcvtl": "v16.4h",
    "bfmmla": "v16.8h, v17.8h", "ushll": "v16.4h, #0",
}  # fmt: skip
CLOCK = 3.0  # GHz, for bytes a second
GEMM, GEMV = 75, 30  # asked for: percent of the peak, GB a second
ROUNDS = 200
INTRODUCTION = """
The models of cores are LLVM's: that of N1 takes in three operations a cycle and counts most loads as two,
V2's takes in six; that of Apple's cores is of an older one, with three vector units for four. V2 stands
below `arm-v8.4` as well, to compare: it runs `arm-sve2-128`.

GEMM: products of bytes a cycle in the wide tile, of a whole block with its minimums and of reading and
writing sums, with a panel's share of unpacking (as many panels as share it at most), and how much that is
of what the model can do with nothing but that instruction. GEMV: GB of weights a second at 3 GHz. Data is
in a near cache.

Bound: what the core can do at most with what no tile of a vector of rows is spared, counted from the format
(`needed` in the program), every instruction waiting for none. Of many columns these are the dot products;
for each sum of 32 products (16 in q6_k) either two multiply-adds, one by each side's scale (where both have
a scale for every 32 numbers), or one integer multiply-add by the sub-scale; a conversion and two
multiplications for each block of 256; for minimums a sixteenth or so of the dot products, a shift and a
multiply-add; and the codes of the column, and what a sum of 32 or a multiply-add overwrites, from memory or
from a register. (Registers hold 16 sums and the 8 operands of 32 elements, so a tile has the
rows of one vector.) One column also has its codes taken apart, as they are packed (`quant/layout.py`: at
least one instruction for each code, 6 for four codes of 6 bits, 14 for eight of 5), and its scales
converted. Its loads are not in the bound.
Addresses are in none. So on equal units `sdot` with scales for every 32 numbers on both sides cannot pass 8
/ (8 + 2) = 80 %, and `smmla`, which does twice as much, 4 / (4 + 2) = 67 %: 75 % is just beyond `smmla` in
iq4_xs on M2 (74.7 %), beyond it in all else, and on N1 beyond `sdot` too, because it takes in too little.

llama.cpp: the fastest of its repacked kernels for the format, only the loop with the dot products (what it
does once a block is left out; ours is counted).""".strip()
ATTRIBUTES = "-mattr=+dotprod,+i8mm,+bf16"


@dataclass
class Analyser:
    tool: str

    def cycles(self, loop: Iterable[str], core: str) -> float:
        """Cycles of one turn of a loop that runs for long."""
        jumps = re.compile(r"^\s*(b|b\.\w+|cbn?z|tbn?z|ret|adrp)\s|<|\.inst")
        text = "\n".join(line for line in loop if not jumps.search(line))
        if not text:
            return 0.0
        options = ["-all-views=false", "-summary-view", ATTRIBUTES, f"-iterations={ROUNDS}"]
        command = [self.tool, "-mtriple=aarch64-linux-gnu", f"-mcpu={core}", *options]
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
        match = re.search(r"Total Cycles:\s+(\d+)", done.stdout)
        assert match is not None, done.stdout
        return int(match[1]) / ROUNDS

    def least(self, counts: Mapping[str, int], core: str) -> float:
        """Cycles that a core needs for so many vector instructions, evenly mixed, that wait for nothing.

        What is overwritten comes from memory or from a register, whichever takes fewer.
        """
        if made := counts.get("overwritten"):
            rest = Counter({name: count for name, count in counts.items() if name != "overwritten"})
            return min(self.least(rest + Counter({name: made}), core) for name in ("ldr", "mov"))
        mix = sorted(((n + 0.5) / count, name) for name, count in counts.items() for n in range(count))
        loop = []
        for n, (_, name) in enumerate(mix * 8):
            kind = "16b" if name in BYTES else "4s"
            operands = OPERANDS.get(name, f"v16.{kind}, v17.{kind}")
            register = f"q{n % 16}" if name == "ldr" else f"v{n % 16}.{'4s' if name in PRODUCTS else kind}"
            loop.append(f"\t{name} {register}, {operands}")
        return self.cycles(loop, core) / 8

    def peak(self, dot: str, core: str) -> float:
        """Products a cycle that the model of a core can do with nothing but a dot product."""
        return PRODUCTS[dot] / self.least({dot: 2}, core) * 2


def dot_of(target: Target) -> str:
    """The dot product of a target's wide tiles."""
    return "smmla" if target.depth == 8 else "sdot"


def dots(loop: Sequence[str]) -> int:
    """Byte products in a loop."""
    names = [line.split()[0] for line in loop if line.split()]
    return 16 * (names.count("sdot") + names.count("udot")) + 32 * names.count("smmla")


def needed(normal: NormalForm, target: Target, alone: bool) -> Counter[str]:
    """Vector instructions that four rows of a block and a column need.

    Addresses and the joining of lanes are left out, and of one column loads and zeros. Of many columns none
    needs what all share: codes are taken apart and scales converted for a column that is `alone`.
    """
    dot, depth, offset = dot_of(target), 4 if alone else target.depth, normal.offset
    totals, operands = normal.block // min(normal.sub, 32), normal.block // 4
    counts: Counter[str] = Counter({dot: normal.block // depth})
    if normal.activation == "i8g256":  # integers to the end of the block
        counts.update({"mla": totals, "scvtf": 1, "fmla": 1})
        counts.update({"fmul" if alone or offset is None else "fmla": 1})  # by the scale, onto minimums
    else:
        counts.update({"fmla": 2 * totals})
    if offset is not None:  # minimums meet sums of two digits
        counts.update({dot: 2 * normal.block // normal.sub // depth, "shl": 1, "fmla": 1})
        counts.update({"scvtf": 1} if alone else {})
    if not alone:  # codes, scales, and what a sum or a multiply-add overwrites
        counts.update(
            {"ldr": normal.block // 16, "overwritten": normal.block // 32 + 2 * (offset is not None)}
        )
        if normal.activation == "i8g256":
            counts.update({"ldr": 1})  # the sum of the blocks before; a fourth of a scale is left out
        else:
            counts.update({"overwritten": totals})
    if alone:
        layout = WeightLayout(normal, target.lanes, target.depth)
        apart = taken_apart(layout, DotPlan.choose(normal, target).shift > 0)
        counts.update({name: count * normal.block // layout.unit for name, count in apart.items()})
        counts.update({"tbl": operands} if normal.table is not None else {})
        integer = normal.scale.integer if normal.scale is not None else None
        if (
            normal.activation == "i8g256" and integer is not None
        ):  # a look-up each, of signed ones of two three
            counts.update({"tbl": totals} if integer.low >= 0 else {"ushll": 3 * totals // 2})
        else:
            counts.update({"fcvtl": totals})
    return counts


def taken_apart(layout: WeightLayout, high: bool) -> Counter[str]:
    """Instructions that take a unit's codes apart; `high`: each at the top of its byte, else at bit 0."""
    counts: Counter[str] = Counter()
    for first, *rest in layout.codes if layout.form.bits < 8 else ():
        counts["sri"] += len(rest)  # joined at the top, each below those before it
        counts["ushr"] += sum(field.bit + field.width < 8 for field in rest)
        below, above = first.bit, 8 - first.bit - first.width  # bits beside it
        wanted, others = (above, below) if high else (below, above)
        counts["and" if wanted == 0 else "ushr"] += 1
        counts["and"] += wanted > 0 and others > 0  # a shift throws out what is on one side
    return counts


def ours(
    normal: NormalForm, target: Target, columns: int, core: str, analyser: Analyser
) -> tuple[float, int]:
    """Cycles and byte products of the work of some blocks of the rows that a turn of the loop takes.

    One column: of one block. Many: of what is unpacked together, with a panel's share of unpacking it.
    """
    assembly = matmul_assembly(normal, target, columns)
    hot = hot_loop(assembly)
    layout = WeightLayout(normal, target.lanes, target.depth)
    cut = choose_blocking(layout, ActivationLayout(normal.activation, columns, target.depth), target)
    # A turn takes 32 elements of many columns; of one as many as it has products of, for two row groups.
    alone = dots(hot) // (2 * target.lanes * target.depth // 4)
    turns = cut.shared // 32 if columns > 1 else max(1, normal.block // alone)
    cycles = analyser.cycles(in_order(assembly, hot, turns), core)
    if columns > 1:
        pieces = normal.block // 32
        apart = analyser.cycles(in_order(assembly, unpacking(assembly, hot), pieces), core)
        cycles += turns // pieces * apart / cut.panels
    return cycles, turns * dots(hot)


def in_order(assembly: str, inner: list[str], turns: int) -> list[str]:
    """So many turns of an inner loop, between what the loop around it holds beside it."""
    if turns == 1:
        return inner
    lines, spans = assembly.splitlines(), loop_spans(assembly)

    def code(first: int, last: int) -> list[str]:
        return [line for line in lines[first:last] if re.match(r"^\s+[a-z]", line)]

    own = next(pair for pair in spans if code(pair[0], pair[1] + 1) == inner)
    outer = [pair for pair in spans if pair[0] <= own[0] and own[1] <= pair[1] and pair != own]
    first, last = min(outer, key=lambda pair: pair[1] - pair[0])
    return code(first, own[0]) + turns * inner + code(own[1] + 1, last + 1)


def unpacking(assembly: str, hot: list[str]) -> list[str]:
    """The loop before the hottest that asks for weights and writes what it unpacks."""
    loops = inner_loops(assembly)
    before = loops[: loops.index(hot)]
    return next(loop for loop in reversed(before) if not dots(loop) and any("prfm" in line for line in loop))


@cache
def theirs(checkout: str, dot: str) -> dict[str, list[str]]:
    """The loop with the dot products of each of llama.cpp's repacked kernels, by the kernel's name."""
    root = Path(checkout) / "ggml"
    source = root / "src/ggml-cpu/arch/arm/repack.cpp"
    includes = [f"-I{root / part}" for part in ("include", "src", "src/ggml-cpu")]
    with tempfile.TemporaryDirectory() as folder:
        made = str(Path(folder) / "repack.o")
        flags = ["-std=c++17", "-O3", f"-march={FLAGS[dot]}", "-mtune=neoverse-n2", *includes]
        subprocess.run(["aarch64-linux-gnu-g++", *flags, "-c", str(source), "-o", made], check=True)
        command = ["aarch64-linux-gnu-objdump", "-d", "--no-show-raw-insn", made]
        text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    loops = {}
    for part in re.split(r"\n(?=[0-9a-f]{16} <)", text):
        name = re.search(r"(gem[mv]_\w+?_\dx\d)_q8_[0K]>:", part.splitlines()[0]) if part else None
        if name is not None:
            loops[name[1].lower()] = listed_loop(part)
    return loops


def listed_loop(listing: str) -> list[str]:
    """The smallest loop of a disassembled function that holds dot products; none gives no line."""
    addresses, lines = [], []
    for line in listing.splitlines():
        if found := re.match(r"^\s*([0-9a-f]+):\s+(.*)$", line):
            addresses.append(int(found[1], 16))
            lines.append("\t" + found[2].split("//")[0])
    place = {address: number for number, address in enumerate(addresses)}
    best: list[str] = []
    for number, line in enumerate(lines):
        back = re.search(r"^\s+(?:b|b\.\w+|cbn?z|tbn?z)\s.*?([0-9a-f]+) <", line)
        start = place.get(int(back[1], 16), number) if back else number
        loop = lines[start : number + 1]
        if (
            start < number
            and dots(loop)
            and (not best or len(loop) < len(best) or dots(loop) > 4 * dots(best))
        ):
            best = loop
    return best


@dataclass
class Row:
    """A format on a core: products of bytes a cycle of many columns, GB of weights a second of one."""

    target: str
    core: str
    format: str
    wide: float
    peak: float
    wide_bound: float
    alone: float
    alone_bound: float
    llama_wide: float | None
    llama_alone: float | None

    @property
    def cells(self) -> list[str]:
        shares = [self.wide / self.peak, self.wide_bound / self.peak, self.wide / self.wide_bound]
        cells = [self.format, self.core, f"{self.wide:.1f}", *(f"{100 * share:.0f} %" for share in shares)]
        cells += (
            [f"{self.llama_wide:.1f}", f"{self.wide / self.llama_wide:.2f}x"] if self.llama_wide else ["", ""]
        )
        cells += [f"{self.alone:.0f}", f"{self.alone_bound:.0f}"]
        return cells + (
            [f"{self.llama_alone:.0f}", f"{self.alone / self.llama_alone:.2f}x"]
            if self.llama_alone
            else ["", ""]
        )


def measured(name: str, target: Target, core: str, analyser: Analyser, checkout: str | None) -> Row:
    normal, dot = form(name), dot_of(target)
    rate = normal.block_bytes / normal.block * CLOCK  # GB a second at a number a cycle
    cycles, count = ours(normal, target, tile_columns(target), core, analyser)
    single, products = ours(normal, target, 1, core, analyser)
    four = 4 * normal.block
    least, alone = (four / analyser.least(needed(normal, target, only), core) for only in (False, True))
    best: dict[str, float] = {}
    for kernel, loop in (theirs(checkout, dot) if checkout is not None else {}).items():
        kind = kernel[: len("gemm")]
        if kernel.startswith(f"{kind}_{name}_") and loop:
            best[kind] = max(best.get(kind, 0), dots(loop) / analyser.cycles(loop, core))
    return Row(
        target=target.name,
        core=core,
        format=name,
        wide=count / cycles,
        peak=analyser.peak(dot, core),
        wide_bound=least,
        # At depth 8 half of what is multiplied for one column are zeros.
        alone=products / (target.depth // 4) / single * rate,
        alone_bound=alone * rate,
        llama_wide=best.get("gemm"),
        llama_alone=best["gemv"] * rate if "gemv" in best else None,
    )


def summary(rows: Sequence[Row]) -> str:
    """Which formats reach what was asked for, which could and do not, and for which the bound is below it."""
    names = ["target", "core", "asked", "seen", "bound", "reached", "not reached", "beyond the bound"]
    lines = [f"| {' | '.join(names)} |", "| --- " * len(names) + "|"]
    for target, core in dict.fromkeys((row.target, row.core) for row in rows):
        own = [row for row in rows if (row.target, row.core) == (target, core)]
        for asked, unit, pairs in (
            (GEMM, "%", [(100 * row.wide / row.peak, 100 * row.wide_bound / row.peak) for row in own]),
            (GEMV, "GB/s", [(row.alone, row.alone_bound) for row in own]),
        ):
            kind = "GEMM" if unit == "%" else "GEMV"
            ranges = [f"{min(part):.1f}-{max(part):.1f}" for part in zip(*pairs, strict=True)]
            groups: list[list[str]] = [[], [], []]
            for row, (seen, bound) in zip(own, pairs, strict=True):
                place = 0 if seen >= asked else 1 if bound >= asked else 2
                groups[place].append(f"{row.format} {seen:.1f}" if place == 1 else row.format)
            cells = [target, core, f"{kind} {asked} {unit}", *ranges, *map(", ".join, groups)]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page(analyser: Analyser, checkout: str | None) -> str:
    parts = [
        "# Loops of 64-bit ARM",
        "Made by `python benchmarks/arm.py` with "
        f"{version(analyser.tool)}; nothing here was measured on an ARM machine.\n" + INTRODUCTION,
    ]
    names = ["GEMM", "of the peak", "bound", "of the bound", "llama.cpp", "ratio"]
    names += ["GEMV", "bound", "llama.cpp", "ratio"]
    shown = [target for target in BACKEND.targets if target.name in CORES]
    rows = {
        target.name: [measured(n, target, c, analyser, checkout) for n in FORMATS for c in CORES[target.name]]
        for target in shown
    }
    parts.append("## What was asked, what is reached, what can be")
    parts.append(summary([row for own in rows.values() for row in own]))
    for target in shown:
        parts.append(f"## `{target.name}`: wide tiles by `{dot_of(target)}`")
        head = f"| format | core | {' | '.join(names)} |"
        lines = [f"| {' | '.join(row.cells)} |" for row in rows[target.name]]
        parts.append("\n".join([head, "| --- " * (len(names) + 2) + "|", *lines]))
    squares = [(target, core) for target in BACKEND.targets for core in CORES.get(target.name, ())]
    halves = [bf16_row(*pair, analyser) for pair in squares if pair[0].depth == 8]
    parts.append("## bf16: wide tiles by `bfmmla`")
    parts.append("\n".join(["| target | core | GEMM | of the peak |", "| --- " * 4 + "|", *halves]))
    return "\n\n".join(parts) + "\n"


def bf16_row(target: Target, core: str, analyser: Analyser) -> str:
    """The wide tile of bf16 weights: `bfmmla` multiplies two rows by two columns, four elements of each."""
    hot = hot_loop(matmul_assembly(form("bf16"), target, tile_columns(target)))
    wide = 16 * sum("bfmmla" in line for line in hot) / analyser.cycles(hot, core)
    peak = 16 / analyser.least({"bfmmla": 2}, core) * 2
    return f"| {target.name} | {core} | {wide:.1f} | {100 * wide / peak:.0f} % |"


def version(tool: str) -> str:
    text = subprocess.run([tool, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"LLVM version ([\d.]+)", text)
    return f"llvm-mca {found[1] if found else '?'}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--llvm-mca", default="llvm-mca")
    parser.add_argument("--llama-cpp", default=None, help="a checkout of llama.cpp")
    parser.add_argument("--output", default=str(ROOT / "docs/arm.md"))
    given = parser.parse_args()
    Path(given.output).write_text(page(Analyser(given.llvm_mca), given.llama_cpp))


if __name__ == "__main__":
    main()
