"""Hypothesis strategies: syntax trees that the parser can produce."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import strategies as st

from lumen_core.dsl import ast
from lumen_core.dsl.lexer import KEYWORDS, LARGEST_INTEGER
from lumen_core.dsl.pratt import INFIX, PREFIX

names = st.one_of(
    st.sampled_from(["x", "value", "block", "T", "config", "layer", "ones", "_", "a1"]),
    st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,5}", fullmatch=True).filter(lambda name: name not in KEYWORDS),
)
numbers = st.builds(
    ast.Number,
    st.integers(0, LARGEST_INTEGER) | st.floats(0, allow_nan=False, allow_infinity=False).map(abs),
)


def _grow(inner: st.SearchStrategy[ast.Expression]) -> st.SearchStrategy[ast.Expression]:
    few = st.lists(inner, max_size=3).map(tuple)
    keyword = st.builds(ast.Keyword, names, inner)
    keywords = st.lists(keyword, max_size=2, unique_by=lambda keyword: keyword.name).map(tuple)
    return st.one_of(
        st.builds(ast.Unary, st.sampled_from(sorted(PREFIX)), inner),
        st.builds(ast.Binary, st.sampled_from(sorted(INFIX)), inner, inner),
        st.builds(ast.Call, names, few, keywords),
        st.builds(ast.Index, inner, inner),
        st.builds(ast.Slice, inner, st.none() | inner, st.none() | inner),
        st.builds(ast.List, few),
        st.builds(ast.Tuple, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    )


def _tuple(of: st.SearchStrategy, least: int = 0) -> st.SearchStrategy[tuple]:
    return st.lists(of, min_size=least, max_size=3).map(tuple)


expressions = st.recursive(numbers | st.builds(ast.Name, names), _grow, max_leaves=12)

lines = st.text(st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=12)
docs = st.lists(lines.map(str.strip), max_size=3).map("\n".join)
elements = names | st.builds("{}<{}>".format, names, names)
sizes = expressions | st.builds(ast.Pack, names)
types = st.builds(ast.TypeExpr, elements, st.none() | _tuple(sizes))
lets = st.builds(ast.Let, _tuple(names, least=1), expressions)
counts = st.integers(0, LARGEST_INTEGER)
extents = counts | names
types_of_fields = names | st.builds("{}<{}>".format, names, extents)
plain_fields = st.tuples(names, types_of_fields, st.none() | extents)
otherwise = st.none() | expressions
fields = st.one_of(
    st.builds(
        lambda field, row, other: ast.Field(*field, row, None, other), plain_fields, st.booleans(), otherwise
    ),
    st.builds(
        lambda field, origin, other: ast.Field(*field, False, origin, other),
        plain_fields,
        st.builds(ast.Origin, names, _tuple(expressions)),
        otherwise,
    ),
)
formats = st.builds(
    ast.Format, names, extents, _tuple(fields), _tuple(lets), expressions, docs, _tuple(names)
)
functions = st.builds(
    ast.Function,
    names,
    _tuple(st.builds(ast.Generic, names, st.booleans())),
    _tuple(st.builds(ast.Parameter, names, types)),
    _tuple(types, least=1),
    _tuple(lets),
    expressions,
    docs,
)
keys = st.lists(names, min_size=1, max_size=3).map(".".join)
strings = st.text(st.characters(exclude_characters='\n"', exclude_categories=["Cs"]), max_size=8)
_setting = (st.none() | expressions, st.booleans())
settings = st.builds(ast.Config, names, names, st.none() | keys, *_setting)
settings |= st.builds(ast.Config, names, names, keys, *_setting, _tuple(counts))
weights = st.builds(ast.Weight, names, types, st.none() | strings, st.none() | names, st.none() | names)
models = st.builds(
    ast.Model,
    names,
    _tuple(settings),
    _tuple(weights),
    _tuple(weights),
    _tuple(st.builds(ast.Cache, names, types)),
    _tuple(functions),
    docs,
    _tuple(strings),
    st.none() | names,
    _tuple(names),
    _tuple(names),
)
parts = st.builds(lambda model: replace(model, base=None, parts=(), partial=True), models)
modules = st.builds(ast.Module, _tuple(st.one_of(formats, functions, models, parts)))
