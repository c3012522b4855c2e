"""A picture of a format's block: which bit of which byte belongs to what, bit 7 on the left.

In: a normal form. Out: lines of text; bytes that follow the same pattern share one.
"""

from __future__ import annotations

from lumen_core.quant.integers import BitField, leaves
from lumen_core.quant.normal_form import NormalForm

_WIDTH = 7  # characters of a bit


def block_picture(form: NormalForm) -> str:
    """Draw the bytes of one block, and below them those that a row has once.

    `code 32+` is code 32 in the first byte of the line, then higher ones.
    """
    if form.kind == "float":
        return f"byte 0..{form.block_bytes - 1}: {form.element}"
    owners = _owners(form)
    head = "byte".ljust(10) + "".join(f"{bit}".center(_WIDTH) for bit in range(7, -1, -1)).rstrip()
    lines, start = [head], 0
    while start < len(owners):
        end = form.block_bytes if start < form.block_bytes else len(owners)
        stop, step = start + 1, None
        while stop < end:
            moved = _step(owners[stop - 1], owners[stop])
            if moved is None or moved != (step or moved):
                break
            step, stop = moved, stop + 1
        first, of_row = (start, "") if start < form.block_bytes else (start - form.block_bytes, "row ")
        span = of_row + (f"{first}" if stop == start + 1 else f"{first}..{first + stop - start - 1}")
        lines.append(f"{span:10}{_drawn(owners[start], step)}".rstrip())
        start = stop
    return "\n".join(lines)


def _owners(form: NormalForm) -> list[list[tuple[str, int]]]:
    """For every byte its bits' owners, least significant first; behind the block what a row stores once."""
    owners = [[("", 0)] * 8 for _ in range(form.block_bytes + form.header_bytes)]

    def claim(name: str, field: BitField) -> None:
        for number, source in enumerate(field.sources):
            for bit in source:
                if bit >= 0:
                    owners[bit >> 3][bit & 7] = (name, number)

    scales = {"scale": form.scale, "offset": form.offset}
    integers = {name: scale.integer for name, scale in scales.items() if scale is not None}
    for name, node in {"code": form.code, **integers}.items():
        fields = list(dict.fromkeys(leaves(node))) if node is not None else []
        for letter, field in zip("abcdefgh", fields, strict=False):
            claim(name if len(fields) == 1 else f"{name} {letter}", field)
    for scale in (form.scale, form.offset, form.row):
        for float_field in scale.floats if scale is not None else ():
            for source in float_field.source.sources:
                for bit in source:
                    owners[bit >> 3][bit & 7] = (float_field.name, -1)
    return owners


def _step(before: list[tuple[str, int]], after: list[tuple[str, int]]) -> int | None:
    """By how much all numbers rise from one byte to the next; None where the pattern changes."""
    if [name for name, _ in before] != [name for name, _ in after]:
        return None
    steps = {new - old for (_, old), (_, new) in zip(before, after, strict=True) if old >= 0 and new >= 0}
    return steps.pop() if len(steps) == 1 else None if steps else 0


def _drawn(owners: list[tuple[str, int]], step: int | None) -> str:
    text, bit = "", 7
    while bit >= 0:
        low = bit
        while low > 0 and owners[low - 1] == owners[bit]:
            low -= 1
        name, number = owners[bit]
        label = name if number < 0 else f"{name} {number}{'+' if step else ''}"
        room = _WIDTH * (bit - low + 1) - 2
        if len(label) > room and name:  # the first letters and the number
            label = f"{name[0]}{name[-1] if ' ' in name else ''}{number}{'+' if step else ''}"
        text += f"[{label[:room].center(room)}]" if name else " " * (room + 2)
        bit = low - 1
    return text
