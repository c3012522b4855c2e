"""Chat templates: what real ones need, and that a hostile one cannot reach, stall or fill anything (T8)."""

from __future__ import annotations

import datetime
import resource
import time

import pytest

from lumen_core.errors import TemplateError
from lumen_core.text.template import render

USER = [{"role": "user", "content": "안녕 <b>"}]
CHATML = (
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}"
    "{{ '<|im_start|>system\nHelp.<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def test_a_chat() -> None:
    start = "<|im_start|>system\nHelp.<|im_end|>\n<|im_start|>user\n안녕 <b><|im_end|>\n"
    assert render(CHATML, USER) == start + "<|im_start|>assistant\n"
    assert render(CHATML, USER, add_generation_prompt=False) == start


@pytest.mark.parametrize(("template", "text"), [
    ("{{ messages | tojson }}", '[{"role": "user", "content": "안녕 <b>"}]'),
    ("{{ {'b': 1, 'a': '한'} | tojson(indent=2) }}", '{\n  "b": 1,\n  "a": "한"\n}'),
    ("{% set ns = namespace(n=0) %}{% for i in range(5) %}{% set ns.n = ns.n + i %}{% endfor %}{{ ns.n }}",
     "10"),
    ("{% for i in range(9) %}{% if i == 1 %}{% continue %}{% elif i == 3 %}{% break %}{% endif %}"
     "{{ i }}{% endfor %}", "02"),
    ("{% for c in 'abc' %}{{ loop.previtem }}{{ loop.index }}{{ loop.nextitem }}{{ loop.last }},{% endfor %}",
     "1bFalse,a2cFalse,b3True,"),
    ("{% macro tag(x, y='z') %}<{{ x }}{{ y }}>{% endmacro %}{{ tag(1) }}{{ tag('a', y=2) }}", "<1z><a2>"),
    ("{% for key, value in {'a': 1}.items() %}{{ key }}={{ value }}{% endfor %}", "a=1"),
    ("{% for key, value in {'a': 1} | items %}{{ key }}={{ value }}{% endfor %}", "a=1"),
    ("{{ ' a b '.strip().split(' ') | join('-') }}{{ 'xab'.lstrip('x').startswith('a') }}", "a-bTrue"),
    ("{{ messages[::-1][0].role }}{{ messages | map(attribute='role') | list }}", "user['user']"),
    ("{{ bos_token }}{{ eos_token }}{{ tools is none }}{{ x is defined }}{{ y }}", "<s></s>TrueFalse"),
    ("{{ 'a' ~ 1 ~ none }}{{ 'b' * 3 }}{{ '%s-%d' % ('c', 4) }}{{ '{}!'.format('d') }}", "a1Nonebbbc-4d!"),
    ("  {% if true %}\n  x\n  {% endif %}\ny", "  x\ny"),
    ("{% set content %}<{{ messages[0].content }}>{% endset %}{{ content | length }}", "8"),
    ("{% for m in [] %}{% else %}none{% endfor %}{{ [1, 2] + [3] }}{{ (1, 2) }}", "none[1, 2, 3](1, 2)"),
    ("{% for i in [1, [2, [3]]] recursive %}{{ loop(i) if i is iterable else i }}{% endfor %}", "123"),
    ("{% generation %}", None),
])  # fmt: skip
def test_what_templates_use(template: str, text: str | None) -> None:
    if text is None:
        with pytest.raises(TemplateError, match="line 1"):
            render(template, USER)
        return
    assert render(template, USER, bos_token="<s>", eos_token="</s>") == text


def test_variables_and_time() -> None:
    assert render("{{ enable_thinking is false }}", USER, enable_thinking=False) == "True"
    assert render("{{ tools[0].name }}", USER, tools=[{"name": "f"}]) == "f"
    assert render("{{ strftime_now('%Y') }}", USER) == str(datetime.datetime.now().year)


@pytest.mark.parametrize(("template", "line"), [
    ("a\n{% for %}", 2), ("a\n\n{{ messages[9].x.y }}", 3), ("\n{{ raise_exception('no tools') }}", 2),
    ("{% set x = 1 %}\n{{ x() }}", 2), ("{{ 1 + 'a' }}", 1), ("{% if %}", 1), ("\n{{ nothing.at.all }}", 2),
])  # fmt: skip
def test_errors_have_a_line(template: str, line: int) -> None:
    with pytest.raises(TemplateError, match=f"line {line} of the chat template"):
        render(template, USER)


def test_a_template_may_refuse() -> None:
    with pytest.raises(TemplateError, match="refuses the conversation: only text"):
        render("{{ raise_exception('only text') }}", USER)


SECRETS = (
    "{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ cycler.__init__.__globals__ }}",
    "{{ lipsum.__globals__['os'].popen('id').read() }}", "{{ self.__init__.__globals__ }}",
    "{{ messages.append(1) }}", "{{ messages[0].update(a=1) }}", "{{ messages[0].clear() }}",
    "{% include '/etc/passwd' %}", "{% import 'os' as os %}", "{% extends 'x' %}",
    "{{ (messages | attr('__class__')).__mro__ }}", "{{ namespace.__init__.__globals__.os }}",
    "{{ raise_exception.__globals__.json }}", "{{ range.__self__.x }}",
    "{% for x in ().__class__.__base__.__subclasses__() %}{{ x }}{% endfor %}",
)  # fmt: skip
HARMLESS = (
    "{{ messages.__class__ }}", "{{ '' | attr('__class__') }}", "{{ '{0.__class__}'.format('') }}",
    "{{ raise_exception.__globals__ }}", "{{ messages | map(attribute='__class__') | list }}",
)  # fmt: skip


