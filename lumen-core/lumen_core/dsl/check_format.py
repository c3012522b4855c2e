"""A format's declaration: names, lengths, and that its value has one element per place of the block.

Vectors in a format have a length and no other shape. A shorter one repeats each element over its group,
so lengths fit when the shorter divides the longer.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lumen_core.dsl import ast, builtins
from lumen_core.dsl.origins import GROUP, Axis, NoAxis, axes, narrow_bits, scope
from lumen_core.dsl.printer import print_expression
from lumen_core.dsl.signatures import suggestion
from lumen_core.source import Diagnostics
from lumen_core.types import SCALARS

FIELD_TYPES = frozenset(SCALARS) - {"i1"}
LONGEST_BLOCK = 1 << 16  # elements of a block, bytes of a block, elements of a vector
SMALL_FLOATS = {"e8m0": 8, "ue4m3": 8, "e4m3": 8, "e5m2": 8}  # types that only fields have, and their bits
FLOAT_TYPES = frozenset({"f16", "bf16", "f32", *SMALL_FLOATS})
_INTEGER_OPERATORS = frozenset({"|", "^", "&", "<<", ">>"})


@dataclass(frozen=True)
class Vector:
    """What is known of a value: its length, whether it is an integer, and from which field it comes."""

    length: int
    integer: bool
    field: ast.Field | None = None
    constant: int | None = None
    dimension: int = 1  # of a table: elements of one entry


@dataclass
class _Block:
    diagnostics: Diagnostics
    names: dict[str, Vector | None] = field(default_factory=dict)

    def error(self, message: str, node: ast.Node, *notes: str, help: str | None = None) -> None:
        self.diagnostics.error(message, node.span, notes=notes, help=help)


def check_format(format: ast.Format, diagnostics: Diagnostics) -> None:
    """Report every error of a format; of a family, what its formats have in common."""
    block = _Block(diagnostics)
    if format.generics:
        _family(format, block)
        return
    if not isinstance(format.block, int):
        block.error(f"unknown size `{format.block}` of the block", format, help="write a number")
        return
    if not 1 <= format.block <= LONGEST_BLOCK:
        help = "let a block be the weights that share a scale, such as 32 or 256"
        block.error(f"a block has 1 to {LONGEST_BLOCK} elements, not {format.block}", format, help=help)
    for table in format.tables:
        _table(table, block)
    size = sum(_field(entry, block, format.block) for entry in format.fields)
    if not format.fields:
        block.error(f"format `{format.name}` has no fields", format, help="name its bytes in order: d: f16")
    if size > LONGEST_BLOCK:
        block.error(f"a block has at most {LONGEST_BLOCK} bytes, not {size}", format)
    _one_tensor(format, block)
    for let in format.lets:
        if len(let.names) != 1:
            block.error("a let of a format has one name", let)
        block.names |= dict.fromkeys(let.names, _vector(let.value, block))
    value = _vector(format.value, block)
    if value is not None and value.length != format.block:
        elements = f"{value.length} element{'s' * (value.length != 1)}"
        help = "the value names every element of the block, one each"
        block.error(f"the value has {elements}, the block has {format.block}", format.value, help=help)


def _table(table: ast.Table, block: _Block) -> None:
    """Bring a table into scope."""
    block.names[table.name] = None
    if table.dtype not in ("i8", "u8", "i16"):
        block.error(f"a table holds i8, u8 or i16, not `{table.dtype}`", table)
    elif not all(1 <= size <= LONGEST_BLOCK for size in table.shape):
        block.error(f"the sizes of a table are 1 to {LONGEST_BLOCK}", table)
    elif len(table.shape) == 2 and table.shape[1] not in (1, 2, 4, 8, 16):
        block.error(f"an entry of a table has 1, 2, 4, 8 or 16 elements, not {table.shape[1]}", table)
    else:
        block.names[table.name] = Vector(table.shape[0], True, dimension=(*table.shape, 1)[1])


def _one_tensor(format: ast.Format, block: _Block) -> None:
    """Fields of a block lie side by side in one tensor, or each in a tensor of its own."""
    if block.diagnostics.found:
        return
    blocks = [entry for entry in format.fields if entry.dtype != GROUP and scope(entry) == "block"]
    own = [entry for entry in blocks if entry.origin is None]
    if own and len(own) < len(blocks):
        foreign = next(entry for entry in blocks if entry.origin is not None)
        help = "say of each field of a block where it is `from`, or of none"
        block.error(
            f"`{own[0].name}` lies in the blocks, `{foreign.name}` in another tensor", foreign, help=help
        )


def _family(format: ast.Format, block: _Block) -> None:
    """The names of a family; what depends on its generics is checked in each of its formats."""
    sizes = [format.block, *(entry.count for entry in format.fields)]
    for name in dict.fromkeys(size for size in sizes if isinstance(size, str)):
        if name not in format.generics:
            block.error(f"unknown size `{name}`", format, help=suggestion(name, format.generics))
    names = [entry.name for entry in format.fields]
    for entry in format.fields:
        if names.count(entry.name) > 1 or entry.name in format.generics:
            block.error(f"the field `{entry.name}` is declared twice", entry)
    if not format.fields:
        block.error(f"format `{format.name}` has no fields", format, help="name its bytes in order: d: f16")


def _field(entry: ast.Field, block: _Block, length: int) -> int:
    """Bring a field into scope and return its bytes, all that a block of `length` weights needs of it."""
    if entry.name in block.names:
        block.error(f"the field `{entry.name}` is declared twice", entry)
    count = 1 if entry.count is None else entry.count
    known = isinstance(count, int) and 1 <= count <= LONGEST_BLOCK
    if not known:
        block.error(f"a field has 1 to {LONGEST_BLOCK} elements, not {count}", entry)
    bits = narrow_bits(entry.dtype)
    if entry.dtype not in FIELD_TYPES | set(SMALL_FLOATS) | {GROUP} and not (bits and 1 <= bits <= 8):
        help = suggestion(entry.dtype, FIELD_TYPES) or f"there are {', '.join(sorted(FIELD_TYPES))}"
        help = "there is uint<1> to uint<8>" if entry.dtype.startswith("uint<") else help
        block.error(f"unknown element type `{entry.dtype}`", entry, help=help)
        known = False
    placed = _place(entry, block, length) if known else False
    if not known or not placed or entry.dtype == GROUP or not isinstance(count, int):
        block.names[entry.name] = None
        return 0
    whole = bits is not None or entry.dtype in builtins.INTEGERS
    block.names[entry.name] = Vector(count, whole, entry if bits is None else None)
    return -(-count * (bits or SMALL_FLOATS.get(entry.dtype) or SCALARS[entry.dtype]) // 8)


def _place(entry: ast.Field, block: _Block, length: int) -> bool:
    """Check where a field lies; tell whether that is right."""
    count = entry.count or 1
    assert isinstance(count, int)
    if entry.otherwise is not None and entry.origin is None:
        help = "give it the tensor that it comes from, or leave `else` out"
        block.error("only a field of another tensor can be missing", entry, help=help)
    try:
        kind, parts = scope(entry), axes(entry.origin) if entry.origin is not None else ()
    except NoAxis as wrong:
        block.error(str(wrong), wrong.node, help=wrong.help)
        return False
    if entry.dtype == GROUP:
        if parts != (Axis("K"),) or entry.count:
            block.error("groups are numbered for every column", entry, help="write g: group from g_idx[K]")
        return True
    bits = narrow_bits(entry.dtype)
    if bits is None and any(axis.packed for axis in parts):
        block.error("only narrow integers are packed in words", entry, help="declare it as uint<4>")
    if bits is not None and entry.origin is None and bits * count % 8:
        block.error(f"{count} integers of {bits} bits are not whole bytes", entry)
    if kind != "block" and count != 1:
        block.error(f"a row has one value of `{entry.name}`, not {count}", entry)
    for axis in parts:
        if axis.dimension == "K" and axis.divisor * count != length:
            advice = f"give it {length // axis.divisor} elements" if not length % axis.divisor else None
            message = f"a block of {length} weights has {length / axis.divisor:g} of these, not {count}"
            block.error(message, entry, help=advice)
    return True


def _vector(node: ast.Expression, block: _Block) -> Vector | None:
    """Return what is known of an expression, or None after an error."""
    match node:
        case ast.Number(value):
            whole = isinstance(value, int)
            return Vector(1, whole, constant=int(value) if whole else None)
        case ast.Name(name):
            if name not in block.names:
                block.error(f"unknown name `{name}`", node, help=suggestion(name, block.names))
            return block.names.get(name)
        case ast.Unary("-", operand):
            inner = _vector(operand, block)
            known = inner.constant if inner is not None else None
            return inner and Vector(inner.length, inner.integer, constant=None if known is None else -known)
        case ast.Binary(operator, left, right) if operator in builtins.FORMAT_OPERATORS:
            return _combine(operator, _vector(left, block), _vector(right, block), node, block)
        case ast.Unary(operator) | ast.Binary(operator):
            help = f"there are {' '.join(builtins.FORMAT_OPERATORS)}"
            block.error(f"formats have no operator `{operator}`", node, help=help)
        case ast.Slice():
            return _slice(node, block)
        case ast.Index():
            return _index(node, block)
        case ast.List(items):
            parts = [_vector(item, block) for item in items]
            for item, part in zip(items, parts, strict=True):
                if part is not None and part.length != 1:
                    block.error(f"an element of a table is one number, not {part.length}", item)
            if not items:
                block.error("a table has at least one element", node)
            if not items or None in parts:
                return None
            return Vector(len(items), all(part.integer for part in parts if part is not None))
        case ast.Call():
            return _call(node, block)
        case ast.Tuple():
            block.error("a format's value is one vector, not a tuple", node)
    return None


def _combine(
    operator: str, a: Vector | None, b: Vector | None, node: ast.Expression, block: _Block
) -> Vector | None:
    """Return the result of an element-wise operation: as long as the longer operand."""
    if a is None or b is None:
        return None
    if operator in _INTEGER_OPERATORS and not (a.integer and b.integer):
        help = "use the stored field, not a scaled value"
        block.error(f"`{operator}` needs integers, found real numbers", node, help=help)
        return None
    length = max(a.length, b.length)
    if length % a.length or length % b.length:
        help = "a shorter vector repeats over groups, so its length divides the longer one's"
        message = f"the lengths {a.length} and {b.length} do not fit in `{operator}`"
        block.error(message, node, help=help)
        return None
    return Vector(length, a.integer and b.integer and operator != "/")


def _constant(node: ast.Expression, what: str, block: _Block) -> int | None:
    value = _vector(node, block)
    if value is not None and value.constant is None:
        block.error(f"{what} must be an integer constant, found `{print_expression(node)}`", node)
    return value.constant if value is not None else None


def _slice(node: ast.Slice, block: _Block) -> Vector | None:
    value = _vector(node.value, block)
    start = 0 if node.start is None else _constant(node.start, "the start of a slice", block)
    if value is None:
        return None
    stop = value.length if node.stop is None else _constant(node.stop, "the end of a slice", block)
    step = 1 if node.step is None else _constant(node.step, "the step of a slice", block)
    if start is None or stop is None or step is None:
        return None
    if step < 1:
        block.error(f"the step of a slice is 1 or more, found {step}", node)
        return None
    if not 0 <= start < stop <= value.length:
        note = f"`{print_expression(node.value)}` has {value.length} element{'s' * (value.length != 1)}"
        block.error(f"the slice {start}:{stop} is out of range", node, note)
        return None
    return Vector(len(range(start, stop, step)), value.integer, value.field)


def _index(node: ast.Index, block: _Block) -> Vector | None:
    value, index = _vector(node.value, block), _vector(node.index, block)
    if value is None or index is None:
        return None
    if not index.integer:
        block.error("an index is an integer", node.index)
        return None
    if index.constant is not None and not 0 <= index.constant < value.length:
        note = f"`{print_expression(node.value)}` has {value.length} element{'s' * (value.length != 1)}"
        block.error(f"the index {index.constant} is out of range", node, note)
        return None
    return Vector(index.length * value.dimension, value.integer)


def _call(node: ast.Call, block: _Block) -> Vector | None:
    known = {"bits": _bits, "concat": _concat, "reinterpret": _reinterpret}
    if node.function not in known:
        help = suggestion(node.function, known) or f"there are {', '.join(known)}"
        name = ast.Name(node.function, span=node.name_span)
        block.error(f"unknown function `{node.function}` in a format", name, help=help)
        return None
    return known[node.function](node, block)


def _concat(node: ast.Call, block: _Block) -> Vector | None:
    parts = [_vector(argument, block) for argument in node.arguments]
    for keyword in node.keywords:
        block.error(f"`concat` has no argument `{keyword.name}`", keyword)
    known = [part for part in parts if part is not None]
    if not parts:
        block.error("`concat` takes one vector or more", node)
    if not parts or len(known) < len(parts):
        return None
    length = sum(part.length for part in known)
    if length > LONGEST_BLOCK:
        block.error(f"this vector has more than {LONGEST_BLOCK} elements", node)
        return None
    return Vector(length, all(part.integer for part in known))


def _reinterpret(node: ast.Call, block: _Block) -> Vector | None:
    """`reinterpret(x, f16)`: the float whose bits are an integer's."""
    value = _vector(node.arguments[0], block) if node.arguments else None
    known = len(node.arguments) == 2 and isinstance(node.arguments[1], ast.Name)
    if not known or node.arguments[1].name not in FLOAT_TYPES:  # type: ignore[union-attr]
        block.error(
            "`reinterpret` takes integers and a type of floats", node, help="write reinterpret(x, f16)"
        )
        return None
    if value is not None and not value.integer:
        block.error("`reinterpret` needs integers, found real numbers", node.arguments[0])
        return None
    return Vector(value.length, False) if value is not None else None


