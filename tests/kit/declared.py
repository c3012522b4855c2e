"""Hypothesis strategy: declarations of quantization formats that nobody has thought of, as text."""

from __future__ import annotations

from hypothesis import strategies as st


@st.composite
def formats(draw: st.DrawFn) -> str:
    """Codes of 1 to 8 bits in planes or whole, tables, scale trees of two levels, offsets, any order."""
    block = draw(st.sampled_from([32, 64, 96, 128, 256, 512]))
    fields: list[str] = []
    code, width = _code(draw, block, fields)
    shift = draw(_shift(width))
    if width < 7 and draw(st.integers(0, 3)) == 0:
        entries = draw(
            st.lists(st.integers(-128, 127), min_size=1 << width, max_size=1 << width, unique=True)
        )
        fields.append(f"let book = {sorted(entries)}")
        code, shift = f"book[{code}]", ""
    floats = st.sampled_from(["f16", "bf16", "f32"])
    value = f"({code}{shift})"
    subs = [sub for sub in (16, 32, 64, 128) if block % sub == 0 and sub < block]
    sub = draw(st.sampled_from([0, *subs])) if subs else 0
    fields.append(f"d: {draw(floats)}")
    scale = (
        "d" + draw(st.sampled_from(["", "", " * e"])) + draw(st.sampled_from(["", "", " * 0.125", " / 3"]))
    )
    if " e" in scale:
        fields.append(f"e: {draw(floats)}")
    if sub:
        scale += f" * {_sub_scales(draw, 's', block // sub, fields)}"
    text = f"{scale} * {value}"
    if sub != 16 and draw(st.booleans()):
        fields.append(f"dmin: {draw(floats)}")
        minimum = f" * {_sub_scales(draw, 'm', block // sub, fields)}" if sub and draw(st.booleans()) else ""
        text += f" {draw(st.sampled_from('+-'))} dmin{minimum}"
    order = "\n    ".join(draw(st.permutations(fields)))
    return f"format any : block {block} {{\n    {order}\n    value = {text}\n}}\n"


def _code(draw: st.DrawFn, block: int, fields: list[str]) -> tuple[str, int]:
    """An expression for the codes, with the fields that it reads; and its bits."""
    kind = draw(st.sampled_from(["planes", "planes", "planes", "i8", "u8"]))
    if kind != "planes":
        fields.append(f"q: {kind}[{block}]")
        return "q", 8
    widths = draw(
        st.sampled_from([[1], [2], [4], [8], [2, 1], [1, 2], [4, 1], [4, 2], [2, 2, 1], [4, 2, 1], [4, 4]])
    )
    parts, low = [], 0
    for width in widths:
        size = block * width // 8
        run = draw(st.sampled_from([run for run in range(1, size + 1) if size % run == 0]))
        fields.append(f"q{low}: u8[{size}]")
        parts.append(f"bits(q{low}, {width}, run={run})" + (f" << {low}" if low else ""))
        low += width
    return (f"({' | '.join(parts)})" if len(parts) > 1 else parts[0]), low


def _shift(width: int) -> st.SearchStrategy[str]:
    """No zero point, the middle, any other, or steps of two."""
    top = (1 << width) - 1
    other = st.integers(0, top).map(lambda zero: f" - {zero}")
    return st.one_of(st.just(""), st.just(f" - {1 << (width - 1)}"), other, st.just(f" * 2 - {top}"))


def _sub_scales(draw: st.DrawFn, name: str, count: int, fields: list[str]) -> str:
    """`count` integers: bytes, signed bytes, or (an even number) nibbles around a middle."""
    kinds = ["u8", "i8", "nibbles"] if count % 2 == 0 else ["u8", "i8"]
    kind = draw(st.sampled_from(kinds))
    if kind != "nibbles":
        fields.append(f"{name}: {kind}[{count}]")
        return name
    fields.append(f"{name}: u8[{count // 2}]")
    return f"(bits({name}, 4, run={draw(st.sampled_from([1, count // 2]))}) - 8)"
