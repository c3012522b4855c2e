"""docs/speed.md from the results that speed.py has kept: what was asked for, and every figure behind it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from lumen_core.plugins.registry import Registry
from lumen_core.quant.analyse import analyse

Record = dict[str, Any]
LUMEN = "lumen"
ARITHMETIC = Path(__file__).with_name("arithmetic.md")  # what no measurement says by itself
SMALL = "qwen2.5-0.5b"
SIXTEENS = ("q6_k", "iq3_s")  # their scales stand for 16 weights
EIGHTS_AND_K = ("q8_0", "q4_k_m", "q5_k_m", "q6_k")
CODE_BOOKS = ("iq4_xs", "iq3_s")
SEQUENCES = (1, 2, 3, 4, 5, 8, 9, 12, 13, 16, 17, 24, 32, 33, 40)  # on both sides of every tile's end


@dataclass(frozen=True)
class Row:
    """One test of one file beside llama.cpp's faster mode."""

    shape: str
    format: str
    threads: int
    test: str
    ours: Record
    theirs: Record | None
    machine: Record
    record: Record

    @property
    def share(self) -> float:
        """Of the machine's limit: arithmetic for a prompt, reading memory for generation."""
        return float(self.ours["of_peak" if self.test.startswith("pp") else "of_bandwidth"])

    @property
    def ratio(self) -> float:
        """Of llama.cpp's speed, in the middle of the turns that both ran one after the other."""
        return float(self.ours["against"]) if self.theirs else 0.0

    @property
    def most(self) -> float:
        """The ratio that the machine's limit leaves room for."""
        left = left_to_products(self.format) if self.test.startswith("pp") else 1.0
        return self.ratio * left / min(self.share, 1.0)


@cache
def left_to_products(format: str) -> float:
    """Share of the peak of byte products that a prompt can reach where multiplications take the same pipes.

    Of a mixture it is that of the format that gave it its name, which leaves the most. Counted for one column
    and a block of weights: a multiplication and a multiply-add for every sum with a scale on both sides, one
    where the activations' scale is the block's, which takes one more; minimums meet sums of two digits.
    """
    form = analyse(Registry.load().format(format.removesuffix("_m")))
    if form.kind == "float":
        return 1.0
    products, sums = form.block / 4, form.block / min(form.sub, 32)
    others = sums + 1 if form.activation == "i8g256" else 2 * sums
    if form.offset is not None:
        others += 2 * form.block / form.sub / 4 + 1
    return products / (products + others)


def rows(records: dict[str, Record], part: str) -> list[Row]:
    found = []
    for key, record in records.items():
        kind, *names = key.split("|")
        if kind != part:
            continue
        for ours in (result for result in record["results"] if result["engine"] == LUMEN):
            others = [r for r in record["results"] if r["engine"] != LUMEN and r["test"] == ours["test"]]
            best = max(others, key=lambda result: result["median"], default=None)
            shape, format, threads = names[0], names[1], int(names[2])
            machine = ours.get("machine", record["machine"])
            found.append(Row(shape, format, threads, ours["test"], ours, best, machine, record))
    return sorted(found, key=lambda row: (row.shape != SMALL, row.shape, -row.threads))


def short(key: str, record: Record) -> str:
    """One line about a piece that has just been measured."""
    if "results" in record:
        return ", ".join(
            f"{r['engine']} {r['test']} {r['median']:.1f}" for r in record["results"]
        )  # fmt: skip
    return ", ".join(f"{name} {_brief(value)}" for name, value in record.items())


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        return "/".join(_brief(item) for item in value.values())
    return f"{value:.3g}" if isinstance(value, float) else str(value)


# ---------------------------------------------------------------- the page


def page(records: dict[str, Record]) -> str:
    """Return the whole page."""
    speed, long = rows(records, "speed"), rows(records, "long") + rows(records, "contexts")
    parts = [
        ["# Speed", "", *introduction(records)],
        ["## What was asked, and what was seen", "", *goals(records, speed, long)],
        ["## What the arithmetic leaves", "", *ARITHMETIC.read_text(encoding="utf-8").splitlines()],
        ["## Prompts and generation beside llama.cpp", "", *speeds(speed)],
        ["## Long prompts, long contexts, several sequences, look-up", "", *longs(long)],
        ["## A step of several sequences", "", *steps(rows(records, "steps"))],
        ["## Starts", "", *starts(records)],
        ["## f32 matrix products", "", *gemms(records)],
        ["## OpenVINO GenAI on the same shapes", "", *openvinos(records, speed)],
    ]
    return "\n".join(line for part in parts for line in (*part, ""))


