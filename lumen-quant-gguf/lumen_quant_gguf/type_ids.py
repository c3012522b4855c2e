"""The numbers that GGUF files use for value types and tensor types, and the bytes that each block takes.

A tensor type's layout is declared in `formats.lum`; what stands here is only what the container needs to
place tensors: the name behind an id, and the size of one block.
"""

from __future__ import annotations

from dataclasses import dataclass

VALUE_TYPES: dict[int, tuple[str, int]] = {  # id -> numpy name, bytes
    0: ("u1", 1), 1: ("i1", 1), 2: ("<u2", 2), 3: ("<i2", 2), 4: ("<u4", 4), 5: ("<i4", 4),
    6: ("<f4", 4), 7: ("bool", 1), 10: ("<u8", 8), 11: ("<i8", 8), 12: ("<f8", 8),
}  # fmt: skip
BOOL, STRING, ARRAY = 7, 8, 9


@dataclass(frozen=True)
class TensorTypeId:
    id: int
    name: str
    block: int
    block_bytes: int
    header_bytes: int = 0  # before the blocks of each row

    def row_bytes(self, columns: int) -> int:
        return self.header_bytes + columns // self.block * self.block_bytes


_ROWS = (
    (0, "f32", 1, 4), (1, "f16", 1, 2), (2, "q4_0", 32, 18), (3, "q4_1", 32, 20), (6, "q5_0", 32, 22),
    (7, "q5_1", 32, 24), (8, "q8_0", 32, 34), (9, "q8_1", 32, 40), (10, "q2_k", 256, 84),
    (11, "q3_k", 256, 110), (12, "q4_k", 256, 144), (13, "q5_k", 256, 176), (14, "q6_k", 256, 210),
    (15, "q8_k", 256, 292), (16, "iq2_xxs", 256, 66), (17, "iq2_xs", 256, 74), (18, "iq3_xxs", 256, 98),
    (19, "iq1_s", 256, 50), (20, "iq4_nl", 32, 18), (21, "iq3_s", 256, 110), (22, "iq2_s", 256, 82),
    (23, "iq4_xs", 256, 136), (24, "i8", 1, 1), (25, "i16", 1, 2), (26, "i32", 1, 4), (27, "i64", 1, 8),
    (28, "f64", 1, 8), (29, "iq1_m", 256, 56), (30, "bf16", 1, 2), (34, "tq1_0", 256, 54),
    (35, "tq2_0", 256, 66), (39, "mxfp4", 32, 17), (40, "nvfp4", 64, 36), (41, "q1_0", 128, 18),
    (42, "q2_0", 64, 18),
)  # fmt: skip
TENSOR_TYPES: dict[int, TensorTypeId] = {row[0]: TensorTypeId(*row) for row in _ROWS}
TENSOR_TYPES_BY_NAME: dict[str, TensorTypeId] = {kind.name: kind for kind in TENSOR_TYPES.values()}

REMOVED_TYPES: dict[int, str] = {
    4: "Q4_2", 5: "Q4_3", 31: "Q4_0_4_4", 32: "Q4_0_4_8", 33: "Q4_0_8_8",
    36: "IQ4_NL_4_4", 37: "IQ4_NL_4_8", 38: "IQ4_NL_8_8",
}  # fmt: skip
