"""The inner loops that LLVM makes for dotprod: golden listings for decoding, no spills in wide tiles.

`loops.txt` is rewritten by `pytest --bless`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from kit.forms import form
from kit.loops import census, hot_loop, matmul_assembly, products, touches_stack

from lumen_backend_arm.targets import DOTPROD, NEON
from lumen_core.schedule.matmul import tile_columns

Golden = Callable[[Path, str, Callable[[str], str]], None]
FORMATS = ("q4_0", "q8_0", "q4_k", "q5_k", "q6_k", "f16")


def test_decoding_loops_are_what_a_hand_would_write(golden: Golden) -> None:
    """Every instruction of one token's loops, in order, and how often each stands in a wide tile's."""

    def listings(_: str) -> str:
        texts = []
        for name in FORMATS:
            single = hot_loop(matmul_assembly(form(name), DOTPROD, 1))
            wide = hot_loop(matmul_assembly(form(name), DOTPROD, tile_columns(DOTPROD)))
            texts.append(f"{name}, one token\n" + "\n".join(single).expandtabs(8))
            texts.append(f"{name}, a wide tile: {census(wide)}\n")
        return "\n".join(texts)

    golden(Path(__file__).with_name("loops.txt"), "loops", listings)


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_is_spilled(name: str) -> None:
    single = hot_loop(matmul_assembly(form(name), DOTPROD, 1))
    assert not touches_stack(single)
    wide = hot_loop(matmul_assembly(form(name), DOTPROD, tile_columns(DOTPROD)))
    spilled = len(touches_stack(wide)) / products(wide)
    # Sub-blocks of 16 keep two scales and two operand sets beside the sums: a few sums wait on the stack.
    assert spilled <= (0.3 if form(name).sub == 16 else 0), census(wide)
    if form(name).kind == "integer":
        assert sum("sdot" in line for line in wide) == 8 * tile_columns(DOTPROD)


def test_without_dot_products_bytes_are_multiplied_to_words() -> None:
    loop = hot_loop(matmul_assembly(form("q4_0"), NEON, 1))
    names = [line.split()[0] for line in loop]
    assert names.count("smlal") + names.count("smull") == 8
    assert names.count("smlal2") + names.count("smull2") == 8
    assert names.count("sadalp") + names.count("saddlp") == 1
    assert not touches_stack(loop)
