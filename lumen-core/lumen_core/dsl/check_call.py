"""Types of calls: declared functions, builtins with a signature, and the irregular ones."""

from __future__ import annotations

from collections.abc import Mapping

from lumen_core.dsl import ast, builtins
from lumen_core.dsl.operators import binary
from lumen_core.dsl.rules import IRREGULAR, Infer, one_operand, operands_of
from lumen_core.dsl.scope import UNTYPED, Place, Scope, adapt, describe
from lumen_core.dsl.signatures import SIZE, Signature, builtin_signatures, suggestion
from lumen_core.dsl.sizes import Unifier, is_too_large
from lumen_core.dsl.typed import TypedExpr
from lumen_core.types import Dim, TensorType


def check_call(call: ast.Call, scope: Scope, infer: Infer) -> TypedExpr | None:
    name = call.function
    if name in scope.functions:
        scope.calls.add(name)
        signature = scope.functions[name]
        return _declared(call, (signature,), {}, scope, infer) if signature is not None else None
    if name in builtins.regular():
        choices = builtins.CHOICES.get(name, {})
        return _declared(call, _of_length(call, builtin_signatures(name), choices), choices, scope, infer)
    if name in builtins.ELEMENTWISE or name in builtins.REDUCTIONS or name in builtins.CONVERSIONS:
        return one_operand(call, scope, infer)
    if name in builtins.BINARY and name.isidentifier():
        operands = operands_of(call, 2, scope, infer)
        return binary(name, operands[0], operands[1], call, scope) if operands else None
    if name in builtins.IRREGULAR:
        return IRREGULAR[name](call, scope, infer)
    place = Place(span=call.name_span)
    if name in builtins.FORMAT_FUNCTIONS:
        scope.error(f"`{name}` may only be used in a format", place)
    elif name in scope.names or name in scope.sizes:
        scope.error(f"`{name}` is not a function", place)
    else:
        known = builtins.names() | set(scope.functions)
        scope.error(f"unknown function `{name}`", place, help=suggestion(name, known))
    return None


def _of_length(
    call: ast.Call, signatures: tuple[Signature, ...], choices: Mapping[str, tuple[str, ...]]
) -> tuple[Signature, ...]:
    """Return the signatures that take as many arguments as the call has; the first if none does."""
    given = len(call.arguments) + sum(keyword.name not in choices for keyword in call.keywords)
    return tuple(s for s in signatures if len(s.parameters) == given) or signatures[:1]


# Declared functions and builtins with a signature


def _declared(
    call: ast.Call,
    signatures: tuple[Signature, ...],
    choices: Mapping[str, tuple[str, ...]],
    scope: Scope,
    infer: Infer,
) -> TypedExpr | None:
    signature = signatures[0]
    words = _choices(call, choices, scope)
    arguments = _bind(call, signature, set(words or {}), scope)
    if arguments is None:
        return None
    sizes: dict[int, Dim | None] = {}
    values: dict[int, TypedExpr | None] = {}
    for place, (argument, (_, type)) in enumerate(zip(arguments, signature.parameters, strict=True)):
        if type == SIZE:
            sizes[place] = scope.dim(argument)
        else:
            values[place] = infer(argument, scope)
    if None in sizes.values() or None in values.values() or words is None:
        return None
    problems: list[tuple[str, int]] = []
    for signature in signatures:
        found = _unify(signature, sizes, values)
        if isinstance(found, Unifier):
            return _result(call, signature, found, sizes, values, words, arguments, scope)
        problems.append(found)
    message, guilty = problems[0]
    if len(signatures) > 1:
        wanted = " or ".join(describe(signature.parameters[0][1]).split("[")[0] for signature in signatures)
        message = f"`{signature.parameters[0][0]}` must be {wanted}, found {describe(_type(values, 0))}"
    notes = tuple(
        f"{name} is {sizes[index] if index in sizes else describe(_type(values, index))}"
        for index, (name, _) in enumerate(signature.parameters)
    )
    help = " or ".join(map(_usage, signatures))
    scope.error(f"`{call.function}`: {message}", arguments[guilty], *notes, help=f"it is {help}")
    return None


def _type(values: dict[int, TypedExpr | None], place: int) -> TensorType:
    value = values[place]
    assert value is not None
    return value.type


def _usage(signature: Signature) -> str:
    parameters = ", ".join(f"{name}: {describe(type)}" for name, type in signature.parameters)
    return f"{signature.function.name}({parameters})"


