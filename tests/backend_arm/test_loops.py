"""The inner loops of sdot and smmla: golden listings for decoding, no spills in wide tiles.

`loops.txt` is rewritten by `pytest --bless`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from kit.forms import form
from kit.loops import census, hot_loop, matmul_assembly, touches_stack, widest_loops

from lumen_backend_arm.targets import DOTPROD, I8MM, NEON, V8_4
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


@pytest.mark.parametrize("target", [DOTPROD, V8_4, I8MM], ids=lambda target: target.name)
@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_spilled(name: str, target: Target) -> None:
    normal, columns = form(name), tile_columns(target)
    dot = "smmla" if target is I8MM else "sdot"
    for width in (1, columns):
        loop = hot_loop(matmul_assembly(normal, target, width))
        products = sum(dot in line for line in loop)
        # Nothing but what totals start from is kept there.
        reads = [line for line in touches_stack(loop) if line.split()[0].startswith("ld")]
        assert len(reads) == len(touches_stack(loop)), census(loop)
        assert len(reads) <= products * target.depth // min(normal.sub, 32), census(loop)
    if normal.kind == "integer":
        assert products == 8 * columns // (target.depth // 4)


@pytest.mark.parametrize("target", [DOTPROD, V8_4, I8MM], ids=lambda target: target.name)
@pytest.mark.parametrize("name", [name for name in FORMATS if name != "f16"])
def test_panels_share_unpacked_codes(name: str, target: Target) -> None:
    """Of loops with as many dot products one has nothing to unpack: each load and product is used.

    The others are for a panel that meets the weights alone, and for the last panel of several.
    """
    assembly = matmul_assembly(form(name), target, tile_columns(target))
    shared, alone, last = (Counter(line.split()[0] for line in loop) for loop in widest_loops(assembly))
    for loop in (alone, last):
        assert loop["and"] + loop["ushr"] + loop["sri"] > 0 or name == "q8_0"
    names = {"sdot", "smmla", "fmla", "mla", "dup", "mov", "movi", "ldr", "ldp"}
    assert set(shared) <= names | {"madd", "add", "cmp", "b.lt", "b.le"}


def test_without_dot_products_bytes_are_multiplied_to_words() -> None:
    loop = hot_loop(matmul_assembly(form("q4_0"), NEON, 1))
    names = [line.split()[0] for line in loop]
    totals = 2 * 2  # of two row groups, two blocks of each
    assert names.count("smlal") + names.count("smull") == totals * 8
    assert names.count("smlal2") + names.count("smull2") == totals * 8
    assert names.count("sadalp") + names.count("saddlp") == totals
    assert not touches_stack(loop)
