"""The picture of a block: every bit is drawn once, where the normal form has it."""

from __future__ import annotations

import pytest
from kit.forms import declarations, form

from lumen_core.quant.picture import block_picture

Q4_K = """\
byte         7      6      5      4      3      2      1      0
0..1      [                          d                           ]
2..3      [                         dmin                         ]
4..7      [  scale 4+  ][                scale 0+                ]
8..11     [ offset 4+  ][               offset 0+                ]
12..15    [        offset 4+         ][         scale 4+         ]
16..47    [         code 32+         ][         code 0+          ]
48..79    [         code 96+         ][         code 64+         ]
80..111   [        code 160+         ][        code 128+         ]
112..143  [        code 224+         ][        code 192+         ]"""


def test_a_picture() -> None:
    assert block_picture(form("q4_k")) == Q4_K


@pytest.mark.parametrize("name", [n for n in declarations() if form(n).kind == "integer"])
def test_every_byte_and_bit_is_there(name: str) -> None:
    covered: list[int] = []
    for line in block_picture(form(name)).splitlines()[1:]:
        if line.startswith("row"):
            continue
        span, drawn = line[:10].strip(), line[10:]
        first, _, last = span.partition("..")
        covered += range(int(first), int(last or first) + 1)
        assert len(drawn) == 56 or " " * 7 in drawn
    assert covered == list(range(form(name).block_bytes))
