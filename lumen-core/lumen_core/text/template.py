"""Chat templates: messages in, the prompt text out.

In: the jinja source that a model file carries, and messages as plain dictionaries.  Out: one string, or a
TemplateError with the template's line.  The template runs fenced in (`sandbox.py`): it can read what it is
given and nothing else, and its time and memory are limited.
"""

from __future__ import annotations

import datetime
import json
import re
import time
from collections.abc import Mapping, Sequence
from functools import lru_cache
from types import TracebackType
from typing import Any

from lumen_core.errors import TemplateError

MAX_SOURCE = 1 << 20
_NAME = "<chat template>"
_DATE = re.compile(r"(?:[^%]|%[-_0^#]?[A-Za-z%])*")


def render(template: str, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True,
           tools: Sequence[Any] | None = None, bos_token: str = "", eos_token: str = "", seconds: float = 2.0,
           max_characters: int = 1 << 24, **variables: Any) -> str:  # fmt: skip
    """Render a conversation; `variables` are what a template may ask for besides (`enable_thinking`, ...)."""
    compiled = _compiled(template)
    from lumen_core.text.sandbox import BUDGET, Budget

    size = max(max_characters, 1 << 22)
    budget = Budget(time.monotonic() + seconds, 1_000_000, max_characters, size)
    token = BUDGET.set(budget)
    try:
        return "".join(compiled.generate(
            messages=[dict(message) for message in messages], tools=list(tools) if tools else None,
            documents=None, add_generation_prompt=add_generation_prompt, bos_token=bos_token,
            eos_token=eos_token, **variables,
        ))  # fmt: skip
    except Exception as error:
        raise _explained(error) from None
    finally:
        BUDGET.reset(token)


@lru_cache(maxsize=16)
def _compiled(source: str) -> Any:
    if len(source) > MAX_SOURCE:
        raise TemplateError(f"the chat template has {len(source)} characters (limit {MAX_SOURCE})")
    try:
        return _environment().compiled(source, _NAME)
    except Exception as error:
        raise _explained(error) from None


@lru_cache(maxsize=1)
def _environment() -> Any:
    from lumen_core.text.sandbox import GuardedEnvironment

    environment = GuardedEnvironment()
    environment.add_filter("tojson", _tojson)
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    return environment


def _tojson(value: Any, ensure_ascii: bool = False, indent: int | None = None,
            separators: tuple[str, str] | None = None, sort_keys: bool = False) -> str:  # fmt: skip
    """JSON as the training data had it: letters stay letters, nothing is escaped for HTML."""
    if isinstance(indent, int) and indent > 16:
        raise TemplateError(f"tojson with an indentation of {indent} (limit 16)")
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message: str) -> None:
    raise TemplateError(f"the chat template refuses the conversation: {str(message)[:1000]}")


def _now(form: str) -> str:
    if len(form) > 200 or not _DATE.fullmatch(form):
        raise TemplateError("strftime_now was given no plain date format")
    return datetime.datetime.now().strftime(form)


def _explained(error: Exception) -> TemplateError:
    """Say what went wrong and in which line of the template."""
    if isinstance(error, SyntaxError):  # of the Python code that the template became
        return TemplateError(f"the chat template is nested too deeply: {error.msg}")
    line = getattr(error, "lineno", None) or _line(error.__traceback__)
    place = f" (line {line} of the chat template)" if line else ""
    if isinstance(error, TemplateError):
        return TemplateError(f"{error}{place}")
    if isinstance(error, RecursionError):
        return TemplateError(f"the chat template is nested or calls itself too deeply{place}")
    if isinstance(error, MemoryError):
        return TemplateError(f"the chat template needs too much memory{place}")
    reason = str(error) or type(error).__name__
    return TemplateError(f"the chat template does not work: {reason[:1000]}{place}")


def _line(trace: TracebackType | None) -> int | None:
    """The template's line of the innermost frame that belongs to it."""
    line = None
    while trace is not None:
        template = trace.tb_frame.f_globals.get("__jinja_template__")
        if template is not None and trace.tb_frame.f_code.co_filename == _NAME:
            line = template.get_corresponding_lineno(trace.tb_lineno)
        elif trace.tb_frame.f_code.co_filename == _NAME:  # jinja has put the template's own line there
            line = trace.tb_lineno
        trace = trace.tb_next
    return line
