"""The fence around chat templates: a model file may hold any program, and it runs here.

In: template source.  Out: a compiled template whose every loop, call, filter, operator, literal and output is
charged to the `Budget` of the rendering, so that no template can run for long or fill the memory.
jinja2's immutable sandbox keeps Python's internals out of reach; what it does not bound is bounded here by
rewriting the template's tree before it is compiled.
"""

from __future__ import annotations

import functools
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, nodes, pass_context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.visitor import NodeTransformer

from lumen_core.errors import TemplateError

MAX_BITS = 4096
MAX_NUMBER = 100_000  # a width, a count or an exponent that a filter or a method may be given
_DIGITS = re.compile(r"\d{6,}")
_GUARD, _SHOW, _JOIN, _WEIGH = "lumen_guard", "lumen_show", "lumen_join", "lumen_weigh"
_ALLOWED_FILTERS = frozenset((
    "abs", "attr", "batch", "capitalize", "count", "d", "default", "dictsort", "e", "escape", "first",
    "float", "groupby", "indent", "int", "items", "join", "last", "length", "list", "lower", "map", "max",
    "min", "reject", "rejectattr", "replace", "reverse", "round", "safe", "select", "selectattr", "slice",
    "sort", "string", "sum", "title", "trim", "unique", "upper", "wordcount",
))  # fmt: skip