def introduction(records: dict[str, Record]) -> list[str]:
    machines = sorted({f"{r['processor']}, {r['cores']} cores" for r in records.values()})
    dates = sorted(r["date"][:10] for r in records.values()) or ["never"]
    versions = sorted({f"Lumen {r['version']}, Python {r['python']}" for r in records.values()})
    targets = sorted({r["target"] for r in records.values() if "target" in r})
    engines = sorted({
        result["engine"].partition(",")[0]
        for r in records.values() for result in r.get("results", ()) if result["engine"] != LUMEN
    })  # fmt: skip
    reads = [r["machine"]["read_bytes_per_second"] / 1e9 for r in records.values() if "machine" in r] or [0]
    return [
        f"Made by `python benchmarks/speed.py`, {dates[0]} to {dates[-1]}.",
        f"Machine: {'; '.join(machines)}; target {', '.join(targets)}.",
        f"Versions: {'; '.join(versions)}; {', '.join(engines)}, built on the machine.",
        "",
        "Random weights in real shapes; medians ± standard deviation, all engines in turn in one process.",
        "`pp512` is a prompt of 512 tokens, `tg128` the generation of 128, in tokens a second",
        "(greedy; llama.cpp without sampling, and the faster of its two modes, weights repacked or not).",
        "Limits are measured before and after every run, and after each 32 tokens that one sequence gains:",
        "products from registers (int8, or bf16 for BF16), and reading memory with as many threads. A share",
        "is the time that a run's parts would take at their own limits, of what they took; the median of the",
        "runs'. One in which the limits moved by more than 10% is made again, at most twice. A ratio is the",
        "median of the turns'; bytes are those of the weights, keys and values.",
        f"Reading ran at {min(reads):.0f} to {max(reads):.0f} GB/s from row to row: compare shares.",
    ]


