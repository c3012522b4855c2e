"""The instruction rows of the x86 family, and what each one means.

An operation comes in the widths that a vector register can have: 128, 256 and 512 bits. `N` in a
meaning is the number of result lanes, `G` that of groups of 16 lanes. Only operations that LLVM does not
select from plain vector code stand here (absolute value, rounding, f16 conversion and fused multiply-add
are plain code).

AVX2 has no byte dot product. There acc + sum4(a * b) is written as madd16(maddubs(a, b), 1), which is
exact while no pair sum leaves the signed 16-bit range: for a <= 128 and |b| <= 127.

A matrix of 8 x 8 bits turns bytes: bit i is the parity of the bits that its row i has of the byte. Its rows
lie from the highest byte down.

The bf16 dot product rounds after each of the two products (the odd one comes first) and takes and gives
denormal numbers as 0.
"""

from __future__ import annotations

from lumen_core.target import Instruction, Row

DOT4_U8S8 = """
fn dot4_u8s8[N](acc: i32[N], a: u8[4 * N], b: i8[4 * N]) -> i32[N] {
    acc + reshape(sum(reshape(widen(a) * widen(b), N, 4)), N)
}
"""
DOT2_S16 = """
fn dot2_s16[N](acc: i32[N], a: i16[2 * N], b: i16[2 * N]) -> i32[N] {
    acc + reshape(sum(reshape(widen(a) * widen(b), N, 2)), N)
}
"""
DOT2_BF16 = """
fn dot2_bf16[N](acc: f32[N], a: bf16[2 * N], b: bf16[2 * N]) -> f32[N] {
    acc + reshape(sum(reshape(convert(a, f32) * convert(b, f32), N, 2)), N)
}
"""
MADDUBS = """
fn maddubs[N](a: u8[2 * N], b: i8[2 * N]) -> i16[N] {
    saturate_i16(reshape(sum(reshape(widen(a) * widen(b), N, 2)), N))
}
"""
MADD16 = """
fn madd16[N](a: i16[2 * N], b: i16[2 * N]) -> i32[N] {
    reshape(sum(reshape(widen(a) * widen(b), N, 2)), N)
}
"""
SIGN8 = """
fn sign8[N](a: i8[N], b: i8[N]) -> i8[N] {
    a * sign(b)
}
"""
LOOKUP16 = """
fn lookup16[G](table: u8[16 * G], index: u8[16 * G]) -> u8[16 * G] {
    let place = reshape(index, G, 16)
    reshape(select(place < 128, take(reshape(table, G, 16), place & 15), place & 0), 16 * G)
}
"""
LOOKUP64 = """
fn lookup64[N](table: u8[N], index: u8[N]) -> u8[N] {
    take(table, index & 63)
}
"""
_BITS = " | ".join(f"parity(bytes & rows >> {8 * (7 - bit)}) << {bit}" for bit in range(8))
BIT_MATRIX = f"""
fn parity[*B](x: u64[*B]) -> u64[*B] {{
    0x6996 >> ((x ^ x >> 4) & 15) & 1
}}
fn bit_matrix[G](x: u8[16 * G], matrix: u64[2 * G]) -> u8[16 * G] {{
    let bytes = reshape(convert(x, u64), 2 * G, 8)
    let rows = reshape(matrix, 2 * G, 1)
    reshape(convert({_BITS}, u8), 16 * G)
}}
"""
PAUSE = ""  # a hint: it has no value

_AVX512 = ("avx512f", "avx512bw")
_AVX512_VNNI = ("avx512f", "avx512vnni")
_AVX512_VNNI_SHORT = ("avx512vl", "avx512vnni")
_AVX512_BF16 = ("avx512f", "avx512bf16")
_AVX512_GFNI = ("avx512f", "gfni")
_AVX512_VBMI = ("avx512f", "avx512vbmi")
_VEX_VNNI = ("avx2", "avxvnni")
_AVX2 = ("avx2",)


_ELEMENTS = {
    "f32": ("float", 4),
    "bf16": ("bfloat", 2),
    "i8": ("i8", 1),
    "i16": ("i16", 2),
    "i32": ("i32", 4),
    "i64": ("i64", 8),
}


def _vector(element: str, width: int) -> str:
    name, bytes = _ELEMENTS[element]
    return f"<{width // bytes} x {name}>"


