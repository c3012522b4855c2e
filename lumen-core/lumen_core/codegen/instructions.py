"""Semantic operations of the kernel IR through the target's instruction rows, as LLVM IR."""

from __future__ import annotations

from lumen_core.codegen.spelling import llvm_suffix, llvm_type
from lumen_core.codegen.writer import Writer
from lumen_core.errors import LumenBug
from lumen_core.ir.kernel import Operation, Type, Value
from lumen_core.target import Instruction, Target


class InstructionWriter(Writer):
    """A writer that knows the target: an operation becomes a row's intrinsic, or what does the same."""

    def __init__(self, target: Target):
        super().__init__()
        self.target = target

    def op_dot4(self, op: Operation) -> None:
        accumulator, left, right = op.operands
        kind = op.attributes["kind"]
        for flavour, other in (("dot4_u8s8", "signed"), ("dot4_s8s8", "unsigned")):
            row = self.row(flavour, accumulator.type) if kind != other else None
            if row is not None:
                self.call_row(row, op.results[0], op.operands)
                return
        halves = Type("i16", 2 * accumulator.type.lanes)
        widened, sums = Value(accumulator.type, "t"), Value(halves, "t")
        pairs, quads = self.row("maddubs", halves), self.row("madd16", accumulator.type)
        widen = self.row("widen_pairs", accumulator.type)
        if pairs is not None and quads is not None and kind != "signed":
            self.call_row(pairs, sums, (left, right))
            self.call_row(quads, widened, (sums, Value(sums.type, "c", 1)))
        elif widen is not None and kind != "unsigned":
            # A pair of products is at most 2 * 128 * 127: it fits 16 bits.
            self.call_row(widen, widened, (self.pair_products(left, right),))
        else:
            raise LumenBug(
                f"target {self.target.name} has no way to do a {kind} byte dot product of "
                f"{accumulator.type.lanes} lanes"
            )
        self.define(op.results[0], f"add {self.typed(accumulator)}, {self.value(widened)}")

    def op_dot2(self, op: Operation) -> None:
        accumulator, left, right = op.operands
        exact = not accumulator.type.is_float
        row = self.row("dot2_s16" if exact else "dot2_bf16", accumulator.type)
        if row is not None:
            self.call_row(row, op.results[0], op.operands)
            return
        if not exact:
            self.bf16_products(op.results[0], *op.operands)
            return
        products = Value(accumulator.type, "t")
        row = self.row("madd16", accumulator.type)
        if row is not None:
            self.call_row(row, products, (left, right))
        else:
            self.word_products(products, left, right)
        self.define(op.results[0], f"add {self.typed(accumulator)}, {self.value(products)}")

    def bf16_products(self, result: Value, accumulator: Value, left: Value, right: Value) -> None:
        """accumulator[i] + the products of pairs of bf16 (the high half of an f32), the odd one first."""
        integers, floats = llvm_type(left.type), llvm_type(result.type)
        name = f"llvm.fma.{llvm_suffix(result.type)}"
        self.declare(name, floats, (floats,) * 3)
        total = self.value(accumulator)
        for half in (f"and {{}} splat (i32 {-1 << 16})", "shl {} splat (i32 16)"):
            factors = []
            for value in (left, right):
                factors.append(self.fresh())
                self.line(f"{factors[-1]} = {half.format(f'{self.typed(value)},')}")
            singles = [self.cast(factor, integers, floats) for factor in factors]
            arguments = ", ".join(f"{floats} {text}" for text in (*singles, total))
            total = self.fresh()
            self.line(f"{total} = call {floats} @{name}({arguments})")
        self.text[id(result)] = total

    def word_products(self, result: Value, left: Value, right: Value) -> None:
        """result[i] = the sum over j < 2 of left[2i+j] * right[2i+j], words to 32 bits."""
        count = result.type.lanes
        words = [self.cast(self.value(v), llvm_type(v.type), f"<{2 * count} x i16>") for v in (left, right)]
        products = []
        for first in (0, 1):
            mask = ", ".join(f"i32 {lane}" for lane in range(first, 2 * count, 2))
            factors = []
            for word in words:
                half, wide = self.fresh(), self.fresh()
                pick = f"<{2 * count} x i16> {word}, <{2 * count} x i16> poison, <{count} x i32> <{mask}>"
                self.line(f"{half} = shufflevector {pick}")
                self.line(f"{wide} = sext <{count} x i16> {half} to <{count} x i32>")
                factors.append(wide)
            products.append(self.fresh())
            self.line(f"{products[-1]} = mul <{count} x i32> {factors[0]}, {factors[1]}")
        self.define(result, f"add <{count} x i32> {products[0]}, {products[1]}")

    def pair_products(self, left: Value, right: Value) -> Value:
        """left[2i] * right[2i] + left[2i+1] * right[2i+1] of signed bytes, in 16 bits."""
        count = 4 * left.type.lanes
        factors = []
        for value in (left, right):
            bytes = self.cast(self.value(value), llvm_type(value.type), f"<{count} x i8>")
            factors.append(self.fresh())
            self.line(f"{factors[-1]} = sext <{count} x i8> {bytes} to <{count} x i16>")
        product = self.fresh()
        self.line(f"{product} = mul <{count} x i16> {factors[0]}, {factors[1]}")
        parts = []
        for first in (0, 1):
            mask = ", ".join(f"i32 {lane}" for lane in range(first, count, 2))
            parts.append(self.fresh())
            pick = f"<{count} x i16> {product}, <{count} x i16> poison, <{count // 2} x i32> <{mask}>"
            self.line(f"{parts[-1]} = shufflevector {pick}")
        result = Value(Type("i16", count // 2), "t")
        self.define(result, f"add <{count // 2} x i16> {parts[0]}, {parts[1]}")
        return result

    def op_instruction(self, op: Operation) -> None:
        name = str(op.attributes["op"])
        result = op.results[0] if op.results else None
        row = self.row(name, result.type if result is not None else None)
        if row is None:
            raise LumenBug(f"target {self.target.name} has no instruction row {name}")
        self.call_row(row, result, op.operands)

    def row(self, op: str, result: Type | None) -> Instruction | None:
        wanted = llvm_type(result) if result is not None else "void"
        for row in self.target.instructions:
            if row.op == op and row.types[0] == wanted:
                return row
        return None

    def call_row(self, row: Instruction, result: Value | None, operands: tuple[Value, ...]) -> None:
        arguments = []
        for operand, given, wanted in zip(operands, row.types[1:], row.signature[1:], strict=False):
            text = self.cast(self.value(operand), llvm_type(operand.type), given)
            arguments.append(f"{wanted} {self.cast(text, given, wanted)}")
        arguments += list(row.immediates)
        self.declare(row.intrinsic, row.signature[0], row.signature[1:])
        call = f"call {row.signature[0]} @{row.intrinsic}({', '.join(arguments)})"
        if result is None:
            self.line(call)
            return
        name = self.fresh()
        self.line(f"{name} = {call}")
        text = self.cast(name, row.signature[0], row.types[0])
        self.text[id(result)] = self.cast(text, row.types[0], llvm_type(result.type))

    def cast(self, text: str, have: str, want: str) -> str:
        """The same bits as another type; a vector of unknown length starts with those of a known one."""
        if have == want:
            return text
        name = self.fresh()
        if "vscale" in have:
            intrinsic = f"llvm.vector.extract.{_overload(want)}.{_overload(have)}"
            self.declare(intrinsic, want, (have, "i64"))
            self.line(f"{name} = call {want} @{intrinsic}({have} {text}, i64 0)")
        elif "vscale" in want:
            intrinsic = f"llvm.vector.insert.{_overload(want)}.{_overload(have)}"
            self.declare(intrinsic, want, (want, have, "i64"))
            self.line(f"{name} = call {want} @{intrinsic}({want} poison, {have} {text}, i64 0)")
        else:
            self.line(f"{name} = bitcast {have} {text} to {want}")
        return name


def _overload(type: str) -> str:
    """How an overloaded intrinsic names a vector type of LLVM: `<vscale x 4 x i32>` is nxv4i32."""
    head = "nxv" if "vscale" in type else "v"
    return head + type.strip("<>").removeprefix("vscale x ").replace(" x ", "")
