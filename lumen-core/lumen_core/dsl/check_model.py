"""A model's page: config, weights, caches, and its functions: ast.Model -> TypedModel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from lumen_core.dsl import ast, builtins
from lumen_core.dsl.calls import check_recursion
from lumen_core.dsl.check_function import check_function
from lumen_core.dsl.configuration import LAYER, OPERATORS
from lumen_core.dsl.scope import describe
from lumen_core.dsl.signatures import SCALING, Signature, resolve_signature, resolve_type, suggestion
from lumen_core.dsl.typed import TypedExpr, TypedFunction, TypedModel, TypedWeight
from lumen_core.source import Diagnostics
from lumen_core.types import SCALARS, Dim, TensorType

STEP_SIZES = {"T": "the tokens of this step", "P": "the tokens in the cache"}
REQUIRED = {
    "embed": "fn embed(ids: i32[T]) -> f32[T, D]",
    "block": "fn block(x: f32[T, D], positions: i32[T]) -> f32[T, D]",
    "head": "fn head(x: f32[T, D]) -> f32[T, V]",
}


@dataclass
class _Page:
    """What the sections of a model have declared so far."""

    model: ast.Model
    diagnostics: Diagnostics
    sizes: dict[str, Dim] = field(default_factory=lambda: {name: Dim.of(name) for name in STEP_SIZES})
    names: dict[str, TypedExpr | None] = field(default_factory=dict)
    quotients: dict[str, ast.Expression] = field(default_factory=dict)

    def error(self, message: str, node: ast.Node, *notes: str, help: str | None = None) -> None:
        self.diagnostics.error(message, node.span, notes=notes, help=help)

    def fresh(self, name: str, node: ast.Node) -> bool:
        """Report a name that already means something."""
        if name in STEP_SIZES:
            self.error(f"`{name}` stands for {STEP_SIZES[name]}", node, help="take another name")
        elif name in self.sizes or name in self.names:
            self.error(f"`{name}` is declared twice in this model", node)
        elif name in builtins.RESERVED:
            self.error(f"`{name}` is a word of the language", node, help="take another name")
        else:
            return True
        return False


def check_model(
    model: ast.Model,
    outer: Mapping[str, Signature | None],
    elements: frozenset[str],
    diagnostics: Diagnostics,
) -> TypedModel | None:
    """Return the typed model, or None after an error; `outer` are the functions of the module."""
    before = len(diagnostics.found)
    page = _Page(model, diagnostics)
    _config(page)
    weights = _weights(page, model.weights, elements, layer=False)
    layer_weights = _weights(page, model.layer_weights, elements, layer=True)
    caches = _caches(page)
    signatures = dict(outer)
    declared = Counter(function.name for function in model.functions)
    for function in model.functions:
        if function.name in outer or function.name in builtins.names():
            page.error(f"the function `{function.name}` already exists outside this model", function)
        if declared[function.name] > 1:
            page.error(f"the function `{function.name}` is declared twice", function)
        signatures[function.name] = resolve_signature(function, elements, page.sizes, diagnostics)
    _required(page, signatures)
    functions: dict[str, TypedFunction] = {}
    calls: dict[str, set[str]] = {}
    for function in model.functions:
        signature = signatures[function.name]
        if signature is None:
            continue
        typed, calls[function.name] = check_function(signature, signatures, page.names, elements, diagnostics)
        if typed is not None:
            functions[function.name] = typed
    check_recursion({function.name: function for function in model.functions}, calls, diagnostics)
    if len(diagnostics.found) == before:
        _appends(page, functions)
    if len(diagnostics.found) > before:
        return None
    tensors = (weights, layer_weights, caches)
    return TypedModel(model.name, model.config, page.quotients, *tensors, functions, model.doc, model.unused)


def _config(page: _Page) -> None:
    for entry in page.model.config:
        if entry.key is None and entry.default is None:
            page.error(f"`{entry.name}` has neither a metadata key nor a default", entry)
        if entry.default is not None:
            _default(entry.default, page, {LAYER} if entry.layered else set())
        if not page.fresh(entry.name, entry):
            continue
        if entry.layered and entry.type != "i1":
            page.error(f"a setting per layer is i1, not {entry.type}", entry)
        if entry.allowed and entry.type != "i32":
            page.error(f"only an i32 can be `in` a list of numbers, not {entry.type}", entry)
        if entry.type == "scaling" and (entry.key is None or entry.default is not None):
            page.error("a scaling has a metadata key and no default", entry, help="= rope.scaling")
        if entry.type == "size":
            page.sizes[entry.name] = Dim.of(entry.name)
        elif entry.type in {"f32", "i32", "i1", SCALING}:
            attributes = {"name": entry.name}
            page.names[entry.name] = TypedExpr("config", (TensorType(entry.type, ()),), attributes=attributes)
        else:
            page.error(f"a setting is size, f32, i32, i1 or {SCALING}, not {entry.type}", entry)
            page.names[entry.name] = None


def _default(expression: ast.Expression, page: _Page, more: set[str]) -> None:
    """Check that a default is arithmetic over earlier settings."""
    match expression:
        case ast.Number():
            return
        case ast.Name(name):
            known = [*page.sizes, *page.names, *more]
            if name not in known or name in STEP_SIZES:
                page.error(f"unknown setting `{name}`", expression, help=suggestion(name, known))
        case ast.Unary("-", operand):
            _default(operand, page, more)
        case ast.Binary(operator, left, right) if operator in OPERATORS:
            _default(left, page, more)
            _default(right, page, more)
        case _:
            page.error("a default is arithmetic over numbers and earlier settings", expression)


def _weights(
    page: _Page, entries: tuple[ast.Weight, ...], elements: frozenset[str], layer: bool
) -> dict[str, TypedWeight]:
    found: dict[str, TypedWeight] = {}
    for entry in entries:
        known = {*SCALARS, *elements, "weight"}
        type = resolve_type(entry.type, page.sizes, (), known, page.diagnostics, page.quotients)
        fresh = page.fresh(entry.name, entry)
        if type is not None and {"T", "P"} & {symbol for dim in type.shape for symbol in dim.symbols}:
            page.error(f"the shape of `{entry.name}` depends on the tokens of a step", entry.type)
            type = None
        if type is not None and type.element == "weight" and len(type.shape) not in (2, 3):
            message = f"a weight of any format is a matrix: weight[N, K], found {describe(type)}"
            page.error(message, entry.type, help="those of experts are weight[X, N, K]")
            type = None
        if type is not None and entry.otherwise is not None:
            _otherwise(page, entry, type, found)
        if entry.condition is not None:
            _condition(page, entry, layer)
        if not fresh:
            continue
        if type is None:
            page.names[entry.name] = None
            continue
        own = TensorType(f"weight<{entry.name}>", type.shape) if type.element == "weight" else type
        attributes = {"name": entry.name, "layer": layer}
        page.names[entry.name] = TypedExpr("weight", (own,), attributes=attributes)
        tensor = entry.tensor if entry.tensor is not None else f"{entry.name}.weight"
        place = "blk.{layer}." * layer + tensor
        found[entry.name] = TypedWeight(entry.name, own, place, entry.otherwise, entry.condition)
    return found


def _condition(page: _Page, entry: ast.Weight, layer: bool) -> None:
    """Check that the layers which have the weight are told by a setting of every layer."""
    flags = {setting.name for setting in page.model.config if setting.layered}
    if not layer:
        page.error("only a weight of a layer can depend on one", entry)
    elif entry.condition not in flags:
        help = suggestion(str(entry.condition), flags) or "declare it: name: i1[L] = key"
        page.error(f"`{entry.condition}` is no setting per layer", entry, help=help)


def _otherwise(page: _Page, entry: ast.Weight, type: TensorType, found: Mapping[str, TypedWeight]) -> None:
    """Check what stands in for a missing tensor."""
    assert entry.otherwise is not None
    if entry.otherwise == "ones":
        if type.element not in builtins.FLOATS:
            page.error("only a tensor of real numbers can be `ones`", entry, help="declare it f32[...]")
        return
    other = found.get(entry.otherwise)
    if other is None:
        help = suggestion(entry.otherwise, [*found, "ones"])
        page.error(f"`{entry.otherwise}` is no earlier weight of this section", entry, help=help)
        return
    free = type.element == "weight" and other.type.element.startswith("weight<")
    if other.type.shape != type.shape or not (free or other.type.element == type.element):
        page.error(
            f"`{entry.otherwise}` cannot stand in for `{entry.name}`",
            entry,
            f"`{entry.name}` is {describe(type)}",
            f"`{entry.otherwise}` is {describe(other.type)}",
        )


def _caches(page: _Page) -> dict[str, TensorType]:
    found: dict[str, TensorType] = {}
    for entry in page.model.caches:
        type = resolve_type(entry.type, page.sizes, (), set(SCALARS), page.diagnostics, page.quotients)
        if not page.fresh(entry.name, entry):
            continue
        if type is None:
            page.names[entry.name] = None
            continue
        found[entry.name] = TensorType(type.element, (Dim.of("P"), *type.shape))
        page.names[entry.name] = TypedExpr("cache", (found[entry.name],), attributes={"name": entry.name})
    return found


def _required(page: _Page, signatures: Mapping[str, Signature | None]) -> None:
    """Check that the three functions that the engine calls are there, with the shapes it passes."""
    own = {function.name: function for function in page.model.functions}
    tokens = Dim.of("T")
    ids = TensorType("i32", (tokens,))
    for name, form in REQUIRED.items():
        if name not in own:
            page.error(f"model `{page.model.name}` has no function `{name}`", page.model, help=form)
            continue
        signature = signatures[name]
        if signature is None:
            continue
        inputs = tuple(type for _, type in signature.parameters)
        result = signature.results[0]
        wanted = {"embed": (ids,), "block": (result, ids), "head": inputs[:1]}[name]
        states = [result, *inputs[:1]] if name == "head" else [result]
        good = inputs == wanted and bool(inputs) and len(signature.results) == 1 and not signature.generics
        if not good or any(not _is_state(state, tokens) for state in states):
            page.error(f"`{name}` does not have the form that the engine calls", own[name], help=form)


def _is_state(type: TensorType, tokens: Dim) -> bool:
    return type.element == "f32" and len(type.shape) == 2 and type.shape[0] == tokens


def _appends(page: _Page, functions: Mapping[str, TypedFunction]) -> None:
    """Check that one step appends to every cache exactly once, and only in `block`."""
    known: dict[str, Counter[str]] = {}

    def within(typed: TypedExpr) -> Counter[str]:
        total: Counter[str] = Counter()
        if typed.op == "append" and typed.args[0].op == "cache":
            total[str(typed.args[0].attributes["name"])] += 1
        if typed.op == "call" and typed.attributes["function"] in functions:
            total += appended(str(typed.attributes["function"]))
        return sum(map(within, typed.args), total)

    def appended(name: str) -> Counter[str]:
        if name not in known:
            function = functions[name]
            known[name] = sum((within(let.value) for let in function.lets), within(function.value))
        return known[name]

    counts = appended("block")
    for entry in page.model.caches:
        if counts[entry.name] != 1:
            times = "never" if counts[entry.name] == 0 else f"{counts[entry.name]} times"
            help = f"write let k = append({entry.name}, ...)"
            page.error(f"`block` appends to the cache `{entry.name}` {times}, not once", entry, help=help)
