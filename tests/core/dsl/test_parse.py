"""Parsing: the binding of operators, the law parse(print(tree)) == tree, and hostile text."""

from __future__ import annotations

import time

import pytest
from core.dsl.hostile import HOSTILE, body
from core.dsl.trees import modules
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lumen_core.dsl import ast, load_text, parse
from lumen_core.dsl.printer import print_module
from lumen_core.errors import SourceError
from lumen_core.source import Source


def expression(text: str) -> ast.Expression:
    return parse(Source("test", f"fn f(x: f32) -> f32 {{\n{text}\n}}")).functions[0].value


def explicit(node: ast.Expression) -> str:
    """Return an expression with every pair of parentheses written."""
    match node:
        case ast.Unary(operator, operand):
            return f"({operator}{explicit(operand)})"
        case ast.Binary(operator, left, right):
            return f"({explicit(left)} {operator} {explicit(right)})"
        case ast.Index(value, index):
            return f"{explicit(value)}[{explicit(index)}]"
        case ast.Call(function, arguments):
            return f"{function}({', '.join(map(explicit, arguments))})"
        case ast.Name(name):
            return name
        case ast.Number(value):
            return repr(value)
    raise AssertionError(node)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a + b * c", "(a + (b * c))"),
        ("a - b - c", "((a - b) - c)"),
        ("a / b * c % d", "(((a / b) * c) % d)"),
        ("a ** b ** c", "(a ** (b ** c))"),
        ("-a ** b", "(-(a ** b))"),
        ("a ** -b", "(a ** (-b))"),
        ("a ** -b ** c", "(a ** (-(b ** c)))"),
        ("a ** -b * c", "((a ** (-b)) * c)"),
        ("-a * b", "((-a) * b)"),
        ("~-a", "(~(-a))"),
        ("a & 15 | b >> 6 << 4", "((a & 15) | ((b >> 6) << 4))"),
        ("a ^ b & c | d", "((a ^ (b & c)) | d)"),
        ("a + b << c - d", "((a + b) << (c - d))"),
        ("a & b == c | d", "((a & b) == (c | d))"),
        ("-f(x)[1]", "(-f(x)[1])"),
        ("(a\n- b)", "(a - b)"),
        ("a +\n\nb", "(a + b)"),
        ("0x1F + 0b101 + 1_000 + 2.5e-3", "(((31 + 5) + 1000) + 0.0025)"),
    ],
)
def test_binding(text, expected):
    assert expected == explicit(expression(text))


def test_a_line_ends_an_expression():
    function = parse(Source("test", "fn f(x: f32) -> f32 {\n let y = x\n -y\n}")).functions[0]
    assert (ast.Let(("y",), ast.Name("x")),) == function.lets
    assert ast.Unary("-", ast.Name("y")) == function.value


def test_spans_are_the_text():
    text = "fn f(x: f32) -> f32 { exp(x + 1.5) * (x - 2.0) }"
    function = parse(Source("test", text)).functions[0]
    assert text == function.span.text
    assert isinstance(function.value, ast.Binary)
    assert function.value.span.text == "exp(x + 1.5) * (x - 2.0)"
    assert function.value.right.span.text == "(x - 2.0)"
    assert function.parameters[0].span.text == "x: f32"


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(modules)
def test_parsing_what_was_printed_gives_the_same_tree(tree):
    again = parse(Source("printed", print_module(tree)))
    assert tree == again
    assert repr(tree) == repr(again)  # repr tells 1 from 1.0, == does not


def parses_or_reports(text: str) -> None:
    try:
        load_text(text)
    except SourceError as error:
        report = error
    else:
        return
    assert report.diagnostics
    assert str(report)


@settings(max_examples=200)
@given(st.text(max_size=80))
def test_any_text_parses_or_reports(text):
    parses_or_reports(text)


WORDS = 'format fn model let else value config layer x f32 1 2.5 "s" ( ) [ ] { } : , = == -> + - * ** # . \n'


@settings(max_examples=200)
@given(st.lists(st.sampled_from(WORDS.split(" ")), max_size=60))
def test_any_words_parse_or_report(words):
    parses_or_reports(" ".join(words))


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_text_is_reported(name):
    start = time.process_time()
    with pytest.raises(SourceError) as caught:
        load_text(HOSTILE[name])
    report = str(caught.value)
    assert caught.value.diagnostics
    assert len(report) < 100_000
    assert "\0" not in report
    assert "\x1b" not in report
    assert time.process_time() - start < 20


def test_long_functions_are_fine():
    load_text(body("let y = x\n" * 2000 + "y"))