@pytest.mark.parametrize("template", SECRETS)
def test_internals_are_out_of_reach(template: str) -> None:
    with pytest.raises(TemplateError):
        render(template, USER)


@pytest.mark.parametrize("template", HARMLESS)
def test_internals_show_nothing(template: str) -> None:
    assert "class" not in render(template, USER).replace("__class__", "")


def repeated(begin: str, step: str, end: str = "{{ x }}") -> str:
    return "{% set x = " + begin + " %}" + step * 60 + end


BOMBS = {
    "nested loops": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "long range": "{{ range(10**9) | list }}",
    "string times": "{{ 'a' * 10**9 }}",
    "list times": "{{ [0] * 10**9 }}",
    "nested list times": "{{ [[1] * 9999] * 9999 }}",
    "center": "{{ 'a'.center(10**9) }}",
    "zfill": "{{ 'a'.zfill(10**9) }}",
    "percent": "{{ '%1000000000d' % 1 }}",
    "percent star": "{{ '%*d' % (10**9, 1) }}",
    "format": "{{ '{:1000000000}'.format(1) }}",
    "format nested": "{{ '{:{w}}'.format(1, w=10**9) }}",
    "format repeated": "{{ ('{0}' * 99999).format('a' * 99999) }}",
    "format_map": "{{ '{a:1000000000}'.format_map({'a': 1}) }}",
    "power": "{{ 10 ** 10 ** 10 }}",
    "power of floats": "{{ 2 ** 99999 }}",
    "factorial": "{% set ns = namespace(n=1) %}{% for i in range(1, 99999) %}"
                 "{% set ns.n = ns.n * i %}{% endfor %}",
    "squares": repeated("99999", "{% set x = x * x %}"),
    "concatenation": repeated("'aaaaaaaaaa'", "{% set x = x ~ x %}"),
    "sum of strings": repeated("'aaaaaaaaaa'", "{% set x = x + x %}"),
    "sum of lists": repeated("[1]", "{% set x = x + x %}"),
    "shared lists": repeated("[1]", "{% set x = [x, x] %}"),
    "shared tuples": repeated("1", "{% set x = (x, x) %}"),
    "shared mappings": repeated("1", "{% set x = {'a': x, 'b': x} %}"),
    "dict": repeated("1", "{% set x = dict(a=x, b=x) %}"),
    "captured text": repeated("'aaaaaaaaaaa'", "{% set x %}{{ x }}{{ x }}{% endset %}"),
    "captured filter": repeated(
        "'aaaaaaaaaaa'", "{% set x %}{% filter upper %}{{ x }}{{ x }}{% endfilter %}{% endset %}"),
    "growing namespace": "{% set ns = namespace(x='aaaaaaaaaa') %}{% for i in range(100) %}"
                         "{% set ns.x = ns.x ~ ns.x %}{% endfor %}",
    "growing list": "{% set ns = namespace(x=[]) %}{% for i in range(99999) %}"
                    "{% set ns.x = ns.x + [i] %}{% endfor %}",
    "macro without end": "{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}",
    "macro tree": "{% macro f(n) %}{% if n %}{{ f(n - 1) }}{{ f(n - 1) }}{% endif %}{% endmacro %}"
                  "{{ f(60) }}",
    "recursive loop": "{% for x in [1, 2, 3] recursive %}{{ loop([1, 2, 3]) }}{% endfor %}",
    "replace filter": "{{ ('a' * 99999) | replace('a', 'b' * 99999) }}",
    "replace method": "{{ ('a' * 99999).replace('a', 'b' * 99999) }}",
    "join filter": "{{ ('a' * 99999) | list | join('b' * 99999) }}",
    "join method": "{{ ('b' * 99999).join(range(99999) | map('string') | list) }}",
    "indent": "{{ ('\n' * 99999) | indent(99999) }}",
    "batch": "{{ [1] | batch(10**9, 'x') | list }}",
    "expandtabs": "{{ ('\t' * 99999).expandtabs(99999) }}",
    "tojson": "{{ [[[[1]]]] | tojson(indent=10**9) }}",
    "long output": "{% for i in range(99999) %}" + "x" * 9999 + "{% endfor %}",
    "strftime": "{{ strftime_now('%1000000000d') }}",
    "unclosed": "{{" + "(" * 50_000,
    "deep expression": "{{" + "(" * 5000 + "1" + ")" * 5000 + "}}",
    "deep statement": "{% if 1 %}" * 5000 + "{% endif %}" * 5000,
    "many loops": "{% for x in [1] %}" * 40 + "{% endfor %}" * 40,
    "long sum": "{{ " + "1 + " * 50_000 + "1 }}",
    "long number": "{{ " + "9" * 5000 + " }}",
    "long source": "a" * (2 << 20),
    "filter in a loop": "{% for i in range(99999) %}{% set z = ('a' * 4000000) | upper %}{% endfor %}",
}  # fmt: skip


@pytest.mark.parametrize("name", BOMBS)
def test_bombs(name: str) -> None:
    begin, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(TemplateError):
        render(BOMBS[name], USER, seconds=1.0)
    assert time.process_time() - begin < 8
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 << 10


def test_a_long_conversation_fits() -> None:
    messages = [{"role": "user", "content": "가" * 2000} for _ in range(1000)]
    assert len(render(CHATML, messages)) > 2_000_000


def test_the_caller_keeps_his_data() -> None:
    messages = [{"role": "user", "content": "a"}]
    with pytest.raises(TemplateError):
        render("{% set _ = messages[0].pop('role') %}", messages)
    assert messages == [{"role": "user", "content": "a"}]