def _bits(node: ast.Call, block: _Block) -> Vector | None:
    """`bits(field, width, run=r)`: the parts of each chunk of r integers, lowest bits first.

    `parts=n` takes only the lowest n parts of each integer.
    """
    if len(node.arguments) != 2 or any(keyword.name not in ("run", "parts") for keyword in node.keywords):
        help = "write bits(field, width, run=r)"
        block.error("`bits` takes a field of bytes, a width and `run`", node, help=help)
        return None
    source = _vector(node.arguments[0], block)
    width = _constant(node.arguments[1], "the width", block)
    run_node = node.keyword("run")
    run = _constant(run_node, "`run`", block) if run_node is not None else source.length if source else None
    if source is None or width is None or run is None:
        return None
    stored = source.field.dtype if source.field is not None else "u8"
    if not source.integer or stored[0] != "u":
        block.error("`bits` takes unsigned integers apart", node.arguments[0], help="declare it as u8[...]")
        return None
    parts_node = node.keyword("parts")
    whole = SCALARS[stored]
    parts = _constant(parts_node, "`parts`", block) if parts_node is not None else whole // max(width, 1)
    if parts is None:
        return None
    if width < 1 or parts < 1 or width * parts > whole or (parts_node is None and width * parts != whole):
        advice = "say with parts= how many parts to take" if parts_node is None else None
        block.error(f"{whole} bits are not {parts} parts of {width}", node.arguments[1], help=advice)
        return None
    if run < 1 or source.length % run:
        place = run_node if run_node is not None else node
        block.error(
            f"`run` must divide the {source.length} integers of the field, found {run}",
            place,
            help="integers are taken from `run` fields side by side, and then from the next `run`",
        )
        return None
    return Vector(source.length * parts, True)