def _choices(call: ast.Call, choices: Mapping[str, tuple[str, ...]], scope: Scope) -> dict[str, str] | None:
    """Return the arguments that are one of a few words, or None after an error."""
    found: dict[str, str] = {}
    for name, words in choices.items():
        value = call.keyword(name)
        if isinstance(value, ast.Name) and value.name in words:
            found[name] = value.name
            continue
        listed = " or ".join(f"`{word}`" for word in words)
        place = value if value is not None else Place(span=call.name_span)
        what = "is wrong" if value is not None else "is missing"
        help = f"write {name} = {listed}"
        scope.error(f"`{call.function}`: the argument `{name}` {what}", place, help=help)
        return None
    return found


def _bind(call: ast.Call, signature: Signature, words: set[str], scope: Scope) -> list[ast.Expression] | None:
    """Return one argument per parameter, or None after an error."""
    names = [name for name, _ in signature.parameters]
    bound: dict[str, ast.Expression] = dict(zip(names, call.arguments, strict=False))
    good = True
    if len(call.arguments) > len(names):
        extra = call.arguments[len(names)]
        plural = "s" * (len(names) != 1)
        message = f"`{call.function}` takes {len(names)} argument{plural}, found {len(call.arguments)}"
        scope.error(message, extra, help=f"it is {_usage(signature)}")
        good = False
    for keyword in call.keywords:
        if keyword.name in builtins.CHOICES.get(call.function, {}) or keyword.name in words:
            continue
        if keyword.name in bound or keyword.name not in names:
            what = "is given twice" if keyword.name in bound else "is unknown"
            message = f"`{call.function}`: the argument `{keyword.name}` {what}"
            scope.error(message, keyword, help=f"it is {_usage(signature)}")
            good = False
        bound[keyword.name] = keyword.value
    missing = [name for name in names if name not in bound]
    if missing and good:
        listed = " and ".join(f"`{name}`" for name in missing)
        scope.error(
            f"`{call.function}` lacks {listed}", Place(span=call.name_span), help=f"it is {_usage(signature)}"
        )
    return [bound[name] for name in names] if good and not missing else None


def _unify(
    signature: Signature,
    sizes: dict[int, Dim | None],
    values: dict[int, TypedExpr | None],
) -> Unifier | tuple[str, int]:
    """Return what the generics stand for, or what is wrong and with which argument."""
    unifier = Unifier(signature.generics)
    for place, dim in sizes.items():
        assert dim is not None
        name = signature.parameters[place][0]
        unifier.sizes[name] = dim
        unifier.origins[name] = name
    for place, value in values.items():
        assert value is not None
        name, wanted = signature.parameters[place]
        given = value.type
        if given.element in UNTYPED:
            if wanted.element not in builtins.NUMBERS:
                return f"`{name}` must be {describe(wanted)}, found a number", place
            given = TensorType(wanted.element, given.shape)
        problem = unifier.element(wanted.element, given.element, name)
        problem = problem or unifier.shape(wanted.shape, given.shape, name)
        if problem:
            return problem, place
    problem = unifier.finish()
    return (problem, 0) if problem else unifier


def _result(
    call: ast.Call,
    signature: Signature,
    unifier: Unifier,
    sizes: dict[int, Dim | None],
    values: dict[int, TypedExpr | None],
    words: dict[str, str],
    arguments: list[ast.Expression],
    scope: Scope,
) -> TypedExpr | None:
    substitution = unifier.substitution()
    declared = call.function in scope.functions
    args: list[TypedExpr] = []
    for place, (_, wanted) in enumerate(signature.parameters):
        value = values.get(place)
        if value is not None:
            adapted = adapt(value, substitution.element(wanted.element), arguments[place], scope)
            if adapted is None:
                return None
            args.append(adapted)
        elif declared:
            attributes = {"dim": sizes[place]}
            args.append(TypedExpr("size", (SIZE,), attributes=attributes, span=arguments[place].span))
    results = tuple(map(substitution.type, signature.results))
    if any(is_too_large(dim) for result in results for dim in result.shape):
        scope.error(f"`{call.function}`: the sizes of the result are too long to follow", call)
        return None
    if not declared:
        return TypedExpr(call.function, results, tuple(args), words, call.span)
    callee = {"function": call.function, "substitution": substitution}
    return TypedExpr("call", results, tuple(args), callee, call.span)
