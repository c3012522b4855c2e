"""Kernel IR -> LLVM IR text for one target.

Every operation becomes one or a few SSA lines in final order; no pass pipeline runs afterwards.
Semantic operations go through the target's instruction rows. Addresses are `getelementptr` only:
LLVM 22 miscompiles addresses that pass through integers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lumen_core.codegen.instructions import InstructionWriter
from lumen_core.codegen.spelling import llvm_conversion, llvm_literal, llvm_suffix, llvm_type
from lumen_core.errors import LumenBug
from lumen_core.ir.kernel import Kernel, Operation, Region, Type, Value
from lumen_core.target import Target

_INTEGER_OPS = {"add": "add", "sub": "sub", "mul": "mul", "div": "udiv", "rem": "urem"}
_FLOAT_OPS = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv", "rem": "frem"}
_BIT_OPS = ("and", "or", "xor", "shl", "lshr", "ashr")
_FLOAT_PREDICATES = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}


def emit_llvm(kernel: Kernel, target: Target) -> str:
    """Return an LLVM module that defines `kernel`."""
    emitter = _Emitter(target)
    emitter.function(kernel)
    return emitter.module(kernel, target)


class _Emitter(InstructionWriter):
    def function(self, kernel: Kernel) -> None:
        for index, parameter in enumerate(kernel.parameters):
            self.text[id(parameter)] = f"%p{index}"
        self.region(kernel.body)
        self.line("ret void" if kernel.result is None else "unreachable")

    # -------------------------------------------------------------- operations

    def region(self, region: Region) -> None:
        for operation in region.operations:
            self.operation(operation)

    def operation(self, op: Operation) -> None:
        if op.name in _INTEGER_OPS:
            table = _FLOAT_OPS if op.operands[0].type.is_float else _INTEGER_OPS
            self.binary(op, table[op.name])
        elif op.name in _BIT_OPS:
            self.binary(op, op.name)
        else:
            method: Callable[[Operation], None] | None = getattr(self, f"op_{op.name}", None)
            if method is None:
                raise LumenBug(f"no LLVM form for the kernel operation {op.name}")
            method(op)

    def binary(self, op: Operation, name: str) -> None:
        a, b = op.operands
        self.define(op.results[0], f"{name} {self.typed(a)}, {self.value(b)}")

    def op_vector_constant(self, op: Operation) -> None:
        type = op.results[0].type
        element = llvm_type(Type(type.element))
        items = ", ".join(f"{element} {llvm_literal(type, value)}" for value in op.attributes["values"])
        self.text[id(op.results[0])] = f"<{items}>"

    def op_fma(self, op: Operation) -> None:
        self.intrinsic(op.results[0], f"llvm.fma.{llvm_suffix(op.results[0].type)}", op.operands)

    def op_sqrt(self, op: Operation) -> None:
        self.intrinsic(op.results[0], f"llvm.sqrt.{llvm_suffix(op.results[0].type)}", op.operands)

    def op_rint(self, op: Operation) -> None:
        self.intrinsic(op.results[0], f"llvm.rint.{llvm_suffix(op.results[0].type)}", op.operands)

    def op_fneg(self, op: Operation) -> None:
        self.define(op.results[0], f"fneg {self.typed(op.operands[0])}")

    def op_abs(self, op: Operation) -> None:
        (a,) = op.operands
        if a.type.is_float:
            self.intrinsic(op.results[0], f"llvm.fabs.{llvm_suffix(a.type)}", op.operands)
            return
        name, type = f"llvm.abs.{llvm_suffix(a.type)}", llvm_type(a.type)
        self.declare(name, type, (type, "i1"))
        self.define(op.results[0], f"call {type} @{name}({self.typed(a)}, i1 false)")

    def op_compare(self, op: Operation) -> None:
        a, b = op.operands
        predicate = str(op.attributes["predicate"])
        if a.type.is_float:
            kind = f"fcmp {_FLOAT_PREDICATES[predicate]}"
        elif predicate in ("eq", "ne"):
            kind = f"icmp {predicate}"
        else:
            kind = f"icmp {'s' if op.attributes['signed'] else 'u'}{predicate}"
        self.define(op.results[0], f"{kind} {self.typed(a)}, {self.value(b)}")

    def op_select(self, op: Operation) -> None:
        condition, a, b = op.operands
        self.define(op.results[0], f"select {self.typed(condition)}, {self.typed(a)}, {self.typed(b)}")

    def op_convert(self, op: Operation) -> None:
        (a,) = op.operands
        result = op.results[0]
        name = llvm_conversion(a.type, result.type, bool(op.attributes["signed"]))
        self.define(result, f"{name} {self.typed(a)} to {llvm_type(result.type)}")

    def op_bitcast(self, op: Operation) -> None:
        self.define(op.results[0], f"bitcast {self.typed(op.operands[0])} to {llvm_type(op.results[0].type)}")

    def op_splat(self, op: Operation) -> None:
        (a,) = op.operands
        type = llvm_type(op.results[0].type)
        first = self.fresh()
        self.line(f"{first} = insertelement {type} poison, {self.typed(a)}, i64 0")
        mask = f"<{op.results[0].type.lanes} x i32> zeroinitializer"
        self.define(op.results[0], f"shufflevector {type} {first}, {type} poison, {mask}")

    def op_extract(self, op: Operation) -> None:
        self.define(
            op.results[0], f"extractelement {self.typed(op.operands[0])}, i64 {op.attributes['lane']}"
        )

    def op_insert(self, op: Operation) -> None:
        a, scalar = op.operands
        self.define(
            op.results[0], f"insertelement {self.typed(a)}, {self.typed(scalar)}, i64 {op.attributes['lane']}"
        )

    def op_shuffle(self, op: Operation) -> None:
        a, b = op.operands
        mask: tuple[int, ...] = op.attributes["mask"]
        items = ", ".join("i32 poison" if lane < 0 else f"i32 {lane}" for lane in mask)
        self.define(
            op.results[0], f"shufflevector {self.typed(a)}, {self.typed(b)}, <{len(mask)} x i32> <{items}>"
        )

    # ------------------------------------------------------------------ memory

    def op_offset(self, op: Operation) -> None:
        pointer, bytes = op.operands
        self.define(op.results[0], f"getelementptr i8, {self.typed(pointer)}, {self.typed(bytes)}")

    def op_load(self, op: Operation) -> None:
        kind = "load volatile" if op.attributes.get("again") else "load"
        place = f"{llvm_type(op.results[0].type)}, {self.typed(op.operands[0])}"
        self.define(op.results[0], f"{kind} {place}, align {op.attributes['align']}")

    def op_store(self, op: Operation) -> None:
        value, pointer = op.operands
        self.line(f"store {self.typed(value)}, {self.typed(pointer)}, align {op.attributes['align']}")

    def op_cycles(self, op: Operation) -> None:
        self.declare("llvm.readcyclecounter", "i64", ())
        self.define(op.results[0], "call i64 @llvm.readcyclecounter()")

    def op_prefetch(self, op: Operation) -> None:
        self.declare("llvm.prefetch.p0", "void", ("ptr", "i32", "i32", "i32"))
        locality = 0 if op.attributes.get("once") else 3
        self.line(f"call void @llvm.prefetch.p0({self.typed(op.operands[0])}, i32 0, i32 {locality}, i32 1)")

    def op_stack(self, op: Operation) -> None:
        name = self.fresh("stack")
        self.text[id(op.results[0])] = name
        self.entry.append(
            f"  {name} = alloca [{op.attributes['bytes']} x i8], align {op.attributes['align']}"
        )

    def op_data(self, op: Operation) -> None:
        bytes: Any = op.attributes["bytes"]
        name = f"@data{self.number()}"
        text = "".join(f"\\{byte:02X}" for byte in bytes)
        kind = f"private unnamed_addr constant [{len(bytes)} x i8]"
        self.declarations[name] = f'{name} = {kind} c"{text}", align 64'
        self.text[id(op.results[0])] = name

    def op_atomic(self, op: Operation) -> None:
        pointer, value = op.operands
        self.define(
            op.results[0],
            f"atomicrmw {op.attributes['kind']} {self.typed(pointer)}, {self.typed(value)} seq_cst",
        )

    def op_atomic_load(self, op: Operation) -> None:
        type = op.results[0].type
        self.define(
            op.results[0],
            f"load atomic {llvm_type(type)}, {self.typed(op.operands[0])} seq_cst, align {type.bytes}",
        )

    def op_atomic_store(self, op: Operation) -> None:
        value, pointer = op.operands
        self.line(
            f"store atomic {self.typed(value)}, {self.typed(pointer)} seq_cst, align {value.type.bytes}"
        )

    # ----------------------------------------------------------------- control

    def op_call(self, op: Operation) -> None:
        result = llvm_type(op.results[0].type) if op.results else "void"
        symbol = str(op.attributes["symbol"])
        self.declare(symbol, result, tuple(llvm_type(o.type) for o in op.operands))
        self.call(op, f"@{symbol}", op.operands)

    def op_call_pointer(self, op: Operation) -> None:
        pointer, *arguments = op.operands
        self.call(op, self.value(pointer), arguments)

    def call(self, op: Operation, callee: str, arguments: Sequence[Value]) -> None:
        result = llvm_type(op.results[0].type) if op.results else "void"
        call = f"call {result} {callee}({', '.join(map(self.typed, arguments))})"
        if op.results:
            self.define(op.results[0], call)
        else:
            self.line(call)

    def op_return(self, op: Operation) -> None:
        self.line(f"ret {self.typed(op.operands[0])}" if op.operands else "ret void")
        self.label(f"dead{self.number()}")

    def op_if(self, op: Operation) -> None:
        number = self.number()
        then, after = f"then{number}", f"after{number}"
        self.line(f"br {self.typed(op.operands[0])}, label %{then}, label %{after}")
        self.label(then)
        self.region(op.regions[0])
        self.line(f"br label %{after}")
        self.label(after)

    def op_for(self, op: Operation) -> None:
        start, stop, step, *carried = op.operands
        region = op.regions[0]
        number = self.number()
        head, body, done = f"loop{number}", f"body{number}", f"done{number}"
        before = self.block
        self.line(f"br label %{head}")
        self.label(head)
        phis = [self.phi(*pair) for pair in zip(region.arguments, (start, *carried), strict=True)]
        for argument, result in zip(region.arguments[1:], op.results, strict=True):
            self.text[id(result)] = self.text[id(argument)]
        index = phis[0].name
        condition = self.fresh()
        self.line(f"{condition} = icmp slt i64 {index}, {self.value(stop)}")
        self.line(f"br i1 {condition}, label %{body}, label %{done}")
        self.label(body)
        for inner in region.operations[:-1]:
            self.operation(inner)
        advanced = self.fresh()
        self.line(f"{advanced} = add nsw i64 {index}, {self.value(step)}")
        following = [advanced, *(self.value(value) for value in region.operations[-1].operands)]
        self.line(f"br label %{head}")
        self.close_phis(phis, before, following)
        self.label(done)

    def op_repeat(self, op: Operation) -> None:
        region = op.regions[0]
        number = self.number()
        head, done = f"repeat{number}", f"done{number}"
        before = self.block
        self.line(f"br label %{head}")
        self.label(head)
        phis = [self.phi(*pair) for pair in zip(region.arguments, op.operands, strict=True)]
        for inner in region.operations[:-1]:
            self.operation(inner)
        condition, *values = region.operations[-1].operands
        following = [self.value(value) for value in values]
        self.line(f"br {self.typed(condition)}, label %{head}, label %{done}")
        self.close_phis(phis, before, following)
        self.label(done)
        for result, after in zip(op.results, following, strict=True):
            self.text[id(result)] = after