def _row(
    op: str,
    width: int,
    elements: str,
    intrinsic: str,
    features: tuple[str, ...],
    meaning: str,
    bound: int = 0,
) -> Row:
    """Return the row of one width; `elements` are the element types, result first."""
    types = tuple(_vector(element, width) for element in elements.split())
    return Row(width, Instruction(op, types, intrinsic, types, features, meaning, bound))


def _bit_matrix(width: int, features: tuple[str, ...]) -> Row:
    bytes, name = _vector("i8", width), f"llvm.x86.vgf2p8affineqb.{8 * width}"
    types, signature = (bytes, bytes, _vector("i64", width)), (bytes, bytes, bytes, "i8")
    row = Instruction("bit_matrix", types, name, signature, features, BIT_MATRIX, immediates=("i8 0",))
    return Row(width, row)


def _dot4(width: int, features: tuple[str, ...]) -> Row:
    return _row(
        "dot4_u8s8", width, "i32 i32 i8 i8", f"llvm.x86.avx512.vpdpbusd.{8 * width}", features, DOT4_U8S8
    )


def _dot2(width: int, features: tuple[str, ...]) -> Row:
    return _row(
        "dot2_s16", width, "i32 i32 i16 i16", f"llvm.x86.avx512.vpdpwssd.{8 * width}", features, DOT2_S16
    )


ROWS: tuple[Row, ...] = (
    # Byte and word dot products. The intrinsics named avx512 also select the VEX form of AVX-VNNI.
    _dot4(64, _AVX512_VNNI),
    _dot4(32, _AVX512_VNNI_SHORT),
    _dot4(16, _AVX512_VNNI_SHORT),
    _dot4(32, _VEX_VNNI),
    _dot4(16, _VEX_VNNI),
    _dot2(64, _AVX512_VNNI),
    _dot2(32, _AVX512_VNNI_SHORT),
    _dot2(32, _VEX_VNNI),
    _row("dot2_bf16", 64, "f32 f32 bf16 bf16", "llvm.x86.avx512bf16.dpbf16ps.512", _AVX512_BF16, DOT2_BF16),
    # Pairs of bytes or words, multiplied and added; and the transfer of a sign.
    _row("maddubs", 64, "i16 i8 i8", "llvm.x86.avx512.pmaddubs.w.512", _AVX512, MADDUBS, bound=128),
    _row("maddubs", 32, "i16 i8 i8", "llvm.x86.avx2.pmadd.ub.sw", _AVX2, MADDUBS, bound=128),
    _row("maddubs", 16, "i16 i8 i8", "llvm.x86.ssse3.pmadd.ub.sw.128", _AVX2, MADDUBS, bound=128),
    _row("madd16", 64, "i32 i16 i16", "llvm.x86.avx512.pmaddw.d.512", _AVX512, MADD16),
    _row("madd16", 32, "i32 i16 i16", "llvm.x86.avx2.pmadd.wd", _AVX2, MADD16),
    _row("madd16", 16, "i32 i16 i16", "llvm.x86.sse2.pmadd.wd", _AVX2, MADD16),
    _row("sign8", 32, "i8 i8 i8", "llvm.x86.avx2.psign.b", _AVX2, SIGN8),
    _row("sign8", 16, "i8 i8 i8", "llvm.x86.ssse3.psign.b.128", _AVX2, SIGN8),
    # A table of 16 bytes in every 16 bytes of a register.
    _row("lookup64", 64, "i8 i8 i8", "llvm.x86.avx512.permvar.qi.512", _AVX512_VBMI, LOOKUP64),
    _row("lookup16", 64, "i8 i8 i8", "llvm.x86.avx512.pshuf.b.512", _AVX512, LOOKUP16),
    _row("lookup16", 32, "i8 i8 i8", "llvm.x86.avx2.pshuf.b", _AVX2, LOOKUP16),
    _row("lookup16", 16, "i8 i8 i8", "llvm.x86.ssse3.pshuf.b.128", _AVX2, LOOKUP16),
    # Eight bits of every byte, each a choice of its bits added up without a carry.
    _bit_matrix(64, _AVX512_GFNI),
    # Waiting in a loop on another thread.
    Row(0, Instruction("pause", ("void",), "llvm.x86.sse2.pause", ("void",), (), PAUSE)),
)
