"""The instruction rows of 64-bit ARM, and what each one means.

`N` in a meaning is the number of result lanes. Only operations that LLVM does not select from plain vector
code stand here (fused multiply-add, by lane too, f16 conversion and widening products are plain code).
Rows of SVE take vectors whose length LLVM does not know; `types` is what they hold of it, the first lanes.

NEON without dotprod has no byte dot product. There bytes are multiplied to 16 bits, which hold the sum of a
pair of products (2 * 128 * 127), and of more where codes are small; `widen_pairs` adds the pairs up in 32.
"""

from __future__ import annotations

from lumen_core.target import Instruction, Row

DOT4_S8S8 = """
fn dot4_s8s8[N](acc: i32[N], a: i8[4 * N], b: i8[4 * N]) -> i32[N] {
    acc + reshape(sum(reshape(widen(a) * widen(b), N, 4)), N)
}
"""
DOT8_S8S8 = """
fn dot8_s8s8(acc: i32[4], a: i8[16], b: i8[16]) -> i32[4] {
    acc + reshape(sum(reshape(widen(a), 2, 1, 8) * reshape(widen(b), 1, 2, 8)), 4)
}
"""
DOT2_BF16 = """
fn dot2_bf16[N](acc: f32[N], a: bf16[2 * N], b: bf16[2 * N]) -> f32[N] {
    acc + reshape(sum(reshape(convert(a, f32) * convert(b, f32), N, 2)), N)
}
"""
DOT4_BF16 = """
fn dot4_bf16(acc: f32[4], a: bf16[8], b: bf16[8]) -> f32[4] {
    acc + reshape(sum(reshape(convert(a, f32), 2, 1, 4) * reshape(convert(b, f32), 1, 2, 4)), 4)
}
"""
WIDEN_PAIRS = """
fn widen_pairs[N](a: i16[2 * N]) -> i32[N] {
    reshape(sum(reshape(widen(a), N, 2)), N)
}
"""
LOOKUP16 = """
fn lookup16[N](table: u8[16], index: u8[N]) -> u8[N] {
    select(index < 16, take(table, index & 15), index & 0)
}
"""
LOOKUP16_SVE = """
fn lookup16[N](table: u8[N], index: u8[N]) -> u8[N] {{
    {found}
}}
"""
PUSH = """
fn push{width}[N](a: u8[N], b: u8[N]) -> u8[N] {{
    (a & {kept}) | (b >> {width})
}}
"""
SVE_BYTES = (32, 64, 128, 256)  # of vectors longer than NEON's: the lengths that the architecture allows
PAUSE = ""  # a hint: it has no value


def _vector(element: str, width: int) -> str:
    name = {"f32": "float", "bf16": "bfloat"}.get(element, element)
    return f"<{8 * width // int(element.lstrip('bfi'))} x {name}>"


def _neon(op: str, elements: str, intrinsic: str, features: tuple[str, ...], meaning: str) -> Row:
    """Return a row of 128 bits; `elements` are the LLVM element types, result first."""
    types = tuple(_vector(element, 16) for element in elements.split())
    return Row(16, Instruction(op, types, intrinsic, types, features, meaning))


def _push(width: int) -> Row:
    """Return the row that keeps the upper `width` bits of bytes and puts others in below."""
    type, meaning = _vector("i8", 16), PUSH.format(width=width, kept=256 - (256 >> width))
    types, name = (type,) * 3, "llvm.aarch64.neon.vsri.v16i8"
    signature, count = (*types, "i32"), (f"i32 {width}",)
    return Row(16, Instruction(f"push{width}", types, name, signature, ("neon",), meaning, immediates=count))


def _sve_dot4(width: int) -> Row:
    types = tuple(_vector(element, width) for element in ("i32", "i32", "i8", "i8"))
    words, bytes = "<vscale x 4 x i32>", "<vscale x 16 x i8>"
    signature = (words, words, bytes, bytes)
    intrinsic = "llvm.aarch64.sve.sdot.nxv4i32"
    return Row(width, Instruction("dot4_s8s8", types, intrinsic, signature, ("sve",), DOT4_S8S8))


def _sve_lookup16(width: int) -> Row:
    types, bytes = (_vector("i8", width),) * 3, "<vscale x 16 x i8>"
    intrinsic = "llvm.aarch64.sve.tbl.nxv16i8"
    inside = "select(index < N, take(table, index), index & 0)"
    meaning = LOOKUP16_SVE.format(found=inside if width < 256 else "take(table, index)")
    return Row(width, Instruction("lookup16", types, intrinsic, (bytes,) * 3, ("sve",), meaning))


ROWS: tuple[Row, ...] = (
    _neon("dot4_s8s8", "i32 i32 i8 i8", "llvm.aarch64.neon.sdot.v4i32.v16i8", ("dotprod",), DOT4_S8S8),
    # Two rows times two columns, 8 elements each.
    _neon("dot8_s8s8", "i32 i32 i8 i8", "llvm.aarch64.neon.smmla.v4i32.v16i8", ("i8mm",), DOT8_S8S8),
    *map(_sve_dot4, SVE_BYTES),
    _neon("dot2_bf16", "f32 f32 bf16 bf16", "llvm.aarch64.neon.bfdot.v4f32.v8bf16", ("bf16",), DOT2_BF16),
    # Two rows times two columns again: what two products of pairs do one after the other, in the same bits.
    _neon("dot4_bf16", "f32 f32 bf16 bf16", "llvm.aarch64.neon.bfmmla", ("bf16",), DOT4_BF16),
    _neon("widen_pairs", "i32 i16", "llvm.aarch64.neon.saddlp.v4i32.v8i16", ("neon",), WIDEN_PAIRS),
    # A table of 16 bytes; a place beyond it gives 0.
    _neon("lookup16", "i8 i8 i8", "llvm.aarch64.neon.tbl1.v16i8", ("neon",), LOOKUP16),
    *map(_sve_lookup16, SVE_BYTES),
    *map(_push, range(1, 7)),
    # Waiting in a loop on another thread: `yield`.
    Row(
        0,
        Instruction(
            "pause", ("void",), "llvm.aarch64.hint", ("void", "i32"), (), PAUSE, immediates=("i32 1",)
        ),
    ),
)
