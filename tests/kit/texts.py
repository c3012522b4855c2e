"""Texts for tests of tokenizers: short, and full of places where rules begin and end."""

from __future__ import annotations

from hypothesis import strategies as st

edges = st.lists(st.sampled_from([
    " ", " ", "\n", "\r", "\r\n", "\t", "가", "나다", "a", "b", "AB", "Ab", "12", "1", "!", "..",
    "'s", "'LL", "'", "/", "漢", "カ", "\u0301", "\u302e", "ㅋ", "\u1112\u1161\u11ab", "\u200d",
    "👨\u200d👩", "é", "Ⅷ", "ⅷ", "ǅ", "_", "\u3000", "#tag", "\x00", "\x1c", "\x85",
]), max_size=16).map("".join)  # fmt: skip