@dataclass
class Budget:
    """What one rendering may use."""

    deadline: float
    steps: int
    characters: int
    size: int
    elements: int = 1 << 20

    def step(self, count: int = 1) -> None:
        self.steps -= count
        if self.steps < 0:
            raise TemplateError("the chat template makes too many steps; is it an endless loop?")
        if time.monotonic() > self.deadline:
            raise TemplateError("the chat template takes too long")

    def show(self, text: str) -> str:
        self.characters -= len(text)
        if self.characters < 0:
            raise TemplateError("the chat template writes too much text")
        return text

    def fits(self, size: int) -> None:
        if size > self.size:
            raise TemplateError(f"the chat template makes a value of size {size} (limit {self.size})")

    def weigh(self, value: Any) -> Any:
        """Check a value with all that it holds; what is shared counts each time, as it would be printed."""
        total, items, pending = 0, 0, [value]
        while pending:
            item = pending.pop()
            total += 1
            items += 1
            if isinstance(item, str | bytes):
                total += len(item)
            elif isinstance(item, int):
                if item.bit_length() > MAX_BITS:
                    raise TemplateError(f"the chat template computes a number of more than {MAX_BITS} bits")
            elif isinstance(item, Mapping):
                pending.extend(item.keys())
                pending.extend(item.values())
            elif isinstance(item, list | tuple | set | frozenset):
                pending.extend(item)
            self.fits(total)
            if items + len(pending) > self.elements:
                raise TemplateError(f"the chat template makes a value of more than {self.elements} elements")
        self.step(1 + total // 1000)
        return value


_unlimited = Budget(float("inf"), 1 << 62, 1 << 62, 1 << 20)
BUDGET: ContextVar[Budget] = ContextVar("lumen_template_budget", default=_unlimited)


def _guard(values: Iterable[Any]) -> Iterator[Any]:
    budget = BUDGET.get()
    for value in values:
        budget.step()
        yield value


def _show(value: Any) -> str:
    budget = BUDGET.get()
    budget.step()
    if not isinstance(value, str):
        budget.weigh(value)
    return budget.show(str(value))


def _join(parts: list[Any]) -> str:
    budget = BUDGET.get()
    texts = [part if isinstance(part, str) else str(budget.weigh(part)) for part in parts]
    budget.step()
    budget.fits(sum(map(len, texts)))
    return "".join(texts)


def _check_arguments(budget: Budget, values: Iterable[Any]) -> None:
    for value in values:
        if isinstance(value, int | float) and abs(value) > MAX_NUMBER:
            raise TemplateError(f"the chat template asks for {value!r} of something (limit {MAX_NUMBER})")
        budget.weigh(value)


def _check_text_method(budget: Budget, text: str | bytes, name: str, values: list[Any]) -> None:
    """Bound the result of a string method before Python makes it."""
    _check_arguments(budget, values)
    if name == "replace" and len(values) >= 2 and all(isinstance(value, str | bytes) for value in values[:2]):
        budget.fits(len(text) + text.count(values[0]) * len(values[1]))
    elif name == "join" and values:
        try:
            count = len(values[0])
        except TypeError:
            raise TemplateError("join of something without a length in the chat template") from None
        budget.fits(count * len(text))
    elif name in ("format", "format_map"):
        _check_format(budget, str(text), "{", values)
    elif name == "expandtabs":
        budget.fits(len(text) * max([8, *(value for value in values if isinstance(value, int))]))
    elif name in ("translate", "maketrans", "encode"):
        raise TemplateError(f"the string method {name} is not available in chat templates")


def _check_format(budget: Budget, text: str, mark: str, values: list[Any]) -> None:
    if _DIGITS.search(text):
        raise TemplateError("the chat template formats to a width that is too large")
    pending = [_as_text_length(value) for value in values]
    budget.fits(len(text) + text.count(mark) * (sum(pending) + 64))


def _as_text_length(value: Any) -> int:
    """About how long a value is when printed."""
    if isinstance(value, str):
        return len(value)
    if isinstance(value, Mapping):
        return sum(_as_text_length(item) + len(str(key)) for key, item in value.items())
    if isinstance(value, list | tuple):
        return sum(map(_as_text_length, value))
    return 32


def _bounded_filter(function: Callable[..., Any], name: str) -> Callable[..., Any]:
    """A filter with its arguments and its result charged to the budget; never run while compiling."""
    wants = getattr(function, "jinja_pass_arg", None)
    wants = getattr(wants, "name", None)

    @pass_context
    @functools.wraps(function, updated=())
    def bounded(context: Any, value: Any, *args: Any, **options: Any) -> Any:
        budget = BUDGET.get()
        if isinstance(value, Iterator):
            value = list(_guard(value))
        budget.weigh(value)
        extra = [*args, *options.values()]
        _check_arguments(budget, extra)
        if name == "replace" and len(args) >= 2:
            old, new = str(args[0]), str(args[1])
            budget.fits(len(str(value)) + str(value).count(old) * len(new))
        elif name in ("join", "indent"):
            budget.fits(_as_text_length(value) * max([1, *map(_width, extra)]))
        elif name == "batch" or name == "slice":
            budget.fits(max([1, *map(_width, extra)]) + (len(value) if hasattr(value, "__len__") else 0))
        first: tuple[Any, ...] = ()
        if wants == "context":
            first = (context,)
        elif wants is not None:
            first = (context.eval_ctx if wants == "eval_context" else context.environment,)
        result = function(*first, value, *args, **options)
        if isinstance(result, Iterator):
            result = list(_guard(result))
        return budget.weigh(result)

    return bounded


def _width(value: Any) -> int:
    return len(value) if isinstance(value, str) else int(value) if isinstance(value, int) else 1


class _Charge(NodeTransformer):
    """Wraps what could grow without bound into the filters above."""

    def __init__(self, environment: Environment):
        self._environment = environment

    def _wrap(self, node: nodes.Node, name: str) -> nodes.Expr:
        wrapped = nodes.Filter(node, name, [], [], None, None, lineno=node.lineno)
        wrapped.set_environment(self._environment)
        return wrapped

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        node.iter = self._wrap(node.iter, _GUARD)
        return node

    def visit_Output(self, node: nodes.Output) -> nodes.Output:
        self.generic_visit(node)
        node.nodes = [
            self._wrap(nodes.Const(part.data, lineno=part.lineno) if isinstance(part, nodes.TemplateData)
                       else part, _SHOW)
            for part in node.nodes
        ]  # fmt: skip
        return node

    def visit_Concat(self, node: nodes.Concat) -> nodes.Expr:
        self.generic_visit(node)
        return self._wrap(nodes.List(node.nodes, lineno=node.lineno), _JOIN)

    def _literal(self, node: Any) -> Any:
        self.generic_visit(node)
        return node if getattr(node, "ctx", "load") != "load" else self._wrap(node, _WEIGH)

    visit_List = visit_Dict = _literal

    def visit_Tuple(self, node: nodes.Tuple) -> nodes.Expr:
        return self._literal(node)


class GuardedEnvironment(ImmutableSandboxedEnvironment):
    """jinja2's sandbox with a budget."""

    intercepted_binops = frozenset(("+", "*", "%", "**", "/", "//", "-"))

    def __init__(self) -> None:
        super().__init__(trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"],
                         optimized=False, cache_size=0)  # fmt: skip
        self.filters = {name: _bounded_filter(function, name) for name, function in self.filters.items()
                        if name in _ALLOWED_FILTERS}  # fmt: skip
        for name, function in ((_GUARD, _guard), (_SHOW, _show), (_JOIN, _join), (_WEIGH, _weigh)):
            self.filters[name] = _late(function)
        for name in ("lipsum", "cycler", "joiner"):
            self.globals.pop(name, None)
        self.globals["range"] = _range

    def add_filter(self, name: str, function: Callable[..., Any]) -> None:
        self.filters[name] = _bounded_filter(function, name)

    def wrap_str_format(self, value: Any) -> Callable[..., str] | None:
        fenced = super().wrap_str_format(value)
        if fenced is None:
            return None

        def checked(*args: Any, **options: Any) -> str:
            _check_text_method(BUDGET.get(), value.__self__, "format", [*args, *options.values()])
            return fenced(*args, **options)

        return checked

    def compiled(self, source: str, name: str) -> Any:
        tree = _Charge(self).visit(self.parse(source, name=name, filename=name))
        return self.template_class.from_code(self, self.compile(tree, name, name), self.make_globals(None))

    def call(self, context: Any, function: Any, /, *args: Any, **options: Any) -> Any:
        budget = BUDGET.get()
        budget.step()
        values = [*args, *options.values()]
        owner = getattr(function, "__self__", None)
        if isinstance(owner, str | bytes):
            _check_text_method(budget, owner, getattr(function, "__name__", ""), values)
        elif owner is not None or isinstance(function, type):
            for value in values:
                budget.weigh(value)
        result = super().call(context, function, *args, **options)
        return result if function is _range else budget.weigh(result)

    def call_binop(self, context: Any, operator: str, left: Any, right: Any) -> Any:
        budget = BUDGET.get()
        budget.step()
        if operator == "*":
            for one, other in ((left, right), (right, left)):
                if isinstance(one, str | bytes | list | tuple) and isinstance(other, int):
                    budget.fits(len(one) * max(other, 0))
        elif operator == "**" and not (abs(left) <= MAX_NUMBER and abs(right) <= 64):
            raise TemplateError(f"the chat template computes {left!r} ** {right!r}, which is too large")
        elif operator == "%" and isinstance(left, str | bytes):
            values = list(right) if isinstance(right, tuple) else [right]
            _check_arguments(budget, values)
            _check_format(budget, str(left), "%", values)
        elif operator == "+" and isinstance(left, str) and isinstance(right, str):
            budget.fits(len(left) + len(right))
        return budget.weigh(super().call_binop(context, operator, left, right))


def _weigh(value: Any) -> Any:
    return BUDGET.get().weigh(value)


def _late(function: Callable[[Any], Any]) -> Callable[..., Any]:
    """A filter that the compiler cannot fold, since it wants the context."""

    @pass_context
    def filtered(_context: Any, value: Any) -> Any:
        return function(value)

    return filtered


def _range(*bounds: int) -> range:
    """Python's range, no longer than the sandbox allows."""
    values = range(*bounds)
    if len(values) > MAX_NUMBER:
        raise TemplateError(f"the chat template counts to {len(values)} (limit {MAX_NUMBER})")
    return values