def table(columns: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    body = [f"| {' | '.join(line)} |" for line in lines]
    if not body:
        return ["Not measured yet."]
    return [f"| {' | '.join(columns)} |", f"| {' | '.join('---' for _ in columns)} |", *body]


def speeds(found: list[Row]) -> list[str]:
    lines = []
    for row in found:
        limit = _of_limit(row)
        theirs, ratio, most = "", "", ""
        if row.theirs is not None:
            mode = "not repacked" if "not repacked" in row.theirs["engine"] else "repacked"
            theirs = f"{_speed(row.theirs)} ({mode})"
            ratio, most = f"**{row.ratio:.2f}x**", f"{row.most:.2f}x"
        lines.append(
            (row.shape, row.format, str(row.threads), row.test, _speed(row.ours), limit, theirs, ratio, most)
        )
    columns = ("shape", "format", "threads", "test", "Lumen", "of the limit", "llama.cpp", "ratio",
               "at the limit")  # fmt: skip
    return [
        "`at the limit`: the ratio if Lumen ran at the machine's limit, for prompts at what multiplications",
        "of scales leave of the peak (the section above); a goal above it asks for more than there is.",
        "",
        *table(columns, lines),
    ]


def longs(found: list[Row]) -> list[str]:
    lines = [
        (row.shape, row.format, row.ours.get("cache", "f16"), str(row.threads), row.test, _speed(row.ours),
         _of_limit(row))
        for row in found
    ]  # fmt: skip
    return [
        "`tg32 @ d16384` generates behind 16384 tokens; `tg64 x8` generates eight sequences in each step.",
        "`cache` is the format that keys and values are kept in.",
        "`lookup` generates an answer that stood in the text before, word for word, by prompt look-up.",
        "",
        *table(("shape", "format", "cache", "threads", "test", "Lumen", "of the limit"), lines),
    ]


def steps(found: list[Row]) -> list[str]:
    files: dict[tuple[str, str, int], list[str]] = {}
    for row in found:
        count = int(row.test.partition(" x")[2] or 1)
        cells = files.setdefault((row.shape, row.format, row.threads), [""] * len(SEQUENCES))
        cells[SEQUENCES.index(count)] = f"{1e3 * count / row.ours['median']:.1f}"
    lines = [(shape, format, str(threads), *cells) for (shape, format, threads), cells in files.items()]
    return [
        "Milliseconds of a step that generates a token for each of so many sequences.",
        "",
        *table(("shape", "format", "threads", *map(str, SEQUENCES)), lines),
    ]


def starts(records: dict[str, Record]) -> list[str]:
    lines = []
    for key, record in records.items():
        if key.startswith("start|"):
            _, shape, format = key.split("|")
            kinds = [record[name] for name in ("cold", "plain", "packed", "llama.cpp")]
            compile = record["compile"]
            lines.append((
                shape, format, f"{compile['cold']:.2f} s", f"{compile['warm']:.2f} s",
                *(f"{kind['seconds']:.2f} s, {kind['resident']:.0f} MiB" for kind in kinds),
                f"{record['file_bytes'] / 2**20:.0f} MiB",
            ))  # fmt: skip
    return [
        "From the start of the process to its exit with one token printed, and its peak resident memory",
        "(of a packed file that is mapped, the pages that were read count).",
        "The first start compiles every kernel; `packed` is a file that `lumen pack` wrote;",
        "llama.cpp does the same through the functions of its Python package.",
        "",
        *table(("shape", "format", "compile, empty cache", "full cache", "first start", "later starts",
                "packed", "llama.cpp", "file"), lines),
    ]  # fmt: skip


def gemms(records: dict[str, Record]) -> list[str]:
    lines = []
    for key, record in records.items():
        if key.startswith("gemm|"):
            _, size, threads = key.split("|")
            lines.append((
                size, threads, f"{record['lumen'] / 1e9:.0f}", f"{record['numpy'] / 1e9:.0f}",
                f"{record['peak'] / 1e9:.0f}", f"{record['lumen'] / record['peak']:.0%}",
            ))  # fmt: skip
    return [
        "GFLOPS; square matrices.",
        "Lumen's product is planned and run as a prompt's: weights packed, activations already in panels;",
        "numpy packs its own.",
        "",
        *table(("size", "threads", "Lumen", "numpy", "peak", "of the peak"), lines),
    ]


def openvinos(records: dict[str, Record], speed: list[Row]) -> list[str]:
    lines = []
    for key, record in records.items():
        if key.startswith("openvino|"):
            _, shape, kind, threads = key.split("|")
            format = "q8_0" if kind.startswith("int8") else "q4_0"
            ours = {row.test: row.ours["median"] for row in speed
                    if (row.shape, row.format, row.threads) == (shape, format, int(threads))}  # fmt: skip
            for test in ("pp512", "tg128"):
                own = ours.get(test)
                ratio = f"{own / record[test]:.2f}x" if own else ""
                mine = f"{own:.0f} ({format})" if own else ""
                lines.append((shape, kind, threads, test, f"{record[test]:.0f}", mine, ratio))
    return table(("shape", "precision", "threads", "test", "OpenVINO", "Lumen", "ratio"), lines)


# --------------------------------------------------------------- the goals


def goals(records: dict[str, Record], speed: list[Row], long: list[Row]) -> list[str]:
    """Every goal with the least and the most that was seen, and where the least was."""
    decode = [row for row in speed if row.test == "tg128"]
    prefill = [row for row in speed if row.test == "pp512"]
    beside = [row for row in speed if row.theirs]
    lines = [
        _goal("tg128, of the read bandwidth, 1.7B and 2.4B", 0.92, "{:.0%}",
              [(_name(r), r.share) for r in decode if r.shape != SMALL]),
        _goal("tg128, of the read bandwidth, 0.5B", 0.88, "{:.0%}",
              [(_name(r), r.share) for r in decode if r.shape == SMALL]),
        _rival("tg128 against llama.cpp", 1.35, [row for row in beside if row.test == "tg128"]),
        _goal("pp512, of the peak, 1.7B and 2.4B, scales of 32 or more", 0.65, "{:.0%}",
              [(_name(r), r.share) for r in prefill
               if r.shape != SMALL and r.format not in SIXTEENS]),
        _goal("pp512, of the peak, 0.5B, scales of 32 or more", 0.60, "{:.0%}",
              [(_name(r), r.share) for r in prefill
               if r.shape == SMALL and r.format not in SIXTEENS]),
        _goal("pp512, of the peak, scales of 16", 0.52, "{:.0%}",
              [(_name(r), r.share) for r in prefill if r.format in SIXTEENS]),
        _rival("pp512 against llama.cpp, q4_0", 2.5,
               [row for row in beside if row.test == "pp512" and row.format == "q4_0"]),
        _rival("pp512 against llama.cpp, q8_0 and the K types", 3.0,
               [row for row in beside if row.test == "pp512" and row.format in EIGHTS_AND_K]),
        _rival("pp512 against llama.cpp, the IQ types", 1.9,
               [row for row in beside if row.test == "pp512" and row.format in CODE_BOOKS]),
        _goal("pp512 against OpenVINO GenAI, int4 g32, g128 and int8", 1.0, "{:.2f}x",
              _openvino(records, speed)),
        _goal("pp4096 against pp512, per token", 0.75, "{:.0%}", _against(long, "pp4096", "pp512")),
        _goal("generation at 16k, of the bandwidth with the cache's bytes", 0.90, "{:.0%}",
              [(_name(r), r.share) for r in long
               if "@ d16384" in r.test and r.ours.get("cache", "f16") == "f16"]),
        _goal("eight sequences against one", 5.0, "{:.1f}x", _against(long, "tg64 x8", "tg64")),
        _goal("f32 matrix products, of the measured peak", 0.90, "{:.0%}",
              [(key, r["lumen"] / r["peak"]) for key, r in records.items() if key.startswith("gemm|")]),
        _goal("f32 matrix products against numpy", 1.0, "{:.2f}x",
              [(key, r["lumen"] / r["numpy"]) for key, r in records.items() if key.startswith("gemm|")]),
        _goal("prompt look-up where text repeats, against without", 2.0, "{:.1f}x",
              _against(long, "tg128 lookup", "tg128")),
        *_start_goals(records),
    ]  # fmt: skip
    return table(("", "goal", "least seen", "most seen", "where the least was", ""), lines)


def _start_goals(records: dict[str, Record]) -> list[Sequence[str]]:
    found = {key: record for key, record in records.items() if key.startswith("start|")}
    small = {key: record for key, record in found.items() if SMALL in key}
    return [
        _goal("compiling a whole model, empty cache", 1.0, "{:.2f} s",
              [(key, r["compile"]["cold"]) for key, r in found.items()], least=False),
        _goal("compiling a whole model, full cache", 0.2, "{:.2f} s",
              [(key, r["compile"]["warm"]) for key, r in found.items()], least=False),
        _goal("first token, packed, whole process, 0.5B", 0.8, "{:.2f} s",
              [(key, r["packed"]["seconds"]) for key, r in small.items()], least=False),
        _goal("the same in llama.cpp's time", 1.0, "{:.2f}x",
              [(key, r["packed"]["seconds"] / r["llama.cpp"]["seconds"]) for key, r in found.items()],
              least=False),
        _goal("its peak memory, of llama.cpp's", 1.0, "{:.2f}x",
              [(key, r["packed"]["resident"] / r["llama.cpp"]["resident"]) for key, r in found.items()],
              least=False),
    ]  # fmt: skip


def _goal(
    what: str, goal: float, form: str, found: list[tuple[str, float]], least: bool = True
) -> Sequence[str]:
    """A line: the worst figure decides; `least`: the goal is to be reached, else not to be passed."""
    sign = "≥" if least else "≤"
    if not found:
        return (what, f"{sign} {form.format(goal)}", "", "", "", "not measured")
    low, high = min(found, key=lambda item: item[1]), max(found, key=lambda item: item[1])
    worst = low if least else high
    reached = sum((value >= goal) if least else (value <= goal) for _, value in found)
    verdict = f"{reached} of {len(found)}"
    seen = (form.format(low[1]), form.format(high[1]))
    return (what, f"{sign} {form.format(goal)}", *seen, worst[0].replace("|", " "), verdict)


def _rival(what: str, goal: float, found: list[Row]) -> Sequence[str]:
    """A line of ratios, which says how many of them the machine's limit puts out of reach."""
    *line, verdict = _goal(what, goal, "{:.2f}x", [(_name(row), row.ratio) for row in found])
    beyond = sum(row.most < goal for row in found)
    return (*line, verdict + (f"; {beyond} beyond the machine's limit" if beyond else ""))


def _against(found: list[Row], test: str, base: str) -> list[tuple[str, float]]:
    """Speeds of a test against those of another in the same process."""
    ratios = []
    for row in found:
        if row.test == test:
            others = [r for r in row.record["results"] if r["engine"] == LUMEN and r["test"] == base]
            ratios += [(_name(row), row.ours["median"] / other["median"]) for other in others]
    return ratios


def _openvino(records: dict[str, Record], speed: list[Row]) -> list[tuple[str, float]]:
    ratios = []
    for key, record in records.items():
        if key.startswith("openvino|"):
            _, shape, kind, threads = key.split("|")
            format = "q8_0" if kind.startswith("int8") else "q4_0"
            ratios += [
                (f"{_name(row)} and {kind}", row.ours["median"] / record["pp512"]) for row in speed
                if (row.shape, row.format, row.threads, row.test) == (shape, format, int(threads), "pp512")
            ]  # fmt: skip
    return ratios


def _name(row: Row) -> str:
    return f"{row.shape} {row.format}, {row.threads} thread{'s' if row.threads > 1 else ''}"


def _speed(result: Record) -> str:
    digits = 0 if result["median"] >= 100 else 1
    return f"{result['median']:.{digits}f} ± {result['spread']:.{digits}f}"


def _of_limit(row: Row) -> str:
    if row.test.startswith("pp"):
        unit = "bf16" if row.format == "bf16" else "int8"
        return f"{row.share:.0%} of {row.machine[f'{unit}_operations_per_second'] / 1e9:.0f} GOPS"
    return f"{row.share:.0%} of {row.machine['read_bytes_per_second'] / 1e9:.0f} GB/s"
