"""The inner loops of dotprod and i8mm: golden listings for decoding, no spills in wide tiles.

`loops.txt` is rewritten by `pytest --bless`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from kit.forms import form
from kit.loops import census, hot_loop, matmul_assembly, touches_stack

from lumen_backend_arm.targets import DOTPROD, I8MM, NEON
from lumen_core.schedule.blocking import tile_columns
from lumen_core.target import Target

Golden = Callable[[Path, str, Callable[[str], str]], None]
FORMATS = ("q4_0", "q8_0", "q4_k", "q5_k", "q6_k", "iq4_xs", "f16")


def test_decoding_loops_are_what_a_hand_would_write(golden: Golden) -> None:
    """Every instruction of one token's loops, in order, and how often each stands in a wide tile's."""

    def listings(_: str) -> str:
        texts = []
        for target in (DOTPROD, I8MM):
            for name in FORMATS:
                single = hot_loop(matmul_assembly(form(name), target, 1))
                wide = hot_loop(matmul_assembly(form(name), target, tile_columns(target)))
                texts.append(f"{target.name}, {name}, one token\n" + "\n".join(single).expandtabs(8))
                texts.append(f"{target.name}, {name}, a wide tile: {census(wide)}\n")
        return "\n".join(texts)

    golden(Path(__file__).with_name("loops.txt"), "loops", listings)


@pytest.mark.parametrize("target", [DOTPROD, I8MM], ids=lambda target: target.name)
@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_spilled(name: str, target: Target) -> None:
    normal, columns = form(name), tile_columns(target)
    single = hot_loop(matmul_assembly(normal, target, 1))
    assert not touches_stack(single)
    wide = hot_loop(matmul_assembly(normal, target, columns))
    reads = [line for line in touches_stack(wide) if line.split()[0].startswith("ld")]
    writes = len(touches_stack(wide)) - len(reads)
    if normal.kind == "integer" and normal.activation == "i8g32":
        # What the totals of each column start from, and a scale's share to take off again, kept once.
        assert len(reads) <= 2 * columns + 2 and writes <= 4, census(wide)
    else:
        assert not reads and not writes, census(wide)
    if normal.kind == "integer":
        name = "smmla" if target is I8MM else "sdot"
        assert sum(name in line for line in wide) == 8 * columns // (target.depth // 4)


def test_without_dot_products_bytes_are_multiplied_to_words() -> None:
    loop = hot_loop(matmul_assembly(form("q4_0"), NEON, 1))
    names = [line.split()[0] for line in loop]
    totals = 2 * 2  # of two row groups, two blocks of each
    assert names.count("smlal") + names.count("smull") == totals * 8
    assert names.count("smlal2") + names.count("smull2") == totals * 8
    assert names.count("sadalp") + names.count("saddlp") == totals
    assert not touches_stack(loop)
