"""Texts that nobody should write: each is reported, without a crash and without a long wait."""

from __future__ import annotations

import random

MANY = 20_000
DEEP = 100_000


def body(text: str) -> str:
    return "fn f[D](x: f32[D]) -> f32[D] {\n" + text + "\n}"


def _each(count: int, line: str) -> str:
    """Return one line per number; `#` stands for the number and `@` for the next one."""
    return "\n".join(line.replace("@", str(number + 1)).replace("#", str(number)) for number in range(count))


def _random(seed: int, alphabet: str) -> str:
    return "".join(random.Random(seed).choices(alphabet, k=1_000_000))


HOSTILE = {
    "parentheses": body("(" * DEEP + "x" + ")" * DEEP),
    "open parentheses": body("(" * MANY),
    "closing parentheses": ")" * MANY,
    "brackets": body("x" + "[" * MANY),
    "calls": body("f(" * MANY),
    "tables": body("[" * MANY),
    "minus": body("-" * DEEP + "x"),
    "not": body("~" * MANY + "x"),
    "sum": body("x" + " + x" * DEEP),
    "power": body("x" + " ** x" * MANY),
    "comparisons": body("x" + " < x" * MANY),
    "indices": body("x" + "[0]" * MANY),
    "braces": "{" * MANY,
    "functions": "fn f(x: f32) -> f32 {\n" * 4_000,
    "models": "model m {" * MANY,
    "models on lines": "model m {\n" * MANY,
    "functions in a model": "model m {\n" + _each(5_000, "fn f#(x: f32[T, D@]) -> f32 { x }"),
    "unknown names": body(_each(4_000, "let y# = z#") + "\nx"),
    "names in one let": body(f"let ({_each(4_000, 'a#,')} b) = x\nx"),
    "sizes": f"fn f(x: f32[{'2 * ' * MANY}2]) -> f32 {{ 0.0 }}",
    "large sizes": f"fn f(x: f32[{'9999999999 * ' * 50}2]) -> f32 {{ 0.0 }}",
    "axes": f"fn f[N](x: f32[{'N, ' * MANY}N]) -> f32 {{ 0.0 }}",
    "reshape": f"fn f[N](x: f32[N]) -> f32[N] {{ reshape(x, {'N, ' * MANY}N) }}",
    "generics": f"fn f[{_each(4_000, 'D#,')}](x: f32) -> f32 {{ x }}",
    "keywords": body(f"rope({_each(4_000, 'a#=x,')})"),
    "table": f"format q : block 4 {{ d: u8[4] value = d * [{'1, ' * MANY}] }}",
    "nothing": "\0" * MANY,
    "unprintable": "\x1b[31m\u202e" * 1000,
    "invalid": "@" * MANY,
    "lone quote": '"' * (MANY + 1),
    "digits": body("9" * MANY),
    "one long line": body("x " * MANY),
    "comments": "# a\n" * MANY + "fn",
    "garbage": _random(1, "".join(map(chr, range(1, 1000)))),
    "symbols": _random(2, '()[]{}=:,.<>+-*/%&|^~#"\n xf1'),
    "squared sizes": "fn g[N](x: f32[N], y: f32[N]) -> f32[N * N] { y }\n"
    + body("let x = g(x, x)\n" * 60 + "x"),
    "doubled numbers": body("let a = D + D\n" + "let a = a + a\n" * 100 + "x * a"),
    "numbers in a row": body("let a = -D\n" + "let a = -a\n" * 5000 + "x * a"),
    "doubled functions": "fn f0(x: f32) -> f32 { x }\n" + _each(30, "fn f@(x: f32) -> f32 { f#(f#(x)) }"),
    "chain of functions": "fn f0(x: f32) -> f32 { x }\n" + _each(4_000, "fn f@(x: f32) -> f32 { f#(x) }"),
    "circle of functions": "fn f0(x: f32) -> f32 { f3999(x) }\n"
    + _each(3_999, "fn f@(x: f32) -> f32 { f#(x) }"),
}
