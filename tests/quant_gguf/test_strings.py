"""Arrays of strings are found as they are written, whatever the strings hold; what is cut off is refused."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lumen_core.errors import ModelFormatError
from lumen_quant_gguf.strings import scan

PIECES = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        ["", "\0", "\0" * 6, "\0" * 9, "a" * 255, "b" * 256, "c" * 257, "d" * 65536, "\x01" + "\0" * 7]
    ),
)


def written(texts: list[str]) -> bytes:
    encoded = [text.encode("utf-8", "surrogatepass") for text in texts]
    return b"".join(struct.pack("<Q", len(data)) + data for data in encoded)


@given(st.lists(PIECES, max_size=40), st.binary(max_size=20), st.binary(max_size=40))
def test_strings_are_those_that_were_written(texts: list[str], before: bytes, behind: bytes) -> None:
    content = written(texts)
    data = np.frombuffer(before + content + behind, np.uint8)
    found, end = scan("x", data, len(before), len(texts))
    assert end == len(before) + len(content)
    assert found.tolist() == texts
    assert [found[place] for place in range(len(texts))] == texts


@pytest.mark.parametrize("odd", [None, "", "\0" * 12, "e" * 300, "f" * 70000])
def test_many_strings(odd: str | None) -> None:
    texts = [f"t{number}" for number in range(100_000)]
    if odd is not None:
        texts[50_000] = texts[-1] = odd
    content = written(texts)
    found, end = scan("x", np.frombuffer(content, np.uint8), 0, len(texts))
    assert (found.tolist(), end) == (texts, len(content))


@given(st.lists(PIECES, min_size=1, max_size=6), st.data())
def test_what_is_cut_off_is_refused(texts: list[str], data: st.DataObject) -> None:
    content = written(texts)
    length = data.draw(st.integers(0, len(content) - 1))
    with pytest.raises(ModelFormatError, match="the file ends"):
        scan("x", np.frombuffer(content[:length], np.uint8), 0, len(texts))
